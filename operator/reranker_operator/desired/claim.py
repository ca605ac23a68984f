"""The claim that keeps what is downloaded, where the spec asks for one of its own."""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.cache import Reclaim
from reranker_operator.api.runtime import Runtime
from reranker_operator.desired.metadata import MODEL, metadata

_NOT_PRUNED = {"argocd.argoproj.io/sync-options": "Prune=false"}
"""Argo CD, where it tracks by label, takes what has no owner and carries an Application's name for that one's."""


def claim_name(service: RerankerService) -> str:
    """Of the claim that is made."""
    return f"{service.name}-model-cache"


def cache_name(service: RerankerService) -> str | None:
    """The claim that downloads are kept on, the user's or the one that is made; None where nothing is kept."""
    cache = service.spec.cache
    return (cache.existing_claim or claim_name(service)) if cache is not None else None


def mounted_claim(service: RerankerService) -> str | None:
    """The claim that every ranking pod mounts, for its model or its cache; None where it mounts none."""
    if (cache := cache_name(service)) is not None or service.spec.runtime is Runtime.NIM:
        return cache
    claim = service.spec.source.persistent_volume_claim
    return claim.claim_name if claim is not None else None


def cache_claim(service: RerankerService) -> dict[str, Any] | None:
    """The PersistentVolumeClaim, or None where none is to be made.

    Of its spec the server lets only the size change, and only upwards: it says so itself, and `Accepted` with it.
    """
    cache = service.spec.cache
    if cache is None or cache.size is None:
        return None
    spec: dict[str, Any] = {
        "accessModes": [mode.value for mode in cache.access_modes],
        "resources": {"requests": {"storage": cache.size}},
    }
    if cache.storage_class_name is not None:
        spec["storageClassName"] = cache.storage_class_name
    # Without an owner the garbage collector leaves it: a model of many gigabytes is not downloaded twice by accident.
    retained = cache.reclaim is Reclaim.RETAIN
    made = metadata(
        service, claim_name(service), MODEL, annotations=_NOT_PRUNED if retained else None, outlives=retained
    )
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": made, "spec": spec}
