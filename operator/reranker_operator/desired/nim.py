"""The pod of NVIDIA's image: the same shape as the bundled runtime's, with NVIDIA's own entrypoint.

It is within the restricted Pod Security Standard, which does not ask for a read-only root: images up to 1.x unpack and
write beside their programs. Nothing is verified beforehand, since the image downloads its model by itself.
"""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.desired.claim import cache_name
from reranker_operator.desired.metadata import RANKING
from reranker_operator.desired.parts import (
    SHM_MOUNT,
    container,
    pod_metadata,
    pod_spec,
    probe,
    resources,
    shm_volume,
    spread,
)
from reranker_operator.desired.proxy import ca_mounts, ca_volumes, proxy_variables

_CACHE_MOUNT = {"name": contract.MODEL_VOLUME, "mountPath": contract.NIM_CACHE}


def nim_pod(service: RerankerService, image: str) -> dict[str, Any]:
    """Metadata and spec of a pod of NVIDIA's image, without the label that holds its own hash."""
    pod = service.spec.pod
    mounts = [_CACHE_MOUNT, SHM_MOUNT, *ca_mounts(service), *pod.volume_mounts]
    server = {
        "name": contract.RANKING_CONTAINER,
        **container(service, image, mounts, read_only_root=False),
        "env": _environment(service),
        "ports": [{"name": "api", "containerPort": contract.API_PORT, "protocol": "TCP"}],
        "resources": resources(service),
        # The port opens when the model is there, and its first download may take half an hour.
        "startupProbe": probe(contract.LIVE_PATH, "api", period=2, failures=900),
        "livenessProbe": probe(contract.LIVE_PATH, "api", period=10, failures=6),
        "readinessProbe": probe(contract.READY_PATH, "api", period=2, failures=2),
    }
    return {
        "metadata": pod_metadata(service, RANKING),
        "spec": {
            **pod_spec(service, user=contract.NIM_USER, group=contract.NIM_USER),
            "topologySpreadConstraints": spread(service),
            "terminationGracePeriodSeconds": pod.termination_grace_period_seconds,
            "containers": [server],
            "volumes": [_cache(service), shm_volume(service), *ca_volumes(service), *pod.volumes],
        },
    }


def _environment(service: RerankerService) -> list[dict[str, Any]]:
    """The key, the cache and the way out; of the way out, what the user's own variables do not say."""
    nim, given = service.spec.nim, service.spec.server.env
    variables: list[dict[str, Any]] = [{"name": "NIM_CACHE_PATH", "value": contract.NIM_CACHE}]
    if nim is not None and nim.api_key_secret is not None:
        key = {"secretKeyRef": nim.api_key_secret.model_dump()}
        variables.append({"name": "NGC_API_KEY", "valueFrom": key})
    names = {entry["name"] for entry in given}
    return [*variables, *(each for each in proxy_variables(service) if each["name"] not in names), *given]


def _cache(service: RerankerService) -> dict[str, Any]:
    name = cache_name(service)
    kept = {"persistentVolumeClaim": {"claimName": name}} if name is not None else {"emptyDir": {}}
    return {"name": contract.MODEL_VOLUME, **kept}
