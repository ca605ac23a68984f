"""What is known of a model before any weight is loaded: enough to verify it, and all that loading needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from reranker_runtime.errors import ModelError, Reason


class Family(StrEnum):
    """How a query and a passage become one number."""

    CROSS_ENCODER = "cross-encoder"
    """The pair is one sequence; a head reads its first token."""
    SENTENCE_ENCODER = "sentence-encoder"
    """Each text is its own sequence; the score is the cosine of the two vectors."""


class Head(StrEnum):
    """What follows the encoder."""

    BERT = "bert"
    """pooler (dense, tanh), then a linear classifier."""
    ROBERTA = "roberta"
    """dense, tanh, linear."""
    CLS = "cls"
    MEAN = "mean"
    MAX = "max"


FIRST_TOKEN: Final = frozenset({Head.BERT, Head.ROBERTA, Head.CLS})
"""Heads that read the first token, which has to be the one the model was trained with."""


class Activation(StrEnum):
    """Between the two halves of a feed-forward block."""

    GELU = "gelu"
    GELU_TANH = "gelu-tanh"
    RELU = "relu"
    SILU = "silu"


@dataclass(frozen=True)
class Geometry:
    """The sizes of a BERT-shaped encoder."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    position_rows: int
    first_position: int
    types: int
    epsilon: float
    activation: Activation

    @property
    def positions(self) -> int:
        """Tokens that one sequence may have."""
        return self.position_rows - self.first_position


@dataclass(frozen=True)
class Prompts:
    """Text that a sentence encoder was trained to see before a query or a passage."""

    query: str = ""
    passage: str = ""


@dataclass(frozen=True)
class Blueprint:
    """A model directory that passed every check that headers allow."""

    directory: Path
    architecture: str
    family: Family
    head: Head
    geometry: Geometry
    tensors: Mapping[str, tuple[str, str]]
    """The family's own name of a tensor -> (file, name in that file)."""
    limit: int
    """Tokens of one sequence, special tokens included."""
    parameters: int
    dtype: str
    files: tuple[str, ...]
    """Every file that serving reads, relative to the directory."""
    size: int
    """Bytes of those files together."""
    lower_case: bool = False
    prompts: Prompts = field(default_factory=Prompts)

    def effective_limit(self, asked: int | None) -> int:
        """Tokens of one sequence: what was asked for, within what the model was made for."""
        if asked is not None and asked > self.limit:
            raise ModelError(
                Reason.LIMIT_EXCEEDED,
                f"NIM_PIPELINE_MAX_SEQ_LEN asks for {asked} tokens, but the model in {self.directory} takes at most "
                f"{self.limit}; ask for {self.limit} or fewer",
            )
        return asked or self.limit


class Config:
    """config.json with questions asked of it; a wrong answer names the file and the key."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self.values = values

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self.values.get(key)
        if value is None:
            value = default
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        raise self.wrong(key, f"a whole number of {least} or more")

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except OverflowError:  # JSON's whole numbers have no end, a float has
            number = math.inf
        if math.isfinite(number) and number > 0:
            return number
        raise self.wrong(key, "a positive number")

    def wrong(self, key: str, expected: str) -> ModelError:
        got = repr(self.values[key]) if key in self.values else "nothing"
        return ModelError(Reason.CONFIG_INVALID, f"{self.path}: {key} must be {expected}, but it is {got}")

    def unsupported(self, key: str, supported: str) -> ModelError:
        return ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{self.path}: {key} is {self.values.get(key)!r}, which is not supported; supported: {supported}",
        )
