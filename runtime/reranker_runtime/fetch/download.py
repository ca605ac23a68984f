"""One file: received from where it was cut, checked against what the hub announced, and only then given its name."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import closing, suppress
from io import BufferedRandom
from pathlib import Path
from typing import Final

from reranker_runtime.errors import FetchError, FetchReason
from reranker_runtime.fetch.hub import File, Hub
from reranker_runtime.fetch.patience import Patience, Trouble
from reranker_runtime.fetch.place import INCOMPLETE, amount

SECONDS_BETWEEN_LINES: Final = 10.0
BLOCK: Final = 1 << 20
TWICE: Final = 2
ROUNDS: Final = 3
"""One for what an earlier fetch left, or one beside this one took away, and twice from the first byte."""
log = logging.getLogger(__name__)


class Progress:
    """A line now and then about how far all files together are."""

    def __init__(self, total: int, here: int) -> None:
        self.received = 0
        self._total, self._here = total, here
        self._started = self._said = time.monotonic()

    def add(self, size: int, name: str) -> None:
        self.received += size
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES:
            return
        self._said = now
        there, rate = min(self._here + self.received, self._total), self.received / (now - self._started)
        log.info("%s of %s, %s a second; at %s", amount(there), amount(self._total), amount(rate), name)


def have(directory: Path, file: File) -> int:
    """Bytes of the file that need not be fetched again."""
    for path in (directory / file.name, directory / (file.name + INCOMPLETE)):
        if (size := _size(path)) > 0:
            return min(size, file.size)
    return 0


def download(hub: Hub, file: File, directory: Path, progress: Progress) -> None:
    """See to it that the file is in the directory, whole and checked.

    Where the volume has no locks, a fetch beside this one may throw the bytes away or start them anew. So they are
    judged through the handle they were written by, and blamed on the hub only if all of them were received here.
    """
    target = directory / file.name
    part = target.with_name(target.name + INCOMPLETE)
    target.parent.mkdir(parents=True, exist_ok=True)
    wrong, damaged = "", 0
    for _ in range(ROUNDS):
        if _size(target) == file.size:
            return  # checked before it had this name
        if wrong:
            log.warning("%s %s: fetching it once more", file.name, wrong)
        part.touch()
        with part.open("r+b") as stream:
            received_here = _receive(hub, file, stream, progress)
            wrong = _fault(stream, file)
            if not _is_there(stream, part):
                wrong = "was taken away by a fetch beside this one, without a lock"
            elif wrong:
                part.unlink(missing_ok=True)
                damaged += received_here and _is_mismatch(stream, file)
            else:
                with suppress(FileNotFoundError):  # renamed by a fetch beside this one, without a lock
                    part.rename(target)
                    return
        if damaged == TWICE:
            raise FetchError(
                FetchReason.CHECKSUM_MISMATCH,
                f"{file.name} of {hub.repository} {wrong}, twice; the hub, or a proxy before it, has damaged files",
            )
    if _size(target) != file.size:
        raise Trouble(f"{file.name} of {hub.repository} {wrong}")


def _size(path: Path) -> int:
    """-1 where there is no such file."""
    return path.stat().st_size if path.is_file() else -1


def _is_there(stream: BufferedRandom, path: Path) -> bool:
    """Whether the path still leads to the open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


def _receive(hub: Hub, file: File, stream: BufferedRandom, progress: Progress) -> bool:
    """Bytes go to their own places and never to a file's end: what a fetch beside this one wrote is the same.

    True where all of them were received here, and none was left by another fetch.
    """
    patience = Patience(hub.retries)
    ours = 0  # bytes from the first one on
    while (start := os.fstat(stream.fileno()).st_size) < file.size:
        if start:
            log.info("%s: going on after %s of %s", file.name, amount(start), amount(file.size))
        try:
            with closing(hub.read(file, start)) as chunks:
                for position, chunk in chunks:
                    stream.seek(position)
                    stream.write(chunk)
                    stream.flush()  # so that nothing received is lost with the process
                    progress.add(len(chunk), file.name)
                    if position <= ours:
                        ours = max(ours, position + len(chunk))
        except Trouble as trouble:
            if os.fstat(stream.fileno()).st_size > start:
                patience.renew()
            patience.wait(trouble)
    os.fsync(stream.fileno())
    return ours >= file.size


def _is_mismatch(stream: BufferedRandom, file: File) -> bool:
    """Whether it is the hash that says so: of another size is also what was cut, or answered by a proxy."""
    return file.checkable and os.fstat(stream.fileno()).st_size == file.size


def _fault(stream: BufferedRandom, file: File) -> str:
    """What is wrong with the bytes; empty where they are what the hub announced."""
    size = os.fstat(stream.fileno()).st_size
    if size != file.size:
        return f"has {'more than ' if size > file.size else ''}{min(size, file.size)} bytes instead of {file.size}"
    stream.seek(0)
    if file.sha256:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
        return "" if found == file.sha256 else f"has sha256 {found} instead of {file.sha256}"
    if file.blob:
        git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        for block in iter(lambda: stream.read(BLOCK), b""):
            git.update(block)
        return "" if git.hexdigest() == file.blob else f"has git's number {git.hexdigest()} instead of {file.blob}"
    if file.name.endswith(".json"):  # all that tells it from what a proxy answers in its place
        try:
            json.load(stream)
        except (ValueError, RecursionError):
            return "is no JSON, and the hub announces no hash of it"
    return ""
