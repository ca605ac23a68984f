"""What every dialect is made of: something that reads a body, something that answers it, and words for failures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from reranker_runtime.engine.rows import Ask
from reranker_runtime.errors import RequestError, Words
from reranker_runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about bodies."""

    strict: bool
    """Refuse fields that NIM 2.x does not know."""
    most: int
    """Passages of one ranking."""
    split: bool
    """Whether a request of more is ranked in parts."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.strict_json, settings.max_passages, settings.split_large_requests)


@dataclass(frozen=True, slots=True)
class Result:
    """What an answer is made of."""

    logits: Sequence[float]
    """One for each passage, in the order in which the asks held them."""
    tokens: int
    """That were scored."""
    model: str
    """The served name."""
    identity: str
    """The request's id."""

    def order(self, most: int | None = None) -> list[int]:
        """Passages, best first, ties by their number; at most so many."""
        return sorted(range(len(self.logits)), key=lambda n: (-self.logits[n], n))[:most]

    def score(self, n: int) -> float:
        """A passage's logit as a number from 0 to 1, in float64: in half precision the best would all be 1."""
        return sigmoid(self.logits[n])


def sigmoid(logit: float) -> float:
    """Without overflow at either end."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    small = math.exp(logit)
    return small / (1 + small)


class Asked(Protocol):
    """A body that was read."""

    model: str | None

    def asks(self) -> Sequence[Ask]:
        """What is to be ranked: one query with its passages, or several of them."""

    def answer(self, result: Result) -> Any:
        """The body of the answer."""


@dataclass(frozen=True)
class Dialect:
    """One API."""

    name: str
    words: Words
    read: Callable[[bytes, Rules], Asked]
    """Raises `InvalidRequest`."""
    fault: Callable[[RequestError, Words], tuple[int, dict[str, Any]]]
    """The status and the body that tell a failure."""
