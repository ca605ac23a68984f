"""The HorizontalPodAutoscaler: where metrics of a metrics server or an adapter decide how many pods there are."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, metadata


def autoscaler(service: RerankerService) -> dict[str, Any] | None:
    """The HorizontalPodAutoscaler, or None where none is asked for.

    It acts on the Deployment, and never on the user's own spec.
    """
    asked = service.spec.autoscaling
    if asked is None or asked.metrics is None:
        return None
    behavior = {"behavior": asked.behavior} if asked.behavior else {}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(service, service.name, RANKING),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name},
            "minReplicas": asked.min_replicas,
            "maxReplicas": asked.max_replicas,
            "metrics": asked.metrics,
            **behavior,
        },
    }
