"""How the model directory reaches a container: a volume, a mount and a path."""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.api.source import (
    HostPathSource,
    HuggingFaceSource,
    ImageSource,
    InImageSource,
    PersistentVolumeClaimSource,
    Source,
)
from reranker_operator.desired.claim import cache_name


def model_path(source: Source) -> str:
    """The model directory as the container sees it."""
    match source:
        case InImageSource(path=path):
            return path
        case HuggingFaceSource(directory=directory):
            return f"{contract.MODEL_MOUNT}/{directory}"
        case PersistentVolumeClaimSource(path=str(path)) | ImageSource(path=str(path)):
            return f"{contract.MODEL_MOUNT}/{path.rstrip('/')}"
        case _:
            return contract.MODEL_MOUNT


def model_volumes(service: RerankerService, *, writable: bool = False) -> list[dict[str, Any]]:
    """The volume with the model; none where the runtime image holds it. Only a download needs it `writable`."""
    match service.spec.source.chosen:
        case InImageSource():
            return []
        case HostPathSource(path=path):
            volume: dict[str, Any] = {"hostPath": {"path": path, "type": "Directory"}}
        case ImageSource() as image:
            volume = {"image": {"reference": image.reference, "pullPolicy": image.pull_policy.value}}
        case PersistentVolumeClaimSource(claim_name=name):
            volume = _claim(name, writable=False)
        case HuggingFaceSource():
            volume = _claim(cache_name(service), writable=writable)
    return [{"name": contract.MODEL_VOLUME, **volume}]


def model_mounts(service: RerankerService, *, writable: bool = False) -> list[dict[str, Any]]:
    """Where a container sees that volume."""
    if isinstance(service.spec.source.chosen, InImageSource):
        return []
    mount = {"name": contract.MODEL_VOLUME, "mountPath": contract.MODEL_MOUNT}
    return [mount if writable else {**mount, "readOnly": True}]


def differs_by_pod(source: Source) -> bool:
    """Whether a pod may find other weights than the model Job did: on its node, or under a tag that was moved."""
    match source:
        case HostPathSource():
            return True
        case ImageSource(reference=reference):
            return "@" not in reference
        case _:
            return False


def verified_part(source: Source) -> Any:
    """What of a source decides which weights are found: a token, a mirror or the size of a cache does not."""
    match source:
        case HuggingFaceSource() as hub:
            return [hub.repository, hub.revision, hub.cache.existing_claim]
        case _:
            return source.model_dump(mode="json")


def _claim(name: str | None, *, writable: bool) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name, **({} if writable else {"readOnly": True})}}
