"""One connection: what uvicorn's HTTP protocol lets a peer do without end is bounded here.

uvicorn waits for headers for ever, keeps as many of them as come, reads the rest of a body that nobody wants in order
to keep the connection, and waits for peers that never read. Such a peer is answered in NIM's error shape where it can
be, and then let go: first the answer, then what the peer still sends is thrown away for a moment, because closing with
unread bytes would reset the connection before the peer has read why.
"""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import httptools
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from reranker_runtime.errors import InvalidRequest, RequestError, TimedOut, Unavailable
from reranker_runtime.http.guard import Guard
from reranker_runtime.http.lines import Continued, Line

MOST_HEADER_BYTES: Final = 65_536
"""Of a request line and its headers, and of the trailers after a body."""
MOST_HEADERS: Final = 100
MOST_PIPELINED: Final = 16
"""Requests of one connection that came before the answer to an earlier one."""
VERSIONS: Final = ("1.1", "1.0")
LINGER: Final = 2.0
"""Seconds in which a peer may read why it is let go."""
LEAST_READ: Final = 65_536
"""Bytes of an answer that a peer reads in the time that it may keep a connection, or is let go."""
NEVER: Final = float("inf")

log = logging.getLogger(__name__)


class Connection(HttpToolsProtocol):
    """`due` is the loop's time at which `expire` is called; the guard looks after it."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, guard: Guard, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.timeout_keep_alive = guard.keep_alive  # type: ignore[assignment] # a timer takes any number
        self.due = NEVER
        self.leaving = False
        self._guard = guard
        self._peer: asyncio.Transport | None = None
        self._deaf = False
        """What comes is not read any more, but an answer is still being made."""
        self._heading = True
        """What comes next belongs to a request line or to headers."""
        self._received = 0
        """Bytes of them, while they are not complete."""
        self._between = 0
        """Bytes since the last of a body: of trailers and of what is said of chunks, which may never be complete."""
        self._left = 0
        """Bytes of answers that the peer had not read when its time began."""
        self._size = self._count = 0
        """Bytes and number of the headers that are complete."""
        self._running: RequestResponseCycle | None = None
        """The request being answered, or the last one; `cycle` is the last that was parsed."""
        self._refusal: RequestError | None = None
        self._discarded = 0

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._peer = transport
        super().connection_made(Line(transport, self))
        if self._guard.enter(self):
            self.due = self.loop.time() + self._guard.header_timeout
        else:
            self._refuse(Unavailable("too many connections are open here; try again shortly", cause="connections"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.leaving, self.due = True, NEVER
        self.pipeline.clear()
        super().connection_lost(exc)
        if self._running is not None:  # uvicorn tells the last one that was parsed, which may wait behind this one
            self._running.disconnected = True
            self._running.message_event.set()
        self._unset_keepalive_if_required()
        self._guard.leave(self)

    def data_received(self, data: bytes) -> None:
        if self.leaving:
            self._discard(len(data))
            return
        if self._deaf:
            self.flow.pause_reading()
            return
        self._unset_keepalive_if_required()
        heading = self._heading
        if heading and self.due == NEVER and not self._busy:
            self.due = self.loop.time() + self._guard.header_timeout
        if heading:
            self._received += len(data)
        else:
            self._between += len(data)
        self._feed(data)
        if max(self._received, self._between) > MOST_HEADER_BYTES and not (self.leaving or self._deaf):
            self._stop(_too_many_header_bytes())

    def _feed(self, data: bytes) -> None:
        while data and not (self.leaving or self._deaf):
            try:
                data = self._parse(data)
            except httptools.HttpParserError as error:
                why = str(error) or type(error).__name__
                self._stop(
                    self._refusal or InvalidRequest(f"this is not HTTP/1.1 as it is spoken here: {why}", status=400)
                )
                return

    def _parse(self, data: bytes) -> bytes:
        """What is still to be parsed."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade()
            return data[upgrade.args[0] :]
        return b""

    def _decline_upgrade(self) -> None:
        """Go on as if the request had not asked for it: Java's client asks for HTTP/2 beside each request.

        The parser takes all that follows for another protocol, so a new one reads the body.
        """
        framing = [one for one in self.headers if one[0] in (b"content-length", b"transfer-encoding")]
        head = b"".join(b"%s: %s\r\n" % one for one in framing or [(b"content-length", b"0")])
        listener = Continued(self)
        self.parser = httptools.HttpRequestParser(listener)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % head)
        listener.heads = True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._guard.unread.add(self)
        self._await_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._guard.unread.discard(self)
        if not self.leaving:
            # uvicorn's own timer may have run out while the answer was being read.
            self.due = NEVER if self._busy else self.loop.time() + self._guard.keep_alive

    # What the parser tells; what is raised here stops it

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise self._refused(InvalidRequest("too many requests before the first answer: wait for it", status=400))
        self._size = self._count = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value) + 4)
        self._count += 1
        if self._count > MOST_HEADERS:
            raise self._refused(InvalidRequest(f"more than {MOST_HEADERS} headers: send fewer", status=431))
        if self._heading:  # trailers come when the request is being answered, and must not change what it was
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            raise self._refused(InvalidRequest("this is not HTTP/1.1 as it is spoken here: nor is it 1.0", status=400))
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            # A proxy that heeds 1.0 sees other requests in these bytes.
            raise self._refused(
                InvalidRequest("this is not HTTP/1.1 as it is spoken here: 1.0 has no Transfer-Encoding", status=400)
            )
        self._heading, self._received, self._between = False, 0, 0
        if not self.flow.write_paused:
            self.due = NEVER
        super().on_headers_complete()
        if self._guard.stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._between = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():  # the body is still to come, see _decline_upgrade
            return
        super().on_message_complete()
        self._heading, self._between = True, 0

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MOST_HEADER_BYTES:
            raise self._refused(_too_many_header_bytes())

    def _refused(self, error: RequestError) -> RequestError:
        self._refusal = error  # the parser tells only that a callback failed
        return error

    # From request to answer

    @property
    def made(self) -> bool:
        """Whether it ever was a connection: a handshake may fail."""
        return self._peer is not None

    @property
    def _busy(self) -> bool:
        return self._running is not None and not self._running.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, partial(_answer, cycle, self._guard, app))

    def on_response_complete(self) -> None:
        if not self.flow.write_paused:
            self.due = NEVER
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for so long; a peer that has not even read its answer is not waited for."""
        if not self.unread:
            self.leave()
        elif self.due == NEVER:  # else it is seen to already how the peer goes on
            self.expire()

    @property
    def unread(self) -> int:
        """Bytes of answers that the peer has still to read."""
        return 0 if self._peer is None else self._peer.get_write_buffer_size()

    def _await_reading(self) -> None:
        self._left = self.unread
        self.due = self.loop.time() + self._guard.keep_alive

    # The end

    def expire(self) -> None:
        """The time is over for what the peer should have done."""
        self.due = NEVER
        if self._peer is None:
            return
        if self.unread and self.unread <= self._left - LEAST_READ:
            self._await_reading()
        elif self.unread:
            self._guard.count("unread")
            self._peer.abort()
        elif self.leaving and self._peer.is_closing():
            self._peer.abort()
        elif self.leaving:
            self.due = self.loop.time() + LINGER
            self._peer.close()
        elif self._busy:
            return
        elif self._received:
            self._refuse(
                TimedOut(
                    f"the headers did not arrive within {self._guard.header_timeout:g} seconds; send them faster, "
                    "or raise RERANKER_HEADER_TIMEOUT_SECONDS",
                    status=408,
                )
            )
        else:
            self.leave()

    def _stop(self, error: RequestError) -> None:
        """Nothing that comes can be parsed any more."""
        running = self._running
        if running is not None and self._busy:
            if running.response_started or running is not self.cycle or self._heading:
                # An answer to an earlier request is on its way: nothing may come between.
                self._deaf = True
                self.pipeline.clear()
                running.keep_alive = False
                self._guard.count(_cause(error))
                return
            running.disconnected = True  # its own body is the fault, so this is its answer
            running.message_event.set()
        self._refuse(error)

    def _refuse(self, error: RequestError) -> None:
        """Answer and let go."""
        self._guard.count(_cause(error))
        log.debug("refused %s: %s", self.client[0] if self.client else "a peer", error)
        text = {"object": "error", "message": error.message, "detail": error.detail, "type": error.kind}
        body = json.dumps(text).encode()
        retry = "" if error.retry_after is None else f"retry-after: {error.retry_after}\r\n"
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n{retry}\r\n"
        )
        self.transport.write(head.encode() + body)
        self._received = max(1, self._received)  # something unread there is, or will be
        self.leave()

    def abort(self) -> None:
        if self._peer is not None:
            self._peer.abort()

    def leave(self) -> None:
        """Close, after the peer had time to read what was written; nothing more is read or written."""
        peer = self._peer
        if self.leaving or peer is None or peer.is_closing():
            return
        self.leaving = True
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        if self._heading and not self._received and not self._deaf:  # the peer sent nothing that was not read
            self.due = self.loop.time() + self._guard.keep_alive
            peer.close()
            return
        self.due = self.loop.time() + LINGER
        self.flow.resume_reading()
        if peer.can_write_eof():
            peer.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self._guard.most_discarded:
            self.abort()


async def _answer(
    cycle: RequestResponseCycle, guard: Guard, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """End the connection where what is left of a body is not worth reading, or another replica shall be asked next."""

    async def send_and_end(message: Message) -> None:
        if message["type"] == "http.response.start" and (cycle.more_body or guard.stopping):
            cycle.keep_alive = False
        await send(message)

    await app(scope, receive, send_and_end)


def _too_many_header_bytes() -> InvalidRequest:
    return InvalidRequest(f"the request line and headers are larger than {MOST_HEADER_BYTES} bytes", status=431)


def _cause(error: RequestError) -> str:
    return {408: "slow", 431: "headers", 503: "full"}.get(error.status, "malformed")
