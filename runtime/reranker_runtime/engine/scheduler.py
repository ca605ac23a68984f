"""Which rows are scored next, out of all requests. Pure: no thread, no clock, no model, so that tests can ask it.

Rows of many requests share a batch. The request with the least left goes first, so a small one never waits behind a
large one; a quarter of all tokens belongs to the request that has waited longest, so a large one never starves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Owner = TypeVar("Owner")

OLDEST_SHARE: Final = 4
"""One token in so many belongs to the oldest request."""
LEAST_TOKENS: Final = 128
"""A batch that could be cut finer to keep all workers busy is not cut finer than this: small ones waste."""


class Work(Generic[Owner]):
    """A request's rows that are still to be scored."""

    def __init__(self, owner: Owner, lengths: Sequence[int]) -> None:
        self.owner = owner
        self.lengths = lengths
        self.held = False
        """True while something that all rows need is being computed."""
        # Longest first: rows of one length then lie side by side, and what does not fit into memory fails at once.
        self.rows = deque(sorted(range(len(lengths)), key=lambda n: -lengths[n]))
        self.remaining = sum(lengths)


@dataclass(frozen=True)
class Piece(Generic[Owner]):
    """Rows of one request in a batch."""

    work: Work[Owner]
    rows: list[int]


class Scheduler(Generic[Owner]):
    """Not safe for several threads: its owner holds a lock."""

    def __init__(self, budget: int, workers: int, max_rows: int | None = None) -> None:
        self._budget, self._workers, self._max_rows = budget, workers, max_rows
        self._works: list[Work[Owner]] = []
        self._credit = 0
        """Of the oldest, in parts of a token, for a share of a small budget is less than one."""

    @property
    def tokens(self) -> int:
        """Tokens that are waiting."""
        return sum(work.remaining for work in self._works)

    def add(self, work: Work[Owner]) -> None:
        self._works.append(work)

    def drop(self, work: Work[Owner]) -> None:
        """Forget what is left of a request, whether or not anything is."""
        if work in self._works:
            self._works.remove(work)

    def ahead(self, tokens: int) -> int:
        """Tokens that will be scored before a new request of so many is done."""
        smaller = sum(work.remaining for work in self._works if work.remaining <= tokens)
        larger = self.tokens - smaller
        # The oldest request's quarter goes on beside it.
        return smaller + min(larger, (smaller + tokens) // (OLDEST_SHARE - 1))

    def take(self) -> list[Piece[Owner]]:
        """The next batch; empty where nothing waits. A row longer than the budget goes alone."""
        works = [work for work in self._works if not work.held]
        if not works:
            return []
        batch = _Batch[Owner](self._fair_budget(works), self._max_rows)
        oldest = works[0]
        if len(works) > 1:
            # Saved up where its next row is longer than one batch's share; never more than that row asks for.
            most = max(batch.budget, oldest.lengths[oldest.rows[0]])
            self._credit = min(self._credit + batch.budget, most * OLDEST_SHARE)
            self._credit -= batch.fill(oldest, self._credit // OLDEST_SHARE) * OLDEST_SHARE
        for work in sorted(works, key=lambda work: work.remaining):
            batch.fill(work)
        self._works = [work for work in self._works if work.rows]
        return [Piece(work, rows) for work, rows in batch.taken.items()]

    def _fair_budget(self, works: list[Work[Owner]]) -> int:
        # The last batches of a request shrink, so that workers finish together and not one long after the others.
        waiting = sum(work.remaining for work in works)
        return min(self._budget, max(LEAST_TOKENS, -(-waiting // self._workers)))


class _Batch(Generic[Owner]):
    def __init__(self, budget: int, max_rows: int | None) -> None:
        self.budget = budget
        self._max_rows = max_rows
        self._tokens = self._rows = 0
        self.taken: dict[Work[Owner], list[int]] = {}

    def fill(self, work: Work[Owner], allowance: int | None = None) -> int:
        """Take rows of a request within the allowance and the batch's room; the tokens that were taken."""
        taken = 0
        while work.rows and self._rows != self._max_rows:
            length = work.lengths[work.rows[0]]
            fits = self._tokens + length <= self.budget or not self._rows
            if not fits or (allowance is not None and taken + length > allowance):
                break
            self.taken.setdefault(work, []).append(work.rows.popleft())
            work.remaining -= length
            taken += length
            self._tokens += length
            self._rows += 1
        return taken
