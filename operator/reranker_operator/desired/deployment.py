"""The Deployment that keeps the ranking pods running."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.rollout import RolloutStrategy
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.given import Given, Template
from reranker_operator.desired.metadata import (
    INPUTS,
    MODEL_HASH,
    RANKING,
    REPLACED,
    SCALED,
    TEMPLATE_HASH,
    digest,
    metadata,
    selector,
)
from reranker_operator.desired.nim import nim_pod
from reranker_operator.desired.pod import ranking_pod

_SURGE = {"maxSurge": 1, "maxUnavailable": 0}
"""One extra pod first: the old ones serve until it has scored its warm-up ranking."""
_REPLACE = {"maxSurge": 0, "maxUnavailable": 1}
"""One pod goes first, and leaves its GPU to the next."""


def ranking_template(service: RerankerService, image: str, given: Given) -> Template:
    """The pod template; it carries its own hash, so that pods of one template can be told from others."""
    if given.recorded is not None:
        return given.recorded
    template = nim_pod(service, image) if service.spec.runtime is Runtime.NIM else ranking_pod(service, image)
    if given.inputs is not None:
        template["metadata"].setdefault("annotations", {})[INPUTS] = given.inputs
    template["metadata"]["labels"][TEMPLATE_HASH] = digest(template)
    return template


def asked_replicas(service: RerankerService) -> int:
    """The number of pods, as far as the spec says it; what an autoscaler begins with."""
    replicas, autoscaling = service.spec.replicas, service.spec.autoscaling
    return autoscaling.first(replicas) if autoscaling is not None and replicas else replicas


def deployment(service: RerankerService, template: Template, model_hash: str | None, given: Given) -> dict[str, Any]:
    """The Deployment of `template`, or of the one to fall back to."""
    notes = {MODEL_HASH: model_hash} if model_hash is not None else {}
    if given.make_room:
        notes[REPLACED] = str((given.fallback or template)["metadata"]["labels"][TEMPLATE_HASH])
    if given.scaled:
        notes[SCALED] = "true"
    replace = given.make_room or service.spec.rollout.strategy is RolloutStrategy.REPLACE
    replicas = {} if given.scaled else {"replicas": asked_replicas(service)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(service, service.name, RANKING, annotations=notes),
        "spec": {
            **replicas,
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": service.spec.rollout.progress_deadline_seconds,
            "selector": {"matchLabels": selector(service, RANKING)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _REPLACE if replace else _SURGE},
            "template": given.fallback or template,
        },
    }
