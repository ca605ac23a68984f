"""Queries and passages from a fixed seed, the same for every contestant."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SEED = 3
COMMON = (
    "the of and to in is for on that by this with you it not or be are from at as your all have new more an was we "
    "will home can us about if page my has search free but our one other do no information time they site he up may "
    "what which their news out use any there see only so his when contact here business who web also now help get "
    "view online first been would how were services some these click its like service than find price date back top "
    "people had list name just over state year day into email two health world next used go work last most"
)
ENGLISH = COMMON.split()
"""Common words, each one token of BERT's vocabulary."""
SHORTEST, LONGEST = 20, 500
"""Tokens of a mixed load's rows, template and query included."""
AROUND = 14
"""Of these, the query's and the template's."""


@dataclass(frozen=True)
class Load:
    """One request."""

    query: str
    passages: list[str]


def mixed(count: int, words: Sequence[str] = ENGLISH) -> Load:
    """Passages as retrieval finds them: most about 85 tokens, some as short as a title, some at the model's limit."""
    rng = random.Random(SEED)
    lengths = [min(LONGEST, max(SHORTEST, int(rng.lognormvariate(4.45, 0.6)))) - AROUND for _ in range(count)]
    return _load(lengths, words, rng)


def even(count: int, length: int, words: Sequence[str] = ENGLISH) -> Load:
    """Passages of `length` words each."""
    return _load([length] * count, words, random.Random(SEED))


def _load(lengths: Sequence[int], words: Sequence[str], rng: random.Random) -> Load:
    query = " ".join(rng.choice(words) for _ in range(10))
    return Load(query, [" ".join(rng.choice(words) for _ in range(length)) for length in lengths])
