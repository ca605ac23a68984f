"""What is scored for one request: rows of token ids. No torch, no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


PREFIX_SHARE: Final = 8
"""Tokens of a prefix that take as much of a row as one of its own: each row gathers and attends to all of them."""


class Truncate(StrEnum):
    """What happens to a text that is too long."""

    NONE = "NONE"
    """An error, so that nothing is cut unseen."""
    END = "END"
    """The passage's tail is cut; the query stays whole as long as it fits."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What is to be ranked: a text, an image as the client sent it (a data URL or base64), or both."""

    text: str = ""
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents that are too long are read: in chunks that fit, of which the best counts."""

    tokens: int | None = None
    """Tokens of a document that are read at most; what follows them is cut."""
    most: int | None = None
    """Chunks of a document that are read at most."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A query, and what is to be ranked by it."""

    query: str
    passages: Sequence[Passage]
    truncate: Truncate = Truncate.NONE
    instruction: str = ""
    """What ranking is for; empty is what the settings say, or the model's own."""
    chunking: Chunking | None = None

    @property
    def letters(self) -> int:
        """Characters of all texts."""
        return len(self.query) + sum(len(passage.text) for passage in self.passages)

    @property
    def pictured(self) -> bool:
        """Whether there is an image among the passages."""
        return any(passage.image is not None for passage in self.passages)


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence, without the prefix that its request's rows share."""

    ids: list[int]
    types: list[int] | None = None
    """The segment of each token; None where all are in the first."""
    skip: int = 0
    """Tokens at the start that pooling leaves out."""
    image: NDArray[np.uint8] | None = field(default=None, compare=False)
    """Tiles [tiles, size, size, 3] whose embeddings stand where `ids` says that an image is; rows with equal pixels
    hold the same array."""


@dataclass(frozen=True)
class Plan:
    """What is to be scored for one request."""

    rows: list[Row]
    places: list[int]
    """Passage, or chunk of one, -> its row; those with equal tokens and equal images share one."""
    tokens: int
    """Tokens of the request as it was sent: shared rows and the prefix count as often as they were asked for."""
    truncated: int
    """Passages that lost tokens."""
    emptied: int
    """Passages that lost every token, because the query alone fills the limit."""
    prefix: list[int] = field(default_factory=list)
    """Tokens that every row begins with, computed once."""
    owners: list[int] | None = None
    """Chunk -> the passage it is of; None where each passage is one."""

    @cached_property
    def costs(self) -> list[int]:
        """What scoring each row takes, in tokens; the longest, which is scored first, bears the prefix."""
        costs = [len(row.ids) + len(self.prefix) // PREFIX_SHARE for row in self.rows]
        if self.prefix:
            costs[costs.index(max(costs))] += len(self.prefix)
        return costs

    @property
    def passages(self) -> int:
        """How many were asked for."""
        return len(self.places) if self.owners is None else self.owners[-1] + 1

    @property
    def work(self) -> int:
        """Tokens that scoring the rows takes."""
        return sum(self.costs)

    @cached_property
    def image_bytes(self) -> int:
        """Memory of the images until they are scored."""
        return sum({id(row.image): row.image.nbytes for row in self.rows if row.image is not None}.values())


@dataclass(frozen=True, slots=True)
class Scores:
    """One logit per passage, in the order given, and what it took."""

    logits: list[float]
    plan: Plan
