"""The model Job: finds out what is wrong with a model while the old pods still serve and before a GPU is taken."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.runtime import Runtime
from reranker_operator.contract import REFUSED_EXIT_CODE
from reranker_operator.desired.metadata import CREDENTIALS, MODEL, MODEL_HASH, digest, metadata
from reranker_operator.desired.pod import verifying_pod
from reranker_operator.desired.proxy import as_said, proxy_note
from reranker_operator.desired.source import verified_part


def model_hash(service: RerankerService, image: str) -> str | None:
    """Stands for what is verified: these weights, pinned or not, as this image reads them. None: nothing is."""
    if service.spec.runtime is Runtime.NIM:
        return None
    source = service.spec.source.chosen
    return digest([type(source).__name__, verified_part(source), service.spec.model.digest, image])


def model_job(service: RerankerService, image: str, credentials: str | None) -> dict[str, Any] | None:
    """The Job, under a name that changes with its spec (which a Job cannot change in place).

    It does not change with the operator's default of the proxy, which would have every model of a cluster downloaded
    and checked anew at once. None for NVIDIA's image, which downloads by itself what only it can read.
    """
    verified = model_hash(service, image)
    if verified is None:
        return None
    spec, said = _spec(service, image), as_said(service)
    name = f"{service.name}-model-{digest([spec if said is service else _spec(said, image), verified])}"
    notes = {MODEL_HASH: verified} | ({CREDENTIALS: credentials} if credentials is not None else {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(service, name, MODEL, annotations=notes | proxy_note(service)),
        "spec": spec,
    }


def _spec(service: RerankerService, image: str) -> dict[str, Any]:
    template = verifying_pod(service, image, MODEL)
    containers = [each["name"] for part in ("initContainers", "containers") for each in template["spec"].get(part, ())]
    disrupted = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        # No deadline: a pod that waits for a node or an image is told in the conditions, and goes on by itself.
        "backoffLimit": 3,
        # A verdict is final; a crash, an eviction or a lost node is not.
        "podFailurePolicy": {
            "rules": [
                *({"action": "FailJob", "onExitCodes": _refused(name)} for name in containers),
                {"action": "Ignore", "onPodConditions": disrupted},
            ]
        },
        "template": template,
    }


def _refused(container: str) -> dict[str, Any]:
    return {"containerName": container, "operator": "In", "values": [REFUSED_EXIT_CODE]}
