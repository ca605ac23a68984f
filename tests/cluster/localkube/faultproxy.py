"""Stands between a client and the API server, and goes wrong when a test asks for it.

The client reaches it by its kubeconfig: TLS with a certificate of the cluster's own authority, and TLS on to the API
server. Everything is passed on as it is (tokens, bodies, watches) but for what a `Fault` names. It runs in a thread of
its own, so that tests use it like any other object.
"""

import asyncio
import contextlib
import json
import random
import re
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from aiohttp import web

from localkube.controlplane import ControlPlane

T = TypeVar("T")

_HOST = "127.0.0.1"
_MAX_BODY = 16 * 1024 * 1024
_HELD_SECONDS = 120.0
_PLACE = re.compile(r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<rest>[^/].*)")
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# Of one connection only (RFC 9110, 7.6.1); and what aiohttp writes itself.
_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length"}
_REASONS = {410: "Expired", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


@dataclass(frozen=True)
class Call:
    """A request, in the API server's own words."""

    verb: str
    """get, list, watch, create, update, patch or delete."""
    resource: str
    """Plural with subresource, such as `deployments` or `rerankerservices/status`; else the path."""
    namespace: str
    """Empty where there is none."""


Match = Callable[[Call], bool]
"""Which requests are meant."""


def every(_call: Call) -> bool:
    """All of them."""
    return True


def watches(call: Call) -> bool:
    """Those that begin a watch."""
    return call.verb == "watch"


def readings(call: Call) -> bool:
    """Lists and watches: all by which a client learns of what has changed."""
    return call.verb in {"list", "watch"}


@dataclass
class Fault:
    """What becomes of the requests that `match` names, instead of an answer of the API server's."""

    match: Match
    status: int
    """429, 500 and the like; 410 answers a watch as a server does that has forgotten what the client asks for."""
    share: float = 1.0
    """Of the matching requests, by the proxy's seeded random numbers."""
    times: int | None = None
    """So many, and then no more; None: until it is taken away."""
    retry_after: int | None = None
    """Seconds, for the header Retry-After."""
    message: str = ""
    """What the answer says; without, that it was injected, and for the how manieth time."""
    met: int = 0
    """How many requests it has met."""


@dataclass(frozen=True, eq=False)
class _Watch:
    """A running one."""

    call: Call
    request: web.Request
    answer: web.StreamResponse


class FaultProxy:
    """A loopback proxy before the API server of `plane`, with faults on demand; random ones go by `seed`."""

    def __init__(self, plane: ControlPlane, *, name: str = "fault-proxy", seed: int = 0) -> None:
        self.authority: Path = plane.authority.certificate
        self.calls: Counter[Call] = Counter()
        """How often each request was made, whatever became of it."""
        self._target = plane.url
        self._files = plane.authority.issue(name, [_HOST])
        self._random = random.Random(seed)
        self._faults: list[Fault] = []
        self._held: list[tuple[Match, asyncio.Event]] = []
        self._watches: set[_Watch] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """What a kubeconfig names in the API server's place."""
        return f"https://{_HOST}:{self._port}"

    # Faults

    @contextmanager
    def failing(
        self,
        status: int,
        match: Match = every,
        *,
        share: float = 1.0,
        times: int | None = None,
        retry_after: int | None = None,
        message: str = "",
    ) -> Iterator[Fault]:
        """While the block runs, answer matching requests with `status`."""
        fault = Fault(match, status, share, times, retry_after, message)
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)

    @contextmanager
    def holding(self, match: Match = every) -> Iterator[None]:
        """While the block runs, and for two minutes at most, matching requests are held; then they are passed on."""
        held = (match, asyncio.Event())
        self._held.append(held)
        try:
            yield
        finally:
            self._held.remove(held)
            self._loop.call_soon_threadsafe(held[1].set)

    def cut_watches(self, match: Match = every) -> int:
        """Drop the connections of the running watches, as a load balancer does; returns how many there were."""
        return self._do(self._cut(match))

    def expire_watches(self, match: Match = every) -> int:
        """End the running watches with the event ERROR, 410 Expired; returns how many there were."""
        return self._do(self._expire(match))

    # Facts

    def watching(self, match: Match = every) -> int:
        """How many watches are running."""
        return len(self._running(match))

    def counted(self, match: Match = every) -> int:
        """How many matching requests were made."""
        return sum(number for call, number in list(self.calls.items()) if match(call))

    # Inside the thread

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._files)
        upstream = ssl.create_default_context(cafile=str(self.authority))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=upstream, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
            read_bufsize=_MAX_BODY,
        )
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, 0, ssl_context=context)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._cut(every)
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(0)  # an aborted connection's socket is closed in the loop's next round

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = call_of(request.method, request.path, request.query.get("watch", ""))
        self.calls[call] += 1
        for match, over in list(self._held):
            if match(call):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _HELD_SECONDS)
        if (fault := self._due(call)) is not None:
            return _failed(fault)
        try:
            return await self._pass_on(request, call)
        except (aiohttp.ClientError, OSError):
            # The API server is not there, or went away: so does the connection, as it would without a proxy.
            _drop(request)
            return web.Response(status=502)

    def _due(self, call: Call) -> Fault | None:
        for fault in list(self._faults):
            left = fault.times is None or fault.met < fault.times
            if left and fault.match(call) and self._random.random() < fault.share:
                fault.met += 1
                return fault
        return None

    async def _pass_on(self, request: web.Request, call: Call) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
        body = await request.read()
        asked = self._session.request(
            request.method,
            self._target + request.raw_path,
            headers=headers,
            data=body or None,
            skip_auto_headers=["Accept", "Accept-Encoding", "Content-Type", "User-Agent"],
        )
        async with asked as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
            passed = web.StreamResponse(status=answer.status, headers=kept)
            await passed.prepare(request)
            # A watch goes event by event, each a line, so that one of ours never falls into another.
            parts = answer.content if call.verb == "watch" else answer.content.iter_any()
            with self._noted(_Watch(call, request, passed)), _dropped_if_unfinished(answer):
                async for part in parts:
                    await passed.write(part)
            await passed.write_eof()
            return passed

    @contextmanager
    def _noted(self, running: _Watch) -> Iterator[None]:
        if running.call.verb == "watch":
            self._watches.add(running)
        try:
            yield
        finally:
            self._watches.discard(running)

    async def _cut(self, match: Match) -> int:
        running = self._running(match)
        for each in running:
            _drop(each.request)
        return len(running)

    async def _expire(self, match: Match) -> int:
        running = self._running(match)
        event = json.dumps({"type": "ERROR", "object": _status(410)}).encode() + b"\n"
        for each in running:
            with contextlib.suppress(ConnectionError):
                await each.answer.write(event)
            if each.request.transport is not None:
                each.request.transport.close()  # in an orderly way: what was written arrives
        return len(running)

    def _running(self, match: Match) -> list[_Watch]:
        return [each for each in list(self._watches) if match(each.call)]


def call_of(method: str, path: str, watch: str = "") -> Call:
    """What a request asks for."""
    found = _PLACE.fullmatch(path)
    if found is None:
        return Call(method.lower(), path, "")
    plural, _, after = found["rest"].partition("/")
    name, _, subresource = after.partition("/")
    verb = _WRITES.get(method, "get" if name else "watch" if watch in {"1", "true"} else "list")
    return Call(verb, f"{plural}/{subresource}" if subresource else plural, found["namespace"] or "")


def _status(code: int, number: int = 1, message: str = "") -> dict[str, Any]:
    reason = _REASONS.get(code, "Unknown")
    # Real ones name ports and requests: they vary.
    message = message or f"{reason}: injected by the tests' proxy ({number})"
    metadata: dict[str, Any] = {}
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    }  # fmt: skip


def _failed(fault: Fault) -> web.Response:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return web.json_response(_status(fault.status, fault.met, fault.message), status=fault.status, headers=headers)


def _drop(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


@contextmanager
def _dropped_if_unfinished(answer: aiohttp.ClientResponse) -> Iterator[None]:
    """aiohttp closes the connection of an answer that was not read to its end, which waits for the other side's word
    (TLS's close_notify), and does so behind the session's back: what still waits when the loop ends is never closed."""
    try:
        yield
    except BaseException:
        if answer.connection is not None and answer.connection.transport is not None:
            answer.connection.transport.abort()
        raise
