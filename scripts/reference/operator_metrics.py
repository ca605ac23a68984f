"""docs/reference/operator-metrics.md: what the operator tells Prometheus of itself and of services."""

from __future__ import annotations

from typing import Final

from prometheus_client.metrics import MetricWrapperBase

from reference.words import code, table
from reranker_operator.metrics import Metrics

HEAD: Final = """\
# Metrics of the operator

<!-- Made by scripts/reference_pages.py from operator/reranker_operator/metrics.py: edit that, then `make generate`. -->

On port 8080 (`--metrics-port`), `/metrics`, in Prometheus's text format. Those of the ranking pods are in
[operations](../operations.md#metrics).
"""


def metrics_page() -> str:
    """The page."""
    rows = []
    metrics = Metrics()
    for family in metrics.registry.collect():
        name = family.name + "_total" * (family.type == "counter")
        rows.append([code(name), family.type, ", ".join(map(code, labels(metrics, family.name))), family.documentation])
    return f"{HEAD}\n{table(['metric', 'type', 'labels', 'meaning'], rows)}"


def labels(metrics: Metrics, name: str) -> list[str]:
    """The names of a metric's labels."""
    collectors = metrics.registry._collector_to_names  # noqa: SLF001 - asked for nowhere else
    for collector, names in collectors.items():
        if name in names and isinstance(collector, MetricWrapperBase):
            return list(collector._labelnames)  # noqa: SLF001
    raise LookupError(f"no metric {name} is registered")
