"""Bodies in: within a limit for each, a limit for all that are held at once, and a time."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette.requests import Request

from reranker_runtime.errors import InvalidRequest, TimedOut, Unavailable, brief
from reranker_runtime.metrics import Metrics
from reranker_runtime.settings import Settings

PLAIN: Final = ("", "identity")
"""Content codings that leave a body as it is."""


class Intake:
    """Everything runs in the event loop."""

    def __init__(self, settings: Settings, metrics: Metrics, unread: Callable[[], int]) -> None:
        """`unread` gives the bytes of answers that wait to be read: they count, as they may quote their requests."""
        self._settings, self._metrics, self._unread = settings, metrics, unread
        self._bodies = 0
        metrics.held_bytes.set_function(lambda: self._held)

    @property
    def _held(self) -> int:
        return self._bodies + self._unread()

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """A request's body; its bytes count as held until the caller is done with what it made of them.

        Raises `InvalidRequest` (413, 415), `TimedOut` (408) and `Unavailable`.
        """
        _check_coding(request.headers.getlist("content-encoding"))
        parts: list[bytes] = []
        size = 0
        seconds = body_seconds(self._settings)
        try:
            try:
                async with asyncio.timeout(seconds):
                    await self._receive(request, parts)
            except TimeoutError:
                raise too_slow(seconds) from None
            size = sum(map(len, parts))
            # Windows' tools begin texts with a byte order mark; RFC 8259 lets a reader ignore it.
            whole = [b"".join(parts).removeprefix(codecs.BOM_UTF8)]
            parts.clear()  # the caller shall be the only one who keeps it
            yield whole.pop()
        finally:
            self._bodies -= size or sum(map(len, parts))

    async def _receive(self, request: Request, parts: list[bytes]) -> None:
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self._settings.max_body_bytes:
            raise too_large(self._settings.max_body_bytes)
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > self._settings.max_body_bytes:
                raise too_large(self._settings.max_body_bytes)
            if self._held + len(part) > self._settings.max_waiting_bytes:
                self._metrics.refused.labels("waiting_bytes").inc()
                raise too_much_held(self._held, self._settings.max_waiting_bytes)
            self._bodies += len(part)
            parts.append(part)


def body_seconds(settings: Settings) -> float:
    """How long a body may take to arrive."""
    return min(settings.body_timeout, settings.request_timeout)


def too_slow(seconds: float) -> TimedOut:
    return TimedOut(
        f"the body did not arrive within {seconds:g} seconds; send it faster, "
        "or raise RERANKER_BODY_TIMEOUT_SECONDS (NIM_REQUEST_TIMEOUT_S bounds it, too)",
        status=408,
    )


def too_large(most: int) -> InvalidRequest:
    return InvalidRequest(
        f"the body is larger than {most} bytes; send fewer or shorter passages, or raise RERANKER_MAX_BODY_BYTES",
        status=413,
    )


def too_much_held(held: int, most: int) -> Unavailable:
    return Unavailable(
        f"{held} bytes of requests and of answers not yet read are held already, at most {most} may "
        "(RERANKER_MAX_WAITING_BYTES); try again shortly",
        cause="waiting_bytes",
    )


def coded(coding: str) -> InvalidRequest:
    return InvalidRequest(
        f"Content-Encoding: {brief(coding)} is not read here; send the body as it is, without that header "
        "or with Content-Encoding: identity",
        status=415,
    )


def _check_coding(headers: list[str]) -> None:
    codings = [coding.strip() for header in headers for coding in header.split(",")]
    other = next((coding for coding in codings if coding.lower() not in PLAIN), None)
    if other is not None:
        raise coded(other)
