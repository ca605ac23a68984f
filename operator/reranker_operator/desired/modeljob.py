"""The model Job: finds out what is wrong with a model while the old pods still serve and before a GPU is taken."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.contract import REFUSED_EXIT_CODE
from reranker_operator.desired.metadata import MODEL, MODEL_HASH, digest, metadata
from reranker_operator.desired.pod import verifying_pod

_DEADLINE_SECONDS = 1800


def model_hash(service: RerankerService, image: str) -> str:
    """Stands for what is verified: these weights, pinned or not, as this image reads them."""
    model = service.spec.model
    return digest([model.source.model_dump(mode="json"), model.digest, image])


def model_job(service: RerankerService, image: str) -> dict[str, Any]:
    """The Job, under a name that changes with its pod template (which a Job cannot change in place)."""
    template = verifying_pod(service, image, MODEL)
    verified = model_hash(service, image)
    name = f"{service.name}-model-{digest([template, verified])}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(service, name, MODEL, annotations={MODEL_HASH: verified}),
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": _DEADLINE_SECONDS,
            # A verdict is final; a crash, an eviction or a lost node is not.
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "verify", "operator": "In", "values": [REFUSED_EXIT_CODE]},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": template,
        },
    }
