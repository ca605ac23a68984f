"""Both ports in one event loop, from the first probe to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from reranker_runtime.errors import SettingsError
from reranker_runtime.http.app import api_app, internal_app
from reranker_runtime.service import Service
from reranker_runtime.settings import Settings

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: a stop drains the service first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises `RerankerError` where the model or a port cannot be had."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    service = Service(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [_server(api_app(service), settings, tls=True)]
    sockets = [_listen(settings.host, settings.port, "NIM_HTTP_API_PORT")]
    if settings.internal_port:
        servers.append(_server(internal_app(service), settings, tls=False))
        sockets.append(_listen(settings.host, settings.internal_port, "RERANKER_INTERNAL_PORT"))
    serving = [asyncio.create_task(s.serve([sock])) for s, sock in zip(servers, sockets, strict=True)]
    log.info("listening on %s:%d; loading %s", settings.host, settings.port, settings.model_path)
    loading = asyncio.create_task(service.load())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()  # raises what went wrong
            await stopping
        log.info("stopping: running requests are finished, new ones refused")
        await service.drain()
    finally:
        loading.cancel()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving, return_exceptions=True)
    log.info("stopped")


def _server(app: ASGIApp, settings: Settings, *, tls: bool) -> Server:
    try:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=5,
            ssl_certfile=settings.tls_cert if tls else None,
            ssl_keyfile=settings.tls_key if tls else None,
        )
        config.load()  # reads the certificate now, not in a task that nobody awaits
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"NIM_TLS_CERT_PATH={settings.tls_cert} with NIM_TLS_KEY_PATH={settings.tls_key} cannot be used: {error}; "
            "give a PEM certificate chain and its key"
        ) from error
    return Server(config)


def _listen(host: str, port: int, variable: str) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError as error:
        why = error.strerror or str(error)
        raise SettingsError(
            f"cannot listen on {host}:{port}: {why}; choose another address or port ({variable}, NIM_BIND_ADDR)"
        ) from error
    return listener
