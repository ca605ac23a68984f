"""The HTTPRoute that leads from Gateways to the Service."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, metadata


def http_route(service: RerankerService) -> dict[str, Any] | None:
    """The HTTPRoute, or None where none is asked for. What the Gateway API's server would fill in is written out."""
    asked = service.spec.gateway
    if asked is None:
        return None
    parents = [
        {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            **parent.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        for parent in asked.parent_refs
    ]
    backend = {
        "group": "",
        "kind": "Service",
        "name": service.name,
        "port": service.spec.service.port,
        "weight": 1,
    }
    spec: dict[str, Any] = {
        "parentRefs": parents,
        "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [backend]}],
    }
    if asked.hostnames:
        spec["hostnames"] = list(asked.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(service, service.name, RANKING),
        "spec": spec,
    }
