"""What the operator tells Prometheus of a service goes when it is no longer so."""

from __future__ import annotations

import datetime

from prometheus_client import generate_latest

from reranker_operator.api import Reason
from reranker_operator.api.conditions import Status
from reranker_operator.metrics import Metrics
from reranker_operator.reconcile.probe import Probe

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)
KEY = ("search", "docs")
READY = {"Ready": ("True", "Ready")}


def probe(status: Status, reason: Reason, expires: datetime.datetime | None = None) -> Probe:
    return Probe("t", status, reason, "", NOW, milliseconds=4, expires=expires)


def certificates(metrics: Metrics) -> int:
    """How many services are shown with one."""
    page = generate_latest(metrics.registry).decode()
    return sum(line.startswith("reranker_operator_certificate_expiry_timestamp_seconds{") for line in page.splitlines())


def test_a_certificate_that_is_no_longer_shown_is_not_alerted_about() -> None:
    metrics = Metrics()
    metrics.report(KEY, READY, probe(Status.TRUE, Reason.RANKED, NOW))
    assert certificates(metrics) == 1
    # One that is out of date, or a service that cannot be asked, tells of no other.
    metrics.report(KEY, READY, probe(Status.FALSE, Reason.CERTIFICATE_EXPIRED))
    metrics.report(KEY, READY, probe(Status.UNKNOWN, Reason.UNREACHABLE))
    assert certificates(metrics) == 1
    metrics.report(KEY, READY, probe(Status.TRUE, Reason.RANKED))
    assert certificates(metrics) == 0
