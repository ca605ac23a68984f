"""What the operator says of itself to Prometheus."""

import contextlib
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from reranker_operator import __version__


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
            f"{prefix}_condition",
            "1 for the present status and reason of each service's conditions.",
            ["namespace", "name", "type", "status", "reason"],
            registry=self.registry,
        )
        self.ranking_seconds = Gauge(
            f"{prefix}_ranking_seconds",
            "Time of the last real ranking through each Service that came back right.",
            ["namespace", "name"],
            registry=self.registry,
        )
        build = Gauge(f"{prefix}_build_info", "1, with the version as a label.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._reported: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}

    def on_call(self, verb: str, kind: str, status: int) -> None:
        """Count a request to the API server."""
        self.api_calls.labels(verb, kind, str(status)).inc()

    def report(
        self, key: tuple[str, str], conditions: dict[str, tuple[str, str]], milliseconds: int | None = None
    ) -> None:
        """Show a service's conditions (type -> status, reason), and forget those it no longer has."""
        if milliseconds is not None:
            self.ranking_seconds.labels(*key).set(milliseconds / 1000)
        elif not conditions:
            with contextlib.suppress(KeyError):
                self.ranking_seconds.remove(*key)
        before = self._reported.pop(key, {})
        for kind, (status, reason) in before.items():
            if conditions.get(kind) != (status, reason):
                self.conditions.remove(*key, kind, status, reason)
        for kind, (status, reason) in conditions.items():
            self.conditions.labels(*key, kind, status, reason).set(1)
        if conditions:
            self._reported[key] = conditions
