"""What is known of a model before any weight is loaded: enough to verify it, and all that loading needs.

A family reads a directory into a `Design`: which network, of which sizes, fed with which prompt, read by which head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.geometry import Activation, Geometry, VisionGeometry

if TYPE_CHECKING:
    from reranker_runtime.models.source import Source

Shapes = dict[str, tuple[int, ...]]
"""Tensors by the family's own names."""


class Pooling(StrEnum):
    """How token vectors become one vector."""

    CLS = "cls"
    MEAN = "mean"
    MAX = "max"
    LAST = "last"
    MEAN_SQRT = "mean-sqrt"
    """The sum over the root of the length."""
    WEIGHTED_MEAN = "weighted-mean"
    """Later tokens count more: the n-th n times."""


@dataclass(frozen=True)
class Norm:
    """A layer norm, by the name of its tensors."""

    name: str
    epsilon: float
    bias: bool = True


@dataclass(frozen=True)
class Dense:
    """A linear layer of a head, by the name of its tensors, and what follows it."""

    name: str
    bias: bool = True
    activation: Activation | None = None
    norm: Norm | None = None


@dataclass(frozen=True)
class TokenLogit:
    """A score read off the language model's head: the logit of one token, less that of another."""

    table: str
    """The tensor whose rows are tokens: lm_head.weight, or the embeddings where they are tied."""
    yes: int
    no: int | None


@dataclass(frozen=True)
class Head:
    """From hidden states to one logit, or to one vector where there is no last layer. Computed in fp32."""

    pooling: tuple[Pooling, ...]
    """Several are laid side by side."""
    dense: tuple[Dense, ...] = ()
    logit: TokenLogit | None = None
    temperature: float = 1.0
    cosine: bool = False
    """Row 0 is the query; the others are scored by their cosine with it."""


@dataclass(frozen=True)
class Pair:
    """The tokenizer's own template for two texts."""


@dataclass(frozen=True)
class Single:
    """Each text is a sequence of its own, after the prompt that the model was trained with."""

    query: str = ""
    passage: str = ""
    lower_case: bool = False
    pooled_prompt: bool = True
    """False: pooling leaves the prompt out."""


@dataclass(frozen=True)
class Written:
    """A prompt written around the texts; `{query}`, `{passage}` and `{instruction}` stand for what users send.

    `before`, `between` and `after` may hold control tokens; each string of them is tokenised by itself, and all are
    always kept. Where `between` is None, query and passage parts are one string to the tokenizer.
    """

    query: str
    passage: str
    before: tuple[str, ...] = ()
    between: tuple[str, ...] | None = None
    after: tuple[str, ...] = ()
    bos: bool = False
    """Whether the tokenizer's own special tokens for a single text go around it all."""
    instruction: str = ""
    """What stands for an instruction that nobody gave."""
    instructed: str = ""
    """The query part where an instruction was given and the usual one has no place for it."""
    query_share: tuple[int, int] = (1, 1)
    """The part of the limit that the query may fill, as numerator and denominator."""


Prompt = Pair | Single | Written


@dataclass(frozen=True)
class Body:
    """A network's sizes and the tensors it needs."""

    geometry: Geometry
    shapes: Shapes
    prefixes: tuple[str, ...]
    """What an architecture may put before the names; the first is the usual one."""
    anchor: str
    """A tensor that every checkpoint has: the prefix is the one under which it is found."""
    positions: int
    vocabulary: int
    segments: int = 1


@dataclass(frozen=True)
class Design:
    """How a query and a passage become one number."""

    body: Body
    prompt: Prompt
    head: Head
    tensors: Mapping[str, tuple[str, str]]
    """The family's own name of a tensor -> (file, name in that file)."""
    limit: int
    """Tokens of one sequence, special and template tokens included."""
    files: tuple[str, ...] = ()
    """Files that serving reads beside configuration, tokenizer and weights, relative to the directory."""
    vision: VisionGeometry | None = None


@dataclass(frozen=True)
class Family:
    """One family of rerankers; the texts are what docs/models.md says of it."""

    name: str
    models: str
    architectures: tuple[str, ...]
    packed: bool
    template: str
    head: str
    limit: str
    read: Callable[[Source], Design]


@dataclass(frozen=True)
class Blueprint:
    """A model directory that passed every check that headers allow."""

    directory: Path
    architecture: str
    family: str
    design: Design
    parameters: int
    dtype: str
    files: tuple[str, ...]
    """Every file that serving reads, relative to the directory."""
    size: int
    """Bytes of those files together."""

    @property
    def limit(self) -> int:
        return self.design.limit

    @property
    def sees_images(self) -> bool:
        return self.design.vision is not None

    @property
    def takes_instruction(self) -> bool:
        """Whether the prompt has a place for what ranking is for."""
        prompt = self.design.prompt
        return isinstance(prompt, Written) and bool(prompt.instructed or "{instruction}" in prompt.query)

    def effective_limit(self, asked: int | None) -> int:
        """Tokens of one sequence: what was asked for, within what the model was made for."""
        if asked is not None and asked > self.limit:
            raise ModelError(
                Reason.LIMIT_EXCEEDED,
                f"NIM_PIPELINE_MAX_SEQ_LEN asks for {asked} tokens, but the model in {self.directory} takes at most "
                f"{self.limit}; ask for {self.limit} or fewer",
            )
        return asked or self.limit


SCORE: Final = "score"
"""The last linear layer, where a family's checkpoint calls it so."""

__all__ = [
    "SCORE", "Blueprint", "Body", "Dense", "Design", "Family", "Head", "Norm", "Pair", "Pooling", "Prompt",
    "Shapes", "Single", "TokenLogit", "Written",
]  # fmt: skip
