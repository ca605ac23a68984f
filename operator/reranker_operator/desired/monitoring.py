"""What lets a Prometheus read each pod's metrics: a ServiceMonitor, and a headless Service with the port for it."""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.metadata import RANKING, labels, metadata, selector

METRICS = {"reranking.dev/metrics": "true"}
"""Tells the headless Service from the one that clients use."""


def metrics_name(service: RerankerService) -> str:
    """Of the headless Service."""
    return f"{service.name}-metrics"


def metrics_service(service: RerankerService) -> dict[str, Any] | None:
    """The headless Service, or None where nothing monitors."""
    if service.spec.monitoring is None:
        return None
    made = metadata(service, metrics_name(service), RANKING)
    made["labels"] = {**labels(service, RANKING), **METRICS}
    name, number, _ = _metrics(service)
    port = {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": made,
        # Metrics of a pod that is not ready tell why it is not.
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(service, RANKING),
            "ports": [port],
        },
    }


def service_monitor(service: RerankerService) -> dict[str, Any] | None:
    """The ServiceMonitor, or None where none is asked for."""
    if service.spec.monitoring is None:
        return None
    asked = service.spec.monitoring.service_monitor
    port, _, path = _metrics(service)
    made = metadata(service, service.name, RANKING)
    made["labels"] = {**asked.labels, **labels(service, RANKING)}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": made,
        "spec": {
            "selector": {"matchLabels": {**selector(service, RANKING), **METRICS}},
            "endpoints": [
                {
                    "port": port,
                    "path": path,
                    "interval": asked.interval,
                    # Else it would be the headless Service's name: alerts and dashboards speak of the resource.
                    "relabelings": [{"action": "replace", "targetLabel": "service", "replacement": service.name}],
                }
            ],
        },
    }


def _metrics(service: RerankerService) -> tuple[str, int, str]:
    """Name, number and path of the port that has metrics: NVIDIA's image has one port for all."""
    if service.spec.runtime is Runtime.NIM:
        return "api", contract.API_PORT, contract.NIM_METRICS_PATH
    return "internal", contract.INTERNAL_PORT, contract.METRICS_PATH
