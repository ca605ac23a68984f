"""`spec.model`: which weights to serve, from where, and how."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from reranker_operator.api.base import ApiType
from reranker_operator.api.source import ModelSource


class Precision(StrEnum):
    """Number format of weights and activations."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Model(ApiType):
    """The model to serve."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """The name clients ask for, such as nvidia/llama-nemotron-rerank-1b-v2. Default: the source's own name."""
    source: ModelSource | None = None
    """Where the model directory comes from. Required, except with runtime NIM, whose image brings its model."""
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Refuse any other weights. `reranker-runtime verify DIR` and `status.model.digest` print it."""
    precision: Precision = Precision.AUTO
    """Number format; auto takes what the hardware is good at."""
    max_tokens: Annotated[int, Field(ge=8, le=1_048_576)] | None = None
    """Tokens of a query and passage pair, special tokens included. Default: the model's own limit."""
