"""ControllerRevisions: the pod templates that a service had, to go back to and to stay with."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.proxy import DefaultProxy
from reranker_operator.desired.given import Template
from reranker_operator.desired.metadata import RANKING, SPEC_HASH, TEMPLATE_HASH, digest, metadata

_NOT_OF_THE_POD = {
    "replicas",
    "service",
    "ingress",
    "gateway",
    "autoscaling",
    "rollout",
    "disruption_budget",
    "network_policy",
    "monitoring",
}
"""Fields of the spec that no pod template is made of."""


def spec_hash(service: RerankerService, inputs: str | None) -> str:
    """Stands for everything that a pod template is made of: what the spec says, and what the container reads at start.

    Defaults are left out, as a later operator may have more of them, and another one fills in others.
    """
    filled_in = {"proxy"} if isinstance(service.spec.proxy, DefaultProxy) else set()
    said = service.spec.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_OF_THE_POD | filled_in)
    return digest([said, inputs])


def revision(service: RerankerService, template: Template, made_of: str, number: int) -> dict[str, Any]:
    """The record of a template and of the spec that it was made of; nothing of it ever changes."""
    name = f"{service.name}-{digest([template['metadata']['labels'][TEMPLATE_HASH], made_of])}"
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata(service, name, RANKING, annotations={SPEC_HASH: made_of}),
        "revision": number,
        "data": {"spec": {"template": template}},
    }
