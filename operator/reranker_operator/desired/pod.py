"""The bundled runtime's pods: the one that ranks, and the one that downloads and verifies the model before."""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.api.model import Precision
from reranker_operator.api.source import HuggingFaceSource, PersistentVolumeClaimSource
from reranker_operator.desired.metadata import RANKING, TEMPLATE_HASH, selector
from reranker_operator.desired.parts import (
    SHM_MOUNT,
    TMP_MOUNT,
    TMP_VOLUME,
    container,
    pod_metadata,
    pod_spec,
    probe,
    resources,
    shm_volume,
    spread,
)
from reranker_operator.desired.proxy import ca_mounts, ca_volumes, proxy_variables
from reranker_operator.desired.source import differs_by_pod, model_mounts, model_path, model_volumes

_VERIFY_RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}}


def ranking_pod(service: RerankerService, image: str) -> dict[str, Any]:
    """Metadata and spec of a ranking pod, without the label that holds its own hash."""
    pod = service.spec.pod
    mounts = [TMP_MOUNT, *model_mounts(service)]
    more = [
        SHM_MOUNT,
        *({"name": name, "mountPath": contract.SECRETS[name], "readOnly": True} for name in secrets(service)),
        *pod.volume_mounts,
    ]
    server = {
        "name": contract.RANKING_CONTAINER,
        **container(service, image, [*mounts, *more]),
        "command": [contract.COMMAND, "serve"],
        "env": environment(service),
        "ports": [
            {"name": "api", "containerPort": contract.API_PORT, "protocol": "TCP"},
            {"name": "internal", "containerPort": contract.INTERNAL_PORT, "protocol": "TCP"},
        ],
        "resources": resources(service),
        # The port opens before the model is loaded, so a slow load is never mistaken for a hang.
        "startupProbe": probe(contract.LIVE_PATH, "internal", period=1, failures=300),
        "livenessProbe": probe(contract.LIVE_PATH, "internal", period=10, failures=6),
        # Every second: what a rollout waits for is known at once, and an answer costs the server next to nothing.
        "readinessProbe": probe(contract.READY_PATH, "internal", period=1, failures=3),
    }
    quick = {
        "name": contract.CHECK_CONTAINER,
        **container(service, image, mounts),
        "command": _verify(service, in_pod=True),
        "resources": _VERIFY_RESOURCES,
    }
    return {
        "metadata": pod_metadata(service, RANKING),
        "spec": {
            **pod_spec(service),
            "topologySpreadConstraints": spread(service),
            "terminationGracePeriodSeconds": pod.termination_grace_period_seconds,
            "initContainers": [quick],
            "containers": [server],
            "volumes": [
                TMP_VOLUME,
                *model_volumes(service),
                shm_volume(service),
                *({"name": name, "secret": {"secretName": secret}} for name, secret in secrets(service).items()),
                *pod.volumes,
            ],
        },
    }


def secrets(service: RerankerService) -> dict[str, str]:
    """Secrets that the ranking container reads, by the volume that holds them."""
    spec = service.spec
    found = {}
    if spec.authentication is not None:
        found["api-keys"] = keys_secret(service)
    if spec.tls is not None:
        found["tls"] = spec.tls.secret_name
    return found


def keys_secret(service: RerankerService) -> str:
    """The Secret of the clients' keys: the user's, or the one that is made."""
    asked = service.spec.authentication
    return asked.api_keys_secret.name if asked and asked.api_keys_secret else f"{service.name}-api-keys"


def verifying_pod(service: RerankerService, image: str, component: str) -> dict[str, Any]:
    """Metadata and spec of the model Job's pod: same image, volume and placement, no GPU."""
    verify = {
        "name": contract.VERIFY_CONTAINER,
        **container(service, image, [TMP_MOUNT, *model_mounts(service)]),
        "command": _verify(service, in_pod=False),
        "resources": _VERIFY_RESOURCES,
    }
    source = service.spec.source.chosen
    downloads = isinstance(source, HuggingFaceSource)
    spec = pod_spec(service, group=contract.USER if downloads else None)
    if isinstance(source, HuggingFaceSource | PersistentVolumeClaimSource):
        spec["affinity"] = _beside_ranking(service)
    spec["restartPolicy"] = "Never"
    if isinstance(source, HuggingFaceSource):
        spec["initContainers"] = [_fetch(service, source, image)]
    spec["containers"] = [verify]
    spec["volumes"] = [TMP_VOLUME, *model_volumes(service, writable=downloads), *ca_volumes(service)]
    return {"metadata": pod_metadata(service, component), "spec": spec}


def environment(service: RerankerService) -> list[dict[str, Any]]:
    """Variables of the ranking container, the operator's own first (docs/pod-contract.md)."""
    model, server, source = service.spec.model, service.spec.server, service.spec.source.chosen
    values = {
        contract.MODEL_PATH_VARIABLE: model_path(source),
        "NIM_SERVED_MODEL_NAME": service.spec.served_name,
        "NIM_HTTP_API_PORT": str(contract.API_PORT),
        "RERANKER_INTERNAL_PORT": str(contract.INTERNAL_PORT),
        "RERANKER_MAX_PASSAGES": str(server.max_passages),
        "RERANKER_MAX_QUEUE_SECONDS": str(server.max_queue_seconds),
        "NIM_LOG_LEVEL": server.log_level.value,
        "RERANKER_GRACE_SECONDS": str(
            max(0, service.spec.pod.termination_grace_period_seconds - contract.LEAVE_SECONDS)
        ),
    }
    if service.spec.authentication is not None:
        values["RERANKER_API_KEYS_DIR"] = contract.SECRETS["api-keys"]
    if service.spec.tls is not None:
        values["NIM_TLS_CERT_PATH"] = f"{contract.SECRETS['tls']}/tls.crt"
        values["NIM_TLS_KEY_PATH"] = f"{contract.SECRETS['tls']}/tls.key"
    if model.precision is not Precision.AUTO:
        values["NIM_PRECISION"] = contract.PRECISION_NAMES[model.precision.value]
    if model.max_tokens is not None:
        values["NIM_PIPELINE_MAX_SEQ_LEN"] = str(model.max_tokens)
    if model.digest is not None and differs_by_pod(source):
        values["RERANKER_MODEL_DIGEST"] = model.digest
    revision = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{TEMPLATE_HASH}']"}}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        {"name": "RERANKER_REVISION", "valueFrom": revision},
        *server.env,
    ]


def _fetch(service: RerankerService, source: HuggingFaceSource, image: str) -> dict[str, Any]:
    """The container that downloads: the only one that sees the token, the way out, and the claim writable."""
    endpoint = ["--endpoint", source.endpoint] if source.endpoint is not None else []
    token = source.token_secret
    variables: list[dict[str, Any]] = [{"name": "HOME", "value": contract.WRITABLE["tmp"]}]
    if token is not None:
        variables.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token.model_dump()}})
    return {
        "name": contract.FETCH_CONTAINER,
        **container(service, image, [TMP_MOUNT, *model_mounts(service, writable=True), *ca_mounts(service)]),
        "command": [
            contract.COMMAND,
            "fetch",
            *("--repository", source.repository),
            *("--revision", source.revision),
            *endpoint,
            *("--report", contract.REPORT_PATH),
            contract.MODEL_MOUNT,
        ],
        "env": [*variables, *proxy_variables(service)],
        "resources": _VERIFY_RESOURCES,
    }


def _verify(service: RerankerService, *, in_pod: bool) -> list[str]:
    """The whole check runs once, in the Job, and in each pod where the model can differ from what the Job saw."""
    source, digest = service.spec.source.chosen, service.spec.model.digest
    command = [contract.COMMAND, "verify", "--report", contract.REPORT_PATH]
    if in_pod and not differs_by_pod(source):
        command.append("--quick")
    elif digest is not None:
        command += ["--digest", digest]
    return [*command, model_path(source)]


def _beside_ranking(service: RerankerService) -> dict[str, Any]:
    """Where it can, the Job runs on a node that ranks: a ReadWriteOnce claim that pods use can be used only there."""
    beside = {
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": selector(service, RANKING)},
        },
    }
    preferred = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [beside]}}
    return {**preferred, **(service.spec.pod.affinity or {})}
