"""Tells when mounted files change, so that keys and certificates are renewed without a restart.

The kubelet renews a mounted Secret by swapping the symlink `..data`: no file is written, so the paths are resolved anew
each time. Polling costs a few `stat` a second and works on every filesystem, which inotify does not.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import Counter

from reranker_runtime.errors import RerankerError

EVERY: Final = 1.0
"""Seconds between two looks."""
SETTLE: Final = 0.2
"""Seconds that files must stay as they are before they are read: a pair is not written in one instant."""
MOST_ENTRIES: Final = 20_000
"""Of a directory, that are looked at."""
log = logging.getLogger(__name__)

Signature = tuple[object, ...]


@dataclass
class Watched:
    """Files that belong together, and what reads them."""

    what: str
    paths: tuple[Path, ...]
    load: Callable[[], None]
    seen: Signature = field(default=())


class Watch:
    """Reads files again when they changed. A failure leaves what was read before in force."""

    def __init__(self, failures: Counter) -> None:
        self._failures, self._watched = failures, list[Watched]()

    def add(self, what: str, paths: Iterable[Path], load: Callable[[], None]) -> None:
        """Call `load` now, passing on what it raises, and again after each change.

        `what` is the label in the metric of failures. Later calls of `load` are made from a thread, one at a time; what
        they raise is logged once a change.
        """
        watched = Watched(what, tuple(paths), load)
        watched.seen = signature(watched.paths)  # before reading: a change while it is read is seen next time
        load()
        self._failures.labels(what)  # at 0 from now on: Prometheus counts no increase from nothing to 1
        self._watched.append(watched)

    async def run(self) -> None:
        """Look until cancelled."""
        while self._watched:
            await asyncio.sleep(EVERY)
            for watched in self._watched:
                now = await asyncio.to_thread(signature, watched.paths)
                if now != watched.seen:
                    await self._reload(watched, now)

    async def _reload(self, watched: Watched, now: Signature) -> None:
        before: Signature = ()
        while now != before:
            await asyncio.sleep(SETTLE)
            before, now = now, await asyncio.to_thread(signature, watched.paths)
        watched.seen = now
        try:
            await asyncio.to_thread(watched.load)
        except RerankerError as error:
            self._failed(watched, error.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on with what it has
            self._failed(watched, f"reading {', '.join(map(str, watched.paths))} failed: {type(error).__name__}")
        else:
            log.info("%s: read again after a change of %s", watched.what, ", ".join(map(str, watched.paths)))

    def _failed(self, watched: Watched, why: str) -> None:
        self._failures.labels(watched.what).inc()
        log.error("%s: what was read before stays in force: %s", watched.what, why)


def signature(paths: Iterable[Path]) -> Signature:
    """What differs when a file was written, replaced, made readable, or is another one behind a symlink."""
    return tuple(_one(path) for path in paths)


def _one(path: Path) -> Signature:
    try:
        if not path.is_dir():
            return (os.path.realpath(path), *_stat(path))
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MOST_ENTRIES), strict=False))
        return (os.path.realpath(path), *((name, *_stat(path / name)) for name in names))
    except OSError as error:
        return (error.errno,)


def _stat(path: Path) -> Signature:
    try:
        about = path.stat()
    except OSError as error:  # a file that vanishes meanwhile is a change like another
        return (error.errno,)
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
