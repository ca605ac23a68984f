"""The NetworkPolicy: the API from named peers, the internal port from monitoring, both from the operator."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.exposure import Peer
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.metadata import RANKING, metadata, selector

OPERATOR_LABELS = {"app.kubernetes.io/name": "reranker-operator"}


def network_policy(service: RerankerService, operator_namespace: str) -> dict[str, Any] | None:
    """The NetworkPolicy, or None where none is asked for. The kubelet's probes come from the node and need no rule."""
    asked = service.spec.network_policy
    if asked is None:
        return None
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}},
        "podSelector": {"matchLabels": OPERATOR_LABELS},
    }
    rules = [_rule("api", [*map(_peer, asked.from_), operator])]
    if service.spec.runtime is Runtime.BUNDLED:  # NVIDIA's image has no internal port
        rules.append(_rule("internal", [*map(_peer, asked.monitoring), operator]))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(service, service.name, RANKING),
        "spec": {
            "podSelector": {"matchLabels": selector(service, RANKING)},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


def _rule(port: str, peers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"ports": [{"port": port, "protocol": "TCP"}], "from": peers}


def _peer(peer: Peer) -> dict[str, Any]:
    # An empty selector means all, and must stay: only what was not said is left out.
    made: dict[str, Any] = peer.model_dump(mode="json", by_alias=True, exclude_none=True)
    for part in ("podSelector", "namespaceSelector"):
        if part in made:
            made[part] = {key: value for key, value in made[part].items() if value}
            for requirement in made[part].get("matchExpressions", ()):
                if not requirement["values"]:
                    del requirement["values"]
    if "ipBlock" in made:
        made["ipBlock"] = {key: value for key, value in made["ipBlock"].items() if value}
    return made
