"""Watches of some collections: the one stopwatch for everything that is timed here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from localkube.api import Api

Json = dict[str, Any]
Listener = Callable[[str, str, Json], None]
"""Told of each event: its type (ADDED, MODIFIED, DELETED), the object's kind, the object."""

_SYNC_SECONDS = 120.0


class Feed:
    """Events of collections (kind -> path), from the moment it is entered on."""

    def __init__(self, api: Api, paths: Mapping[str, str]) -> None:
        self._api = api
        self._paths = paths
        self._listeners: list[Listener] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        synced = {kind: asyncio.Event() for kind in self._paths}
        self._tasks = [
            asyncio.create_task(self._follow(kind, path, synced[kind])) for kind, path in self._paths.items()
        ]
        await asyncio.wait_for(asyncio.gather(*(each.wait() for each in synced.values())), _SYNC_SECONDS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def told(self, listener: Listener) -> Iterator[None]:
        """Tell `listener` while the block runs."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def _follow(self, kind: str, path: str, synced: asyncio.Event) -> None:
        async for event, item in self._api.watch(path):
            if event == "SYNCED":
                synced.set()
                continue
            for listener in list(self._listeners):
                listener(event, kind, item)


class Arrivals:
    """Counts objects as they come to be, and notes when."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.first = 0.0
        self.last = 0.0
        """By the monotonic clock; 0 while there is none."""
        self.complete = asyncio.Event()
        self._seen: set[tuple[str, str]] = set()

    @property
    def count(self) -> int:
        return len(self._seen)

    def see(self, kind: str, item: Json) -> None:
        """Count this object, unless it was or is the namespace's own ServiceAccount."""
        name = item["metadata"]["name"]
        if name == "default" or (kind, name) in self._seen:
            return
        self._seen.add((kind, name))
        self.last = time.monotonic()
        self.first = self.first or self.last
        if self.count >= self.wanted:
            self.complete.set()
