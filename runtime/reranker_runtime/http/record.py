"""What is known of one HTTP request, for its log line, the metrics and its trace. Filled in as the request goes on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from starlette.requests import Request

from reranker_runtime.engine.queue import Times
from reranker_runtime.http.dialects.dialect import Dialect
from reranker_runtime.http.dialects.nim import NIM


@dataclass(slots=True)
class Record:
    """Times are by the monotonic clock, in seconds."""

    identity: str
    """Its X-Request-Id."""
    route: str = "other"
    dialect: Dialect = NIM
    client: str = ""
    """Whose key it came with; empty where no keys are asked for, or none was known."""
    model: str = ""
    """The served name that it was for."""
    passages: int | None = None
    tokens: int | None = None
    truncated: int | None = None
    begun: float = field(default_factory=time.monotonic)
    received: float | None = None
    """When the last byte of the body was there."""
    parsed: float | None = None
    rankings: list[Times] = field(default_factory=list)
    admitted: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the queue and the client's quota let it in."""
    status: int = 0
    error: str = ""
    """The message that it was answered with; it names fields and limits, never texts."""


def record(request: Request) -> Record:
    """The one that the envelope made."""
    found: Record = request.scope["state"]["record"]
    return found
