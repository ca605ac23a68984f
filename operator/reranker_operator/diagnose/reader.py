"""Reading with a person's own rights: what may not be read, or does not come in time, is an answer like any other."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from reranker_operator.kube import ForbiddenError, Kind, Kube, KubeError, NotFoundError

REQUEST_SECONDS = 10.0
AT_ONCE = 8
"""Requests under way at the same time."""
_UNAUTHORIZED = 401
_STRANGER = "the server does not know your credentials: log in again"

Json = dict[str, Any]
T = TypeVar("T")

_CONTROLS = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_MISSING_RIGHT = re.compile(r'cannot (\w+) resource "([^"]+)"')


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What came of asking for something: either a value, or why there is none."""

    value: T | None = None
    problem: str | None = None
    """Why it could not be read, in a few words."""
    forbidden: bool = False
    """True where whoever asks has no right to it."""
    absent: bool = False
    """True where there is no such thing, or where the server does not know the kind."""
    note: str = ""
    """What is missing from the value."""

    def of(self, change: Callable[[T], T]) -> "Answer[T]":
        """The same with its value, if there is one, changed."""
        return self if self.value is None else replace(self, value=change(self.value))


@dataclass(frozen=True)
class Reader:
    """Reads from one API server until `deadline`, by the monotonic clock; nothing here raises a `KubeError`."""

    kube: Kube
    deadline: float
    _slots: asyncio.Semaphore

    @classmethod
    def for_seconds(cls, kube: Kube, seconds: float) -> "Reader":
        """One that gives up after so many seconds."""
        return cls(kube, time.monotonic() + seconds, asyncio.Semaphore(AT_ONCE))

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Answer[Json]:
        """One object."""
        answer: Answer[Json | None] = await self.ask(self.kube.get(kind, namespace, name))
        if answer.problem is None and answer.value is None:
            return Answer(problem="does not exist", absent=True)
        return Answer(answer.value, answer.problem, answer.forbidden, answer.absent)

    async def find(self, kind: Kind, namespace: str | None, most: int, **query: str) -> Answer[list[Json]]:
        """Objects of a namespace; at most `most` of them."""
        answer = await self.ask(self.kube.find(kind, namespace, limit=str(most), **query))
        if answer.value is not None and len(answer.value) >= most:
            return Answer(answer.value, note=f"there may be more than these {most}")
        return answer

    async def text(self, path: str, most: int, **query: str) -> Answer[str]:
        """A text such as a log: of at most `most` bytes, and without what would move a terminal's cursor."""
        answer = await self.ask(self.kube.text(path, most=most, **query))
        if answer.value is None:
            return Answer(problem=answer.problem, forbidden=answer.forbidden, absent=answer.absent)
        text, cut = answer.value
        return Answer(printable(text), note=f"cut after {most >> 10} KiB" if cut else "")

    async def ask(self, request: Awaitable[T]) -> Answer[T]:
        """One request."""
        try:
            async with asyncio.timeout(self.deadline - time.monotonic()), self._slots:
                async with asyncio.timeout(REQUEST_SECONDS):
                    return Answer(await request)
        except TimeoutError:
            if asyncio.iscoroutine(request):
                request.close()  # it may still have been waiting for its turn
            return Answer(problem="no answer in time")
        except ForbiddenError as error:
            return Answer(problem=_denial(error), forbidden=True)
        except NotFoundError as error:
            return Answer(problem=_words(error), absent=True)
        except KubeError as error:
            return Answer(problem=_STRANGER if error.status == _UNAUTHORIZED else _words(error))
        except (LookupError, TypeError, ValueError) as error:  # JSON of something that is no API server
            return Answer(problem=f"the answer makes no sense ({type(error).__name__}: {error})")


def printable(text: str) -> str:
    """The text without colours and whatever else would move a terminal's cursor or turn a line around."""
    return _CONTROLS.sub("", text)


def _denial(error: ForbiddenError) -> str:
    """Which right is missing, as somebody who gives rights wants to read it."""
    right = _MISSING_RIGHT.search(str(error))
    return f"you may not {right[1]} {right[2]}" if right else _words(error)


def _words(error: KubeError) -> str:
    """The server's own words, without the request that they answer."""
    return " ".join(str(error).partition(": ")[2].split())[:300]
