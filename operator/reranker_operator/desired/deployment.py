"""The Deployment that keeps the ranking pods running."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.metadata import MODEL_HASH, RANKING, TEMPLATE_HASH, digest, metadata, selector
from reranker_operator.desired.nim import nim_pod
from reranker_operator.desired.pod import ranking_pod

PROGRESS_DEADLINE_SECONDS = 1800
"""A large model may take many minutes from a cold image and disk to its warm-up ranking."""


def deployment(service: RerankerService, image: str, model_hash: str | None) -> dict[str, Any]:
    """The Deployment; its pod template carries its own hash, so that pods of one template can be told from others."""
    template = nim_pod(service, image) if service.spec.runtime is Runtime.NIM else ranking_pod(service, image)
    template["metadata"]["labels"][TEMPLATE_HASH] = digest(template)
    verified = {MODEL_HASH: model_hash} if model_hash is not None else None
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(service, service.name, RANKING, annotations=verified),
        "spec": {
            "replicas": service.spec.replicas,
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
            "selector": {"matchLabels": selector(service, RANKING)},
            # One extra pod first: the old ones serve until it has scored its warm-up ranking.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }
