"""Where a model lies: built in a hidden directory, and under its own name at once and whole.

CACHE/OWNER--NAME/REVISION            finished, never written again
CACHE/OWNER--NAME/.partial-REVISION   being fetched; what is there is gone on from
CACHE/OWNER--NAME/.lock-REVISION      held by the fetch that is at work
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reranker_runtime.errors import FetchError, FetchReason

INCOMPLETE: Final = ".incomplete"
"""Ends the name of a file whose bytes are not all there, or not checked."""
LOOK_AGAIN_SECONDS: Final = 1.0
UNIT: Final = 1000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """One repository's revision on one volume."""

    cache: Path
    repository: str
    revision: str

    @property
    def home(self) -> Path:
        return self.cache / self.repository.replace("/", "--")

    @property
    def finished(self) -> Path:
        return self.home / self.revision

    @property
    def partial(self) -> Path:
        return self.home / f".partial-{self.revision}"

    def is_finished(self) -> bool:
        """Appears by one rename, so what is there is whole. An empty directory is a mount point that somebody made."""
        return self.finished.is_dir() and any(self.finished.iterdir())

    def size(self) -> tuple[int, int]:
        """Files and bytes of the finished directory."""
        sizes = [path.stat().st_size for path in self.finished.rglob("*") if path.is_file()]
        return len(sizes), sum(sizes)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait until no other fetch is at work here, or until it is finished.

        Some network volumes have no locks. Nothing is damaged there: fetches of one revision write the same bytes to
        the same places of the same files, each checks all of them, and the last rename finds the work done. A file
        that one of them throws away is missed by the other, which starts it anew or leaves it to another try.
        """
        path = self.home / f".lock-{self.revision}"
        try:
            stream = path.open("ab")
        except OSError as error:
            log.warning("%s cannot be opened (%s): fetching without a lock", path, error.strerror)
            yield
            return
        with stream:
            waiting = False
            while not self.is_finished():
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not waiting:
                        log.info("another fetch of %s is at work on this volume: waiting for it", self.repository)
                    waiting = True
                    time.sleep(LOOK_AGAIN_SECONDS)
                except OSError as error:
                    log.warning("%s cannot be locked (%s): fetching without a lock", path, error.strerror)
                    break
            yield
            if self.is_finished():  # whoever comes later does not ask for the lock any more
                with suppress(OSError):  # the work is done, whatever the volume says of this
                    path.unlink()

    def require_space(self, needed: int) -> None:
        """Refuse what the volume has no room for, before it is fetched."""
        found = os.statvfs(self.home)
        free = found.f_bavail * found.f_frsize
        if found.f_blocks and free < needed:  # volumes without a size of their own say 0
            raise FetchError(
                FetchReason.NO_SPACE,
                f"{self.repository} needs {amount(needed)} more in {self.cache}, and {amount(free)} are free; "
                "enlarge the volume, or delete revisions from it that nothing serves any more",
            )

    def publish(self) -> None:
        """Give the whole directory its name, so that it is still whole after a power cut."""
        for stray in self.partial.rglob(f"*{INCOMPLETE}"):  # of a fetch beside this one, without a lock
            if stray.is_file():
                stray.unlink(missing_ok=True)
        for folder, _, _ in os.walk(self.partial):
            _sync(Path(folder))
        try:
            self.partial.rename(self.finished)
        except OSError:
            if not self.is_finished():
                raise
            shutil.rmtree(self.partial, ignore_errors=True)
        _sync(self.home)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # volumes that cannot sync a directory have nothing to sync
            raise
    finally:
        os.close(descriptor)


def amount(size: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < UNIT:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= UNIT
    return f"{size:.1f} TB"
