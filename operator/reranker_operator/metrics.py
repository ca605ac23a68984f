"""What the operator says of itself to Prometheus."""

import contextlib
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reranker_operator import __version__
from reranker_operator.api import ConditionType, Reason
from reranker_operator.api.conditions import Status
from reranker_operator.reconcile.probe import Probe


class Metrics:
    """One registry, so that tests and a restarted loop never share counters."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        prefix = "reranker_operator"
        self.reconcile_seconds = Histogram(
            f"{prefix}_reconcile_seconds", "Time of one round for one service.", registry=self.registry
        )
        self.reconcile_errors = Counter(
            f"{prefix}_reconcile_errors_total",
            "Rounds that failed, by kind of error.",
            ["error"],
            registry=self.registry,
        )
        self.api_calls = Counter(
            f"{prefix}_api_calls_total",
            "Requests to the API server; status 0 stands for no answer.",
            ["verb", "kind", "status"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(f"{prefix}_queue_depth", "Services waiting for a round.", registry=self.registry)
        self.leader = Gauge(f"{prefix}_leader", "1 where this process holds the lease.", registry=self.registry)
        self.conditions = Gauge(
            f"{prefix}_conditions",
            "Services by the status and reason of each of their conditions.",
            ["type", "status", "reason"],
            registry=self.registry,
        )
        self.ready = Gauge(
            f"{prefix}_service_ready",
            "1 where the service is Ready, else 0.",
            ["namespace", "name"],
            registry=self.registry,
        )
        self.unmet = Gauge(
            f"{prefix}_service_condition_unmet",
            "1 for each condition of a service that is not as it is when all is well; none for the others.",
            ["namespace", "name", "type", "status", "reason"],
            registry=self.registry,
        )
        self.ranking_seconds = Gauge(
            f"{prefix}_ranking_seconds",
            "Time of the last real ranking through each Service that came back right.",
            ["namespace", "name"],
            registry=self.registry,
        )
        self.certificate_expiry = Gauge(
            f"{prefix}_certificate_expiry_timestamp_seconds",
            "When the certificate that each service shows goes out of date, as Unix time.",
            ["namespace", "name"],
            registry=self.registry,
        )
        self.queue_seconds = Gauge(
            f"{prefix}_queue_seconds",
            "Mean wait of a request in the pods of each service with targetQueueSeconds, at the last look.",
            ["namespace", "name"],
            registry=self.registry,
        )
        self.desired_replicas = Gauge(
            f"{prefix}_desired_replicas",
            "Pods that the last look at their queues left each service with targetQueueSeconds with.",
            ["namespace", "name"],
            registry=self.registry,
        )
        build = Gauge(f"{prefix}_build_info", "1, with the version as a label.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._reported: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
        self._counted: dict[tuple[str, str, str], int] = {}

    def on_call(self, verb: str, kind: str, status: int) -> None:
        """Count a request to the API server."""
        self.api_calls.labels(verb, kind, str(status)).inc()

    def report(self, key: tuple[str, str], conditions: dict[str, tuple[str, str]], probe: Probe | None = None) -> None:
        """Show a service's conditions (type -> status, reason), and forget it where it has none any more."""
        before = self._reported.pop(key, {})
        for kind, state in before.items() - conditions.items():
            self._count(kind, state, -1)
        for kind, state in conditions.items() - before.items():
            self._count(kind, state, 1)
        for kind, state in before.items():
            _remove((*key, kind, *state), self.unmet)
        for kind, state in conditions.items():
            if _is_unmet(kind, state):
                self.unmet.labels(*key, kind, *state).set(1)
        if conditions:
            self._reported[key] = conditions
            self.ready.labels(*key).set(conditions["Ready"][0] == "True")
        else:
            _remove(key, self.ready, self.ranking_seconds, self.certificate_expiry)
        if probe is not None and probe.milliseconds is not None:
            self.ranking_seconds.labels(*key).set(probe.milliseconds / 1000)
        if probe is not None and probe.expires is not None:
            self.certificate_expiry.labels(*key).set(probe.expires.timestamp())
        elif probe is not None and probe.status is Status.TRUE:
            _remove(key, self.certificate_expiry)  # it ranked without one

    def scaling(self, key: tuple[str, str], queue_seconds: float | None, replicas: int) -> None:
        """Show what the last look at a service's queues said (None: nothing), and how many pods it is to have."""
        if queue_seconds is None:
            _remove(key, self.queue_seconds)
        else:
            self.queue_seconds.labels(*key).set(queue_seconds)
        self.desired_replicas.labels(*key).set(replicas)

    def forget_scaling(self, key: tuple[str, str]) -> None:
        """The service's queues are not looked at any more."""
        _remove(key, self.queue_seconds, self.desired_replicas)

    def stand_by(self) -> None:
        """Another process may lead: what this one knew of services is not so for much longer."""
        self.queue_depth.set_function(lambda: 0)
        for key in list(self._reported):
            self.report(key, {})
        self.queue_seconds.clear()
        self.desired_replicas.clear()
        self.leader.set(0)

    def _count(self, kind: str, state: tuple[str, str], change: int) -> None:
        labels = (kind, *state)
        counted = self._counted[labels] = self._counted.get(labels, 0) + change
        if counted:
            self.conditions.labels(*labels).set(counted)
        else:
            del self._counted[labels]
            self.conditions.remove(*labels)


def _remove(labels: tuple[str, ...], *gauges: Gauge) -> None:
    for gauge in gauges:
        with contextlib.suppress(KeyError):
            gauge.remove(*labels)


def _is_unmet(kind: str, state: tuple[str, str]) -> bool:
    """Whether somebody may want to know of a condition of this status and reason."""
    status, reason = state
    if kind == ConditionType.PROGRESSING or reason == Reason.NOT_APPLICABLE:
        return False
    return status != (Status.FALSE if kind == ConditionType.STALLED else Status.TRUE)
