"""OpenTelemetry traces: a span for each request and one for each stage of it.

Spans are made when a request is over, out of the times that its record holds: nothing is asked of the request's way
through threads, and a server without traces pays nothing. The SDK reads the OTEL_* variables itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers

from reranker_runtime import version
from reranker_runtime.errors import SettingsError
from reranker_runtime.http.record import Record
from reranker_runtime.settings import Settings

if TYPE_CHECKING:  # the SDK takes a third of a second to import: only where traces are asked for
    from opentelemetry.context import Context

NAME: Final = "reranker-runtime"
"""The service's, where OTEL_SERVICE_NAME gives no other."""
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
"""What is said of traces goes before what is said of everything."""
EXPORTER: Final = "OTEL_TRACES_EXPORTER"
FLUSH: Final = 3.0
"""Seconds that the last spans get at a stop, whether or not anybody collects them."""

log = logging.getLogger(__name__)


def tracing(settings: Settings) -> Tracing | None:
    """None unless NIM_ENABLE_OTEL asks for traces; raises `SettingsError` where they cannot be sent as asked."""
    if not settings.otel or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    protocol = next((name for name in PROTOCOLS if _given(name)), PROTOCOLS[-1])
    for name, usable in ((protocol, ("http/protobuf",)), (EXPORTER, ("otlp", "none"))):
        if _given(name) not in ("", *usable):
            raise SettingsError(f"{name}={_given(name)} cannot be honoured: use {' or '.join(usable)}, or unset it")
    try:
        return Tracing()
    except Exception as error:  # whatever the SDK makes of OTEL_* variables
        raise SettingsError(f"NIM_ENABLE_OTEL is set, but the OTEL_* variables cannot be used: {error}") from error


def _given(name: str) -> str:
    return os.environ.get(name, "").strip()  # empty is as good as unset, says OpenTelemetry


class Tracing:
    """A tracer and its exporter, which works in a thread of its own with a bounded queue."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
        from opentelemetry.propagate import extract  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context  # noqa: PLC0415

        # What the SDK is given goes before what it reads, so it is given what OTEL_SERVICE_NAME and
        # OTEL_RESOURCE_ATTRIBUTES say, too.
        said = {"service.name": NAME, "service.version": version(), **OTELResourceDetector().detect().attributes}
        self._provider = TracerProvider(resource=Resource.create(said))
        if _given(EXPORTER) != "none":
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(NAME, version())
        self._extract, self._within = extract, set_span_in_context
        self._server, self._failed = SpanKind.SERVER, StatusCode.ERROR
        self._epoch = 0

    def trace(self, note: Record, method: str, headers: Headers) -> str:
        """Spans of a request that is over; the trace's id, which is the caller's where it sent one."""
        self._epoch = time.time_ns() - time.monotonic_ns()  # each time: the clock is set right now and then
        span = self._tracer.start_span(
            f"{method} {note.route}",
            context=self._extract(headers),
            kind=self._server,
            start_time=self._at(note.begun),
            attributes=_attributes(note, method),
        )
        if note.status >= 500:  # noqa: PLR2004
            span.set_status(self._failed, note.error)
        context = self._within(span)
        self._stage("receive", note.begun, note.received, context)
        self._stage("parse", note.received, note.parsed, context)
        for times in note.rankings:
            self._stage("tokenise", times.begun, times.tokenised, context)
            self._stage("queue", times.tokenised, times.started, context)
            self._stage("score", times.started, times.scored, context)
        span.end()
        return format(span.get_span_context().trace_id, "032x")

    def end(self) -> None:
        """Send what is left. Waits, so not in the event loop, and for `FLUSH` seconds at most."""
        # The SDK heeds no timeout here: it waits for a collector that does not answer as long as for its exporter's.
        sending = threading.Thread(target=self._provider.force_flush, name="traces", daemon=True)
        sending.start()
        sending.join(FLUSH)

    def _stage(self, name: str, begin: float | None, end: float | None, context: Context) -> None:
        if begin is not None and end is not None:
            self._tracer.start_span(name, context=context, start_time=self._at(begin)).end(self._at(end))

    def _at(self, seconds: float) -> int:
        return self._epoch + int(seconds * 1e9)


def _attributes(note: Record, method: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "http.request.method": method,
        "http.route": note.route,
        "http.response.status_code": note.status,
        "reranker.request_id": note.identity,
        "reranker.model": note.model,
        "reranker.client": note.client,
        "reranker.passages": note.passages,
        "reranker.tokens": note.tokens,
        "reranker.truncated": note.truncated,
    }
    return {name: value for name, value in values.items() if value not in ("", None)}
