"""The two ASGI apps, and what surrounds every answer: request id, revision, one log line, metrics, no traceback."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker_runtime import version
from reranker_runtime.errors import RequestError
from reranker_runtime.http.errors import on_disconnect, on_exception, on_http_exception, on_request_error
from reranker_runtime.http.health import HealthRoutes
from reranker_runtime.http.nim import NimRoutes
from reranker_runtime.logs import request_id
from reranker_runtime.service import Service

REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
PROBES: Final = ("/v1/health/live", "/v1/health/ready", "/v1/metrics", "/metrics")

log = logging.getLogger("reranker_runtime.access")


def api_app(service: Service) -> ASGIApp:
    """What users and clients call."""
    return _app(service, NimRoutes(service).router(), HealthRoutes(service).router())


def internal_app(service: Service) -> ASGIApp:
    """What the kubelet, monitoring and the operator call."""
    return _app(service, HealthRoutes(service).router())


def _app(service: Service, *routers: APIRouter) -> ASGIApp:
    app = FastAPI(
        title="Reranker runtime",
        description="NVIDIA NeMo Retriever Reranking NIM's HTTP API over a local model directory.",
        version=version(),
        # The browsable pages would load scripts from elsewhere; /openapi.json is enough for tools.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect turns a POST with a stray slash into a puzzle
        exception_handlers={
            RequestError: on_request_error,
            HTTPException: on_http_exception,
            ClientDisconnect: on_disconnect,
            Exception: on_exception,
        },
    )
    for router in routers:
        app.include_router(router)
    return Envelope(app, service, frozenset(app.openapi()["paths"]) | {app.openapi_url or ""})


class Envelope:
    """Around every request, so that routes need not think of it."""

    def __init__(self, app: ASGIApp, service: Service, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, service.metrics, paths
        self._revision = service.settings.revision

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        identity = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        token = request_id.set(identity)
        scope.setdefault("state", {})
        begin, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = identity
                if self._revision:
                    headers["X-Reranker-Revision"] = self._revision
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:  # answered already by on_exception; starlette raises it again for us to log
            log.exception("%s %s failed", scope["method"], _printable(scope["path"]))
        finally:
            self._note(scope, status, time.monotonic() - begin)
            request_id.reset(token)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        known = path if path in self._paths else "reranking" if path.endswith("/reranking") else "other"
        self._metrics.requests.labels(known, str(status)).inc()
        self._metrics.request_seconds.labels(known).observe(seconds)
        level = logging.DEBUG if path in PROBES else logging.INFO
        if log.isEnabledFor(level):
            summary: dict[str, Any] = scope["state"].get("summary", {})
            fields = {"status": status, "ms": round(seconds * 1000, 1), **summary}
            log.log(level, "%s %s", scope["method"], _printable(path), extra={"fields": fields})


def _printable(path: str) -> str:
    return path.encode("unicode_escape").decode()[:200]
