"""The PodDisruptionBudget: how many pods a drain may take at once."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, metadata, selector


def disruption_budget(service: RerankerService) -> dict[str, Any] | None:
    """The PodDisruptionBudget, or None where none is asked for."""
    asked = service.spec.disruption_budget
    if asked is None:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(service, service.name, RANKING),
        "spec": {
            **asked.model_dump(mode="json", by_alias=True, exclude_none=True),
            "selector": {"matchLabels": selector(service, RANKING)},
            # A pod that does not rank is no loss: it must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
