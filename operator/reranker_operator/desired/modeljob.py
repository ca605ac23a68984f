"""The model Job: finds out what is wrong with a model while the old pods still serve and before a GPU is taken."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.contract import REFUSED_EXIT_CODE
from reranker_operator.desired.metadata import MODEL, MODEL_HASH, digest, metadata
from reranker_operator.desired.pod import verifying_pod


def model_hash(service: RerankerService, image: str) -> str:
    """Stands for what is verified: these weights, pinned or not, as this image reads them."""
    model = service.spec.model
    return digest([model.source.model_dump(mode="json"), model.digest, image])


def model_job(service: RerankerService, image: str) -> dict[str, Any]:
    """The Job, under a name that changes with its spec (which a Job cannot change in place)."""
    template = verifying_pod(service, image, MODEL)
    verified = model_hash(service, image)
    refused = {"containerName": "verify", "operator": "In", "values": [REFUSED_EXIT_CODE]}
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    spec = {
        # No deadline: a pod that waits for a node or an image is told in the conditions, and goes on by itself.
        "backoffLimit": 3,
        # A verdict is final; a crash, an eviction or a lost node is not.
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": refused},
                {"action": "Ignore", "onPodConditions": disrupted},
            ]
        },
        "template": template,
    }
    name = f"{service.name}-model-{digest([spec, verified])}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(service, name, MODEL, annotations={MODEL_HASH: verified}),
        "spec": spec,
    }
