"""What surrounds every answer: request id, key, revision, one log line, metrics, trace; never a traceback."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any, Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker_runtime.errors import Unauthenticated
from reranker_runtime.http.doors import dialect_at
from reranker_runtime.http.errors import answer
from reranker_runtime.http.keys import Keys
from reranker_runtime.http.record import Record
from reranker_runtime.http.tracing import Tracing
from reranker_runtime.logs import request_id
from reranker_runtime.service import Service

REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
PROBES: Final = ("/v1/health/live", "/v1/health/ready", "/v1/metrics", "/metrics")

log = logging.getLogger("reranker_runtime.access")


class Envelope:
    """Around every request, so that routes need not think of it."""

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        paths: frozenset[str],
        keys: Keys | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._app, self._metrics, self._paths = app, service.metrics, paths
        self._keys, self._tracing = keys, tracing
        self._revision = service.settings.revision

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        identity = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        path = scope["path"]
        route = path if path in self._paths else "reranking" if path.endswith("/reranking") else "other"
        note = Record(identity, route)
        scope.setdefault("state", {})["record"] = note
        token = request_id.set(identity)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                note.status = message["status"]
                added = MutableHeaders(scope=message)
                added["X-Request-Id"] = identity
                if self._revision:
                    added["X-Reranker-Revision"] = self._revision
            await send(message)

        try:
            if self._keys is not None:
                note.client = self._keys.admit(path, headers)
            await self._app(scope, receive, send_with_headers)
        except Unauthenticated as error:
            note.error = error.message
            await answer(error, dialect_at(path))(scope, receive, send_with_headers)
        except Exception:  # answered already by on_exception; starlette raises it again for us to log
            log.exception("%s %s failed", scope["method"], _printable(path))
        finally:
            self._note(scope, headers, note)
            request_id.reset(token)

    def _note(self, scope: Scope, headers: Headers, note: Record) -> None:
        seconds = time.monotonic() - note.begun
        self._metrics.requests.labels(note.route, note.model, note.client, str(note.status)).inc()
        self._metrics.request_seconds.labels(note.route).observe(seconds)
        path, method = scope["path"], scope["method"]
        trace = self._tracing.trace(note, method, headers) if self._tracing and path not in PROBES else ""
        level = logging.DEBUG if path in PROBES else logging.INFO
        if log.isEnabledFor(level):
            fields: dict[str, Any] = {"status": note.status, "ms": round(seconds * 1000, 1)}
            for name in ("client", "model", "passages", "tokens", "truncated", "error"):
                value = getattr(note, name)
                if value not in ("", None):
                    fields[name] = value
            if trace:
                fields["trace_id"] = trace
            log.log(level, "%s %s", method, _printable(path), extra={"fields": fields})


def _printable(path: str) -> str:
    # As URLs have it: no space and no = is left in it, so that a path cannot pass itself off as a field of the line.
    return quote(path[:200], "/:@!$&'()*+,;", errors="replace")
