"""ControllerRevisions: the pod templates that a service had, to go back to and to stay with."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.given import Template
from reranker_operator.desired.metadata import PROXY, RANKING, SPEC_HASH, TEMPLATE_HASH, digest, metadata
from reranker_operator.desired.proxy import as_said, proxy_note

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
    said = as_said(service).spec.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_OF_THE_POD)
    return digest([said, inputs])


def default_of_pods(service: RerankerService) -> str | None:
    """Stands for the operator's default that pods themselves are told: those that download."""
    return proxy_note(service).get(PROXY) if service.spec.runtime is Runtime.NIM else None


def revision(service: RerankerService, template: Template, made_of: str, number: int) -> dict[str, Any]:
    """The record of a template and of the spec that it was made of; nothing of it ever changes."""
    told = default_of_pods(service)
    notes = {SPEC_HASH: made_of} | ({PROXY: told} if told is not None else {})
    name = f"{service.name}-{digest([template['metadata']['labels'][TEMPLATE_HASH], *notes.values()])}"
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata(service, name, RANKING, annotations=notes),
        "revision": number,
        "data": {"spec": {"template": template}},
    }
