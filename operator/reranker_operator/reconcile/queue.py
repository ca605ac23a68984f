"""A deduplicating queue of keys: many events about one service become one round, never two at the same time."""

import asyncio
import heapq
import random
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0


class KeyQueue(Generic[Key]):
    """Keys that are due, due later, or being worked on.

    A key added while it is worked on becomes due when that round is done: the round may have read before the change.
    Times are seconds of `clock`.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = 0
        self._working: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._changed = asyncio.Event()

    def depth(self) -> int:
        """Number of keys that are due and not worked on."""
        now = self._clock()
        return sum(due <= now and key not in self._working for key, due in self._due.items())

    def add(self, key: Key, after: float = 0.0) -> None:
        """Make `key` due in `after` seconds, or earlier if it already is."""
        due = self._clock() + after
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))
        self._changed.set()

    def retry(self, key: Key, after: float | None = None) -> None:
        """Make `key` due after a failure: when the server said so, else with growing, jittered delays."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        backoff = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 16))
        self.add(key, (after if after is not None else backoff) * (1 + self._jitter() / 4))

    async def get(self) -> Key:
        """The next due key, once there is one; call `done` afterwards."""
        while True:
            wait = self._next_wait()
            if wait is not None and wait <= 0:
                _due, _order, key = heapq.heappop(self._heap)
                del self._due[key]
                self._working.add(key)
                return key
            self._changed.clear()
            try:
                # Not wait_for: that of Python 3.11 may swallow a cancellation, and the loop would never end.
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: Key, *, succeeded: bool) -> None:
        """The round for `key` is over."""
        self._working.discard(key)
        if succeeded:
            self._failures.pop(key, None)
        if key in self._due:
            self._order += 1
            heapq.heappush(self._heap, (self._due[key], self._order, key))
            self._changed.set()

    def oldest_wait(self) -> float:
        """Seconds for which the longest-waiting due key has been due; 0 when none is."""
        now = self._clock()
        return max(
            (now - due for key, due in self._due.items() if due <= now and key not in self._working), default=0.0
        )

    def _next_wait(self) -> float | None:
        while self._heap:
            due, _order, key = self._heap[0]
            if self._due.get(key) != due or key in self._working:
                heapq.heappop(self._heap)  # superseded, or put back by `done`
                continue
            return due - self._clock()
        return None
