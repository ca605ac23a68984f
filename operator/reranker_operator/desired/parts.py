"""Parts that the pods share: identity, placement, security.

Pods meet the *restricted* Pod Security Standard: numeric non-root user, no privilege escalation, no capabilities, the
runtime's default seccomp profile. The bundled runtime's root is read-only too; its writable paths are emptyDirs.
"""

from typing import Any

from reranker_operator import contract
from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import RANKING, labels, selector

_TMP_LIMIT = "1Gi"


def pod_metadata(service: RerankerService, component: str) -> dict[str, Any]:
    """The user's labels and annotations, and the labels that tell whose pod it is."""
    pod = service.spec.pod
    metadata: dict[str, Any] = {"labels": {**pod.labels, **labels(service, component)}}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    return metadata


def pod_spec(service: RerankerService, *, user: int = contract.USER, group: int | None = None) -> dict[str, Any]:
    """Identity, placement and security. `group` is the one that the volumes' files get, for who writes to a claim."""
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
    # A claim of many gigabytes is not walked at each start: once its root has the group, the rest has it too.
    owner = {"fsGroup": group, "fsGroupChangePolicy": "OnRootMismatch"} if group is not None else {}
    return {
        "serviceAccountName": pod.service_account_name or service.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsUser": user,
            "runAsGroup": user,
            **owner,
            **pod.security_context,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{field: value for field, value in given.items() if value},
    }


def spread(service: RerankerService) -> list[dict[str, Any]]:
    """The user's constraints, or: one node or zone lost should not take every pod, but a pod beside another is better
    than none.

    Whatever the number of replicas, or a change of it would roll the pods.
    """
    return service.spec.pod.topology_spread_constraints or [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(service, RANKING)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def container(
    service: RerankerService, image: str, mounts: list[dict[str, Any]], *, read_only_root: bool = True
) -> dict[str, Any]:
    """Image, last words, security and mounts of any container."""
    return {
        "image": image,
        "imagePullPolicy": service.spec.image.pull_policy.value,
        "terminationMessagePath": contract.REPORT_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": read_only_root,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def resources(service: RerankerService) -> dict[str, Any]:
    """Of the ranking container, its GPUs among them."""
    spec = service.spec
    asked = {part: values for part, values in spec.resources.items() if values}
    if spec.gpus:
        asked["limits"] = {**asked.get("limits", {}), spec.gpu_resource: str(spec.gpus)}
    return asked


TMP_VOLUME: dict[str, Any] = {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_LIMIT}}
TMP_MOUNT: dict[str, Any] = {"name": "tmp", "mountPath": contract.WRITABLE["tmp"]}
SHM_MOUNT: dict[str, Any] = {"name": "shm", "mountPath": contract.WRITABLE["shm"]}


def shm_volume(service: RerankerService) -> dict[str, Any]:
    """Shared memory, which a container would else have 64 MiB of."""
    return {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": service.spec.pod.shared_memory}}


def probe(path: str, port: str, *, period: int, failures: int) -> dict[str, Any]:
    """A kubelet's GET of `path` on the named port, every `period` seconds."""
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
        "successThreshold": 1,
    }
