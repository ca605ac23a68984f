"""`spec`: everything a user can ask of a RerankerService."""

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from reranker_operator import contract
from reranker_operator.api.access import Authentication, Tls
from reranker_operator.api.base import ApiType, PodValue, Rule, keyed_by
from reranker_operator.api.cache import Cache
from reranker_operator.api.exposure import DisruptionBudget, Gateway, Ingress, Monitoring, NetworkPolicy
from reranker_operator.api.model import Model
from reranker_operator.api.names import ObjectName, PullPolicy, repository_of
from reranker_operator.api.proxy import Proxy
from reranker_operator.api.rollout import Rollout
from reranker_operator.api.runtime import RUNTIME_RULES, Nim, Runtime
from reranker_operator.api.scaling import Autoscaling
from reranker_operator.api.server import Server
from reranker_operator.api.source import ModelSource

LABEL_PREFIX = "reranking.dev/"
OWNED_LABELS = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
)

Affinity = Annotated[dict[str, Any], PodValue("Affinity")]
PodSecurityContext = Annotated[dict[str, Any], PodValue("PodSecurityContext")]
ResourceRequirements = Annotated[dict[str, Any], PodValue("ResourceRequirements")]
Toleration = Annotated[dict[str, Any], PodValue("Toleration")]
TopologySpreadConstraint = Annotated[dict[str, Any], PodValue("TopologySpreadConstraint")]
Volume = Annotated[dict[str, Any], PodValue("Volume")]
VolumeMount = Annotated[dict[str, Any], PodValue("VolumeMount")]
Labels = Annotated[
    dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=63)]],
    Field(max_length=64),
]
Annotations = Annotated[dict[str, str], Field(max_length=64)]

_BY_NAME, _BY_NAME_SCHEMA = keyed_by("name")
_BY_PATH, _BY_PATH_SCHEMA = keyed_by("mountPath")
_OWNED_VOLUMES = (contract.MODEL_VOLUME, *contract.WRITABLE, *contract.SECRETS, contract.CA_VOLUME)
_OWNED_MOUNTS = (
    rf"^({contract.MODEL_MOUNT}(/.*)?|{contract.SECRETS_MOUNT}(/.*)?|{contract.NIM_CACHE.replace('.', '[.]')}(/.*)?"
    rf"|{'|'.join(f'{path}/?' for path in contract.WRITABLE.values())})$"
    r"|//|(^|/)[.][.]?(/|$)"
)
"""Mount paths that would lie on or over the operator's own, or that are not written plainly."""


class ServiceType(StrEnum):
    """How the Service is reached."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class LocalReference(ApiType):
    """An object of the same namespace, by name."""

    name: ObjectName
    """Name of the object."""


class Image(ApiType):
    """The runtime image."""

    repository: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\s@]+$")] | None = None
    """Image without tag. Default: the runtime image of the operator's own release."""
    tag: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")] | None = None
    """Tag. Default: the operator's own version."""
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Content digest; with it the tag is only a comment."""
    pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    """When the kubelet pulls the image."""
    pull_secrets: Annotated[
        list[LocalReference], _BY_NAME, Field(max_length=16, json_schema_extra=_BY_NAME_SCHEMA)
    ] = []
    """Secrets of type kubernetes.io/dockerconfigjson."""


class Service(ApiType):
    """The Service in front of the pods."""

    type: ServiceType = ServiceType.CLUSTER_IP
    """How the Service is reached."""
    port: Annotated[int, Field(ge=1, le=65535)] = contract.API_PORT
    """Port of the Service."""
    labels: Labels = {}
    """More labels on the Service."""
    annotations: Annotations = {}
    """Annotations on the Service, such as a cloud load balancer's."""


def _free_labels(labels: dict[str, str]) -> bool:
    return not any(key.startswith(LABEL_PREFIX) or key in OWNED_LABELS for key in labels)


class Pod(ApiType):
    """Placement and metadata of the pods, in a pod's own words."""

    node_selector: dict[str, str] = {}
    """Labels a node must have."""
    tolerations: Annotated[list[Toleration], Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})] = []
    """Taints the pods tolerate."""
    affinity: Affinity | None = None
    """Affinity to nodes and pods."""
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint], Field(json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """How pods spread over nodes and zones."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods."""
    scheduler_name: ObjectName | None = None
    """A scheduler other than the cluster's default."""
    service_account_name: ObjectName | None = None
    """An existing ServiceAccount; by default one without rights is made."""
    labels: Labels = {}
    """More labels on the pods."""
    annotations: Annotations = {}
    """Annotations on the pods."""
    volumes: Annotated[list[Volume], _BY_NAME, Field(max_length=32, json_schema_extra=_BY_NAME_SCHEMA)] = []
    """More volumes, of the kinds that the restricted Pod Security Standard allows."""
    volume_mounts: Annotated[list[VolumeMount], _BY_PATH, Field(max_length=32, json_schema_extra=_BY_PATH_SCHEMA)] = []
    """Where the ranking container mounts them."""
    shared_memory: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(Ki|Mi|Gi)$", max_length=16)] = "1Gi"
    """Size limit of /dev/shm."""
    termination_grace_period_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """Time a pod has to finish its running requests."""
    security_context: PodSecurityContext = {}
    """User, groups and the like of the pods; that they meet the restricted Pod Security Standard is not negotiable."""

    rules = (
        Rule(
            cel="!has(self.labels) || !self.labels.exists(k, k.startsWith('reranking.dev/') || k in "
            f"{list(OWNED_LABELS)})",
            message="labels holds a label that the operator sets itself: leave out reranking.dev/* and "
            + ", ".join(OWNED_LABELS),
            holds=lambda pod: _free_labels(pod.labels),
        ),
        Rule(
            cel=f"!has(self.volumes) || !self.volumes.exists(v, v.name in {list(_OWNED_VOLUMES)})",
            message=f"volumes holds a name that the operator uses itself: rename {', '.join(_OWNED_VOLUMES)}",
            holds=lambda pod: not any(volume["name"] in _OWNED_VOLUMES for volume in pod.volumes),
        ),
        Rule(
            cel=f"!has(self.volumeMounts) || !self.volumeMounts.exists(m, m.mountPath.matches('{_OWNED_MOUNTS}'))",
            message="volumeMounts holds a path that the operator uses itself, or one with '//', '.' or '..' in it: "
            "choose another than "
            + ", ".join(
                (contract.MODEL_MOUNT, contract.NIM_CACHE, contract.SECRETS_MOUNT, *contract.WRITABLE.values())
            ),
            holds=lambda pod: not any(re.search(_OWNED_MOUNTS, mount["mountPath"]) for mount in pod.volume_mounts),
        ),
        Rule(
            cel="!has(self.securityContext) || !has(self.securityContext.runAsUser) "
            "|| self.securityContext.runAsUser != 0",
            message="securityContext.runAsUser is 0: pods never run as root; choose another user",
            holds=lambda pod: pod.security_context.get("runAsUser") != 0,
        ),
    )


def _counts_gpus_once(spec: Any) -> bool:
    return not any(spec.gpu_resource in spec.resources.get(part, {}) for part in ("limits", "requests"))


def _queue_may_grow(spec: Any) -> bool:
    target = spec.autoscaling.target_queue_seconds if spec.autoscaling is not None else None
    return target is None or target < spec.server.max_queue_seconds


class Spec(ApiType):
    """What a RerankerService should be."""

    model: Model = Model()
    """The model to serve."""
    runtime: Runtime = Runtime.BUNDLED
    """Bundled: the project's own. NIM: NVIDIA's image in its place."""
    nim: Nim | None = None
    """What NVIDIA's image needs. Only with runtime NIM."""
    image: Image = Image()
    """The runtime image."""
    replicas: Annotated[int, Field(ge=0, le=10_000)] = 1
    """Number of pods; 0 pauses the service."""
    autoscaling: Autoscaling | None = None
    """The number of pods by load."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs of each pod; 0 ranks on the CPU."""
    gpu_resource: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9_.-]+$", max_length=317)] = (
        "nvidia.com/gpu"
    )
    """Resource name of the GPUs: a MIG profile, or another vendor's."""
    resources: ResourceRequirements = {}
    """CPU, memory and the like of the ranking container."""
    server: Server = Server()
    """How the ranking server behaves."""
    authentication: Authentication | None = None
    """Keys that clients must send; without it, whoever reaches the Service may rank."""
    tls: Tls | None = None
    """TLS on the API port."""
    service: Service = Service()
    """The Service in front of the pods."""
    ingress: Ingress | None = None
    """An Ingress that leads to the Service."""
    gateway: Gateway | None = None
    """An HTTPRoute that leads from Gateways to the Service."""
    network_policy: NetworkPolicy | None = None
    """A NetworkPolicy: who may connect to the pods."""
    rollout: Rollout = Rollout()
    """How pods of a changed template take the place of the old ones."""
    disruption_budget: DisruptionBudget | None = None
    """A PodDisruptionBudget: how many pods a drain may take at once."""
    monitoring: Monitoring | None = None
    """What watches the service."""
    proxy: Proxy | None = None
    """The way out for downloads. Only with a huggingFace source or runtime NIM."""
    pod: Pod = Pod()
    """Placement and metadata of the pods."""

    rules = (
        *RUNTIME_RULES,
        Rule(
            cel="!has(self.resources) || [has(self.resources.limits) && self.gpuResource in self.resources.limits, "
            "has(self.resources.requests) && self.gpuResource in self.resources.requests].filter(x, x).size() == 0",
            message="resources names the GPU resource: say how many with spec.gpus instead",
            holds=_counts_gpus_once,
        ),
        Rule(
            cel="!has(self.autoscaling) || !has(self.autoscaling.targetQueueSeconds) "
            "|| self.autoscaling.targetQueueSeconds < double(self.server.maxQueueSeconds)",
            message="autoscaling.targetQueueSeconds is never reached, since requests are refused that would wait as "
            "long as server.maxQueueSeconds: lower the one, or raise the other",
            holds=_queue_may_grow,
        ),
    )

    @property
    def source(self) -> ModelSource:
        """Where the bundled runtime's model comes from."""
        if self.model.source is None:
            raise AssertionError("a spec without a source passed its own rules, or its runtime is NIM")
        return self.model.source

    @property
    def cache(self) -> Cache | None:
        """Where downloads are kept, if there are any."""
        if self.runtime is Runtime.NIM:
            return self.nim.cache if self.nim is not None else None
        return self.source.hugging_face.cache if self.source.hugging_face is not None else None

    @property
    def served_name(self) -> str:
        """The name clients ask for; of NVIDIA's image, which has names of its own, its repository's last part."""
        if self.runtime is Runtime.NIM:
            return repository_of(self.image.repository or "").rpartition("/")[2]
        return self.model.name or self.source.chosen.own_name
