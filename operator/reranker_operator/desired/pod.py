"""The pod that ranks, and the parts it shares with the pod that verifies the model.

Pods meet the *restricted* Pod Security Standard: numeric non-root user, read-only root, no privilege escalation, no
capabilities, the runtime's default seccomp profile. Writable paths are emptyDirs.
"""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.api.model import Precision
from reranker_operator.desired.metadata import RANKING, TEMPLATE_HASH, labels, selector

_TMP_LIMIT = "1Gi"
_VERIFY_RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}}


def ranking_pod(service: RerankerService, image: str) -> dict[str, Any]:
    """Metadata and spec of a ranking pod, without the label that holds its own hash."""
    spec = service.spec
    gpus = {spec.gpu_resource: str(spec.gpus)} if spec.gpus else {}
    resources = {part: values for part, values in spec.resources.items() if values}
    if gpus:
        resources["limits"] = {**resources.get("limits", {}), **gpus}
    server = {
        "name": "ranking",
        **_container(service, image),
        "command": [contract.COMMAND, "serve"],
        "env": environment(service),
        "ports": [
            {"name": "api", "containerPort": contract.API_PORT, "protocol": "TCP"},
            {"name": "internal", "containerPort": contract.INTERNAL_PORT, "protocol": "TCP"},
        ],
        "resources": resources,
        # The port opens before the model is loaded, so a slow load is never mistaken for a hang.
        "startupProbe": _probe(contract.LIVE_PATH, period=2, failures=150),
        "livenessProbe": _probe(contract.LIVE_PATH, period=10, failures=6),
        "readinessProbe": _probe(contract.READY_PATH, period=2, failures=2),
        "volumeMounts": [
            *_mounts(service),
            {"name": "shm", "mountPath": contract.WRITABLE["shm"]},
            *({"name": name, "mountPath": contract.SECRETS[name], "readOnly": True} for name in secrets(service)),
            *spec.pod.volume_mounts,
        ],
    }
    quick = {
        "name": contract.CHECK_CONTAINER,
        **_container(service, image),
        "command": [contract.COMMAND, "verify", *_verify_flags(service, in_pod=True), model_path(service)],
        "resources": _VERIFY_RESOURCES,
    }
    shared_memory = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": spec.pod.shared_memory}}
    return {
        "metadata": _metadata(service, RANKING),
        "spec": {
            **_pod(service),
            "topologySpreadConstraints": spec.pod.topology_spread_constraints or _spread(service),
            "terminationGracePeriodSeconds": spec.pod.termination_grace_period_seconds,
            "initContainers": [quick],
            "containers": [server],
            "volumes": [
                *_volumes(service),
                shared_memory,
                *({"name": name, "secret": {"secretName": secret}} for name, secret in secrets(service).items()),
                *spec.pod.volumes,
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
        "name": "verify",
        **_container(service, image),
        "command": [contract.COMMAND, "verify", *_verify_flags(service, in_pod=False), model_path(service)],
        "resources": _VERIFY_RESOURCES,
    }
    return {
        "metadata": _metadata(service, component),
        "spec": {**_pod(service), "restartPolicy": "Never", "containers": [verify], "volumes": _volumes(service)},
    }


def model_path(service: RerankerService) -> str:
    """The model directory as the container sees it."""
    source = service.spec.model.source
    if source.in_image is not None:
        return source.in_image.path
    if source.persistent_volume_claim is not None and source.persistent_volume_claim.path:
        return f"{contract.MODEL_MOUNT}/{source.persistent_volume_claim.path.rstrip('/')}"
    return contract.MODEL_MOUNT


def environment(service: RerankerService) -> list[dict[str, Any]]:
    """Variables of the ranking container, the operator's own first (docs/pod-contract.md)."""
    model, server = service.spec.model, service.spec.server
    values = {
        contract.MODEL_PATH_VARIABLE: model_path(service),
        "NIM_SERVED_MODEL_NAME": model.served_name,
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
    if model.digest is not None and model.source.host_path is not None:
        values["RERANKER_MODEL_DIGEST"] = model.digest
    revision = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{TEMPLATE_HASH}']"}}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        {"name": "RERANKER_REVISION", "valueFrom": revision},
        *server.env,
    ]


def _verify_flags(service: RerankerService, *, in_pod: bool) -> list[str]:
    """The whole check runs once, in the Job; a hostPath can differ per node, so there it runs in each pod."""
    flags = ["--report", contract.REPORT_PATH]
    model = service.spec.model
    if in_pod and model.source.host_path is None:
        return [*flags, "--quick"]
    return [*flags, "--digest", model.digest] if model.digest is not None else flags


def _metadata(service: RerankerService, component: str) -> dict[str, Any]:
    pod = service.spec.pod
    metadata: dict[str, Any] = {"labels": {**pod.labels, **labels(service, component)}}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    return metadata


def _pod(service: RerankerService) -> dict[str, Any]:
    """Identity, placement and security: the same for ranking and verifying."""
    pod, image = service.spec.pod, service.spec.image
    given = {
        "nodeSelector": pod.node_selector,
        "tolerations": pod.tolerations,
        "affinity": pod.affinity,
        "topologySpreadConstraints": pod.topology_spread_constraints,
        "priorityClassName": pod.priority_class_name,
        "runtimeClassName": pod.runtime_class_name,
        "schedulerName": pod.scheduler_name,
        "imagePullSecrets": [secret.model_dump() for secret in image.pull_secrets],
    }
    return {
        "serviceAccountName": pod.service_account_name or service.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsUser": contract.USER,
            "runAsGroup": contract.USER,
            **pod.security_context,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{field: value for field, value in given.items() if value},
    }


def _spread(service: RerankerService) -> list[dict[str, Any]]:
    """One node or zone lost should not take every pod; but a pod beside another is better than none.

    Whatever the number of replicas, or a change of it would roll the pods.
    """
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(service, RANKING)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def _container(service: RerankerService, image: str) -> dict[str, Any]:
    return {
        "image": image,
        "imagePullPolicy": service.spec.image.pull_policy.value,
        "terminationMessagePath": contract.REPORT_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(service),
    }


def _mounts(service: RerankerService) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": contract.WRITABLE["tmp"]}]
    if service.spec.model.source.in_image is None:
        mounts.append({"name": contract.MODEL_VOLUME, "mountPath": contract.MODEL_MOUNT, "readOnly": True})
    return mounts


def _volumes(service: RerankerService) -> list[dict[str, Any]]:
    source = service.spec.model.source
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {"sizeLimit": _TMP_LIMIT}}]
    if source.persistent_volume_claim is not None:
        claim = {"claimName": source.persistent_volume_claim.claim_name, "readOnly": True}
        volumes.append({"name": contract.MODEL_VOLUME, "persistentVolumeClaim": claim})
    if source.host_path is not None:
        directory = {"path": source.host_path.path, "type": "Directory"}
        volumes.append({"name": contract.MODEL_VOLUME, "hostPath": directory})
    return volumes


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "internal", "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
        "successThreshold": 1,
    }
