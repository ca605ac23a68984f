"""Work that a thread does for somebody who may leave meanwhile.

Nothing can stop a thread from outside. So whoever does long work says where it is each time a part of it is done, and
is stopped there when nobody waits any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

Value = TypeVar("Value")


class Abandoned(Exception):  # noqa: N818 - no fault: nobody waits any more
    """Raised in the thread, where the work then ends."""


class Errand:
    """One piece of work. `abandon` is for any thread."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        """Is told of characters before they are tokenised, in the thread that does it."""
        self._abandoned = False

    def abandon(self) -> None:
        """Nobody waits any more."""
        self._abandoned = True

    def run(self, work: Callable[..., Value], *args: object) -> Value:
        """Do the work in this thread; raises `Abandoned` where it stopped."""
        token = _current.set(self)
        try:
            return work(*args)
        finally:
            _current.reset(token)

    def proceed(self, letters: int) -> None:
        if self._abandoned:
            raise Abandoned
        self._count(letters)


_current: ContextVar[Errand | None] = ContextVar("errand", default=None)


def proceed(letters: int = 0) -> None:
    """Before each part of long work, and how many characters it tokenises; raises `Abandoned` if nobody waits for it.

    Work that is nobody's errand, as while the server starts, goes on.
    """
    errand = _current.get()
    if errand is not None:
        errand.proceed(letters)
