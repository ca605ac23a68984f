"""Both ports in one event loop, from the first probe to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from reranker_runtime.errors import SettingsError
from reranker_runtime.http.app import api_app, internal_app
from reranker_runtime.http.connections import Connection
from reranker_runtime.http.guard import Guard
from reranker_runtime.http.keys import Keys
from reranker_runtime.http.listener import Listener
from reranker_runtime.http.tls import Tls
from reranker_runtime.http.tracing import Tracing, tracing
from reranker_runtime.http.watch import Watch
from reranker_runtime.service import Service
from reranker_runtime.settings import Settings

INTERNAL_CONNECTIONS: Final = 256
"""To the internal port: a flood of the API port leaves the probes theirs."""
BACKLOG: Final = 2048
FLUSH: Final = 5
"""Seconds in which the last answers reach their callers."""
OTHER_FILES: Final = 256
"""Open files that are no connections."""

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server on our listener, and without its signal handlers: a stop drains the service first."""

    def __init__(self, app: ASGIApp, listener: socket.socket, guard: Guard, tls: Tls | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=FLUSH,
            )
        )
        self._listener, self.guard, self._tls = listener, guard, tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        loop = asyncio.get_running_loop()
        make = partial(Connection, self.config, self.server_state, self.guard, loop)
        self.guard.watch(loop)
        self.servers = [Listener(self._listener, self.guard, self._tls, make)]  # type: ignore[list-item] # as good as one
        self.started = True


class Stop:
    """What SIGTERM and SIGINT ask for: the first, to finish what runs; the second, not to wait for it."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.asked, self.at_once = asyncio.Event(), asyncio.Event()
        self._servers = servers
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        for server in self._servers:
            server.guard.stopping = True
            if self.asked.is_set():
                server.should_exit = server.force_exit = True
                server.guard.abort()
        (self.at_once if self.asked.is_set() else self.asked).set()


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises `RerankerError` where the model, a file or a port cannot be had."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - has no wheels for some systems, on which asyncio's own loop does
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(settings: Settings) -> None:
    service = Service(settings)
    keys, tls, traces = Keys(settings), Tls.of(settings), tracing(settings)
    watch = Watch(service.metrics.reload_failures)
    watch.add("keys", keys.paths, keys.load)
    if tls is not None:
        watch.add("tls", tls.paths, tls.load)
    servers = _servers(settings, service, keys, tls, traces)
    stop = Stop(servers)
    serving = [asyncio.create_task(server.serve()) for server in servers]
    scheme = "http" if tls is None else "https"
    log.info("listening on %s://%s:%d; loading %s", scheme, settings.host, settings.port, settings.model_path)
    loading = asyncio.create_task(service.load())
    tasks = [loading, asyncio.create_task(watch.run())]
    try:
        await _first(loading, stop.asked.wait())
        if loading.done():
            loading.result()  # raises what went wrong
            await stop.asked.wait()
        log.info("stopping: running requests are finished, new ones refused")
        await _first(service.drain(), stop.at_once.wait())
    finally:
        for task in tasks:
            task.cancel()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving, *tasks, return_exceptions=True)
        await _flush(traces)
    log.info("stopped")


async def _flush(traces: Tracing | None) -> None:
    if traces is not None:
        await asyncio.to_thread(traces.end)


async def _first(*awaited: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> None:
    """Wait for one of them; coroutines that are not done then are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for one, task in zip(awaited, tasks, strict=True):
        if one is not task:
            task.cancel()


def _servers(settings: Settings, service: Service, keys: Keys, tls: Tls | None, traces: Tracing | None) -> list[Server]:
    guard = partial(
        Guard,
        metrics=service.metrics,
        header_timeout=settings.header_timeout,
        keep_alive=settings.keep_alive,
        most_discarded=2 * settings.max_body_bytes,  # so a body that is not far too large meets its 413
    )
    _allow_files(settings.max_connections + INTERNAL_CONNECTIONS)
    listener = _listen(settings.host, settings.port, "NIM_HTTP_API_PORT")
    api = guard("api", most=settings.max_connections)
    servers = [Server(api_app(service, keys, traces, lambda: api.unread_bytes), listener, api, tls)]
    if settings.internal_port:
        listener = _listen(settings.host, settings.internal_port, "RERANKER_INTERNAL_PORT")
        servers.append(Server(internal_app(service), listener, guard("internal", most=INTERNAL_CONNECTIONS), None))
    return servers


def _allow_files(connections: int) -> None:
    """Each connection is an open file, of which a process may have few until it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "only %d files may be open here, and RERANKER_MAX_CONNECTIONS needs %d: "
            "raise the limit (ulimit -n), or lower it",
            allowed,
            wanted,
        )


def _listen(host: str, port: int, variable: str) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        why = error.strerror or str(error)
        raise SettingsError(
            f"cannot listen on {host}:{port}: {why}; choose another address or port ({variable}, NIM_BIND_ADDR)"
        ) from error
    return listener
