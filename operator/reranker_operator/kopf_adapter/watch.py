"""Watch services with kopf, as one leader. Their children are watched by label, which kopf cannot."""

import asyncio
import datetime
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kopf
from kubernetes.aio import client

from reranker_operator.api import GROUP, PLURAL, VERSION

_TOKEN_SECONDS = 60
"""Bound tokens are rotated on disk; the official client re-reads them, and kopf asks again after this time."""
_SILENCE_SECONDS = 600
_TELLING = ("uid", "generation", "deletionTimestamp")
"""What of a service's metadata says that there is something to do."""
_STOP_SECONDS = 5
_IDENTITY: Any = "reranker-operator"
"""kopf would make one from the user's name, and fail in an image where the numeric user has none."""

Key = tuple[str, str]


async def watch(configuration: client.Configuration, namespaces: Sequence[str], enqueue: Callable[[Key], None]) -> None:
    """Call `enqueue` with every service that is there, and again with one whose spec changes or that is deleted, until
    cancelled.

    `namespaces` empty means all. Ends, or raises what kopf raises, when a watch cannot be kept: the process must then
    end and be started again, since it must not look alive.

    kopf takes the loop it runs in for its own: it replaces signal handlers and, at its end, cancels every task that is
    younger than itself. So it gets a loop and a thread to itself, which its documentation calls embedding.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[BaseException | None] = loop.create_future()
    stop = threading.Event()

    def end(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result(error)

    def call(function: Callable[[Any], None], value: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(function, value)

    def run() -> None:
        error: BaseException | None = None
        try:
            asyncio.run(_operator(configuration, namespaces, lambda key: call(enqueue, key), stop))
        except BaseException as raised:  # noqa: BLE001 whatever ends a watch ends the process, with its words
            error = raised
        call(end, error)

    threading.Thread(target=run, name="kopf", daemon=True).start()
    try:
        error = await asyncio.shield(ended)
    finally:
        stop.set()
        await asyncio.wait({ended}, timeout=_STOP_SECONDS)
    if error is not None:
        raise error


async def _operator(
    configuration: client.Configuration,
    namespaces: Sequence[str],
    enqueue: Callable[[Key], None],
    stop: threading.Event,
) -> None:
    registry = kopf.OperatorRegistry()
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # events come from our own recorder, deduplicated
    settings.scanning.disabled = True  # no rights to list CRDs and namespaces are asked for
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 290
    settings.watching.inactivity_timeout = _SILENCE_SECONDS
    settings.queueing.exit_timeout = 5

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(configuration)

    seen: dict[Key, tuple[object, ...]] = {}

    async def service_event(
        *, namespace: str | None, name: str, meta: Mapping[str, Any], event: Mapping[str, Any], **_: Any
    ) -> None:
        # Our own writes of the status must wake nobody: each would be one more try of what has just been refused.
        key = (namespace or "", name)
        if event["type"] == "DELETED":
            seen.pop(key, None)
        elif seen.get(key) == (state := tuple(meta.get(field) for field in _TELLING)):
            return
        else:
            seen[key] = state
        enqueue(key)

    kopf.on.login(registry=registry)(log_in)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(service_event)
    await kopf.operator(
        registry=registry,
        settings=settings,
        standalone=True,
        identity=_IDENTITY,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
    )


async def _connection(configuration: client.Configuration) -> kopf.ConnectionInfo:
    """kopf's credentials from the official client's, so that both know one configuration and its rotation."""
    header = (await configuration.auth_settings()).get("BearerToken")
    scheme, _, token = str(header["value"]).rpartition(" ") if header is not None else ("", "", "")
    now = datetime.datetime.now(datetime.UTC)
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=scheme or None,
        token=token or None,
        expiration=now + datetime.timedelta(seconds=_TOKEN_SECONDS) if token else None,
    )
