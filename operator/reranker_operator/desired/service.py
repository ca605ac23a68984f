"""The Service in front of the ranking pods: the API port and no other."""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, labels, metadata, selector


def service(owner: RerankerService) -> dict[str, Any]:
    """The Service, under the resource's own name."""
    asked = owner.spec.service
    made = metadata(owner, owner.name, RANKING)
    made["labels"] = {**asked.labels, **labels(owner, RANKING)}
    if asked.annotations:
        made["annotations"] = dict(asked.annotations)
    port = {"name": "api", "port": asked.port, "targetPort": "api", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": made,
        "spec": {"type": asked.type.value, "selector": selector(owner, RANKING), "ports": [port]},
    }


def endpoint(owner: RerankerService) -> str:
    """Where to POST a ranking inside the cluster."""
    scheme = "http" if owner.spec.tls is None else "https"
    return f"{scheme}://{owner.name}.{owner.namespace}.svc:{owner.spec.service.port}{contract.RANKING_PATH}"
