"""Kubernetes Events about a service: one object for each thing said, counted when it is said again."""

import datetime
import hashlib
import logging
from collections.abc import Callable
from typing import Any

from reranker_operator.api import KIND, EventReason, Identity, Reason
from reranker_operator.api.resource import API_VERSION
from reranker_operator.desired.metadata import FIELD_MANAGER
from reranker_operator.kube.client import Kube
from reranker_operator.kube.errors import KubeError
from reranker_operator.kube.kinds import Kind

_MAX_MESSAGE = 1024
"""The API server refuses longer ones."""
_MAX_REMEMBERED = 4096

_log = logging.getLogger(__name__)


def utc_now() -> datetime.datetime:
    """The time, as the API server writes it."""
    return datetime.datetime.now(datetime.UTC)


class Recorder:
    """Writes events; a failing event is logged and never stops the loop."""

    def __init__(self, kube: Kube, now: Callable[[], datetime.datetime] = utc_now) -> None:
        self._kube = kube
        self._now = now
        self._said: dict[str, dict[str, Any]] = {}

    async def _counted_on(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event with what another operator, or this one before a restart, has counted of it."""
        if event["count"] > 1:
            return event
        metadata = event["metadata"]
        before = await self._kube.get(Kind.EVENT, metadata["namespace"], metadata["name"]) or {}
        counted = {"count": before.get("count", 0) + 1, "firstTimestamp": before.get("firstTimestamp")}
        event |= {name: value for name, value in counted.items() if value}
        return event

    async def record(
        self, service: Identity, reason: EventReason | Reason, message: str, *, warning: bool = False
    ) -> None:
        """Say `message` about `service`; `warning` is for reasons of conditions, whose status decides."""
        bad = reason.is_warning if isinstance(reason, EventReason) else warning
        text = message[:_MAX_MESSAGE]
        told = hashlib.sha256(f"{service.uid}/{reason.value}/{text}".encode()).hexdigest()[:16]
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        event = self._said.get(told) or {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{service.name}.{told}", "namespace": service.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": service.name,
                "namespace": service.namespace,
                "uid": service.uid,
            },
            "type": "Warning" if bad else "Normal",
            "reason": reason.value,
            "message": text,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": stamp,
            "count": 0,
        }
        event = {**event, "lastTimestamp": stamp, "count": event["count"] + 1}
        if len(self._said) >= _MAX_REMEMBERED:
            self._said.clear()
        self._said[told] = event
        try:
            if event["count"] > 1 or await self._kube.create(event) is None:
                await self._kube.apply(await self._counted_on(event))
        except KubeError as error:
            about = f"{service.namespace}/{service.name}"
            _log.warning("%s: event %s was not written: %s", about, reason.value, error, extra={"service": about})
