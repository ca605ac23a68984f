"""The kinds that the operator reads and writes, and their places in the API."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from reranker_operator.api import GROUP, KIND, PLURAL, VERSION

_SEGMENT = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class _Place:
    api: str
    plural: str
    kind: str
    namespaced: bool = True


class Kind(Enum):
    """One kind of object."""

    SERVICE_ACCOUNT = _Place("api/v1", "serviceaccounts", "ServiceAccount")
    SERVICE = _Place("api/v1", "services", "Service")
    JOB = _Place("apis/batch/v1", "jobs", "Job")
    DEPLOYMENT = _Place("apis/apps/v1", "deployments", "Deployment")
    POD = _Place("api/v1", "pods", "Pod")
    SECRET = _Place("api/v1", "secrets", "Secret")
    CONFIG_MAP = _Place("api/v1", "configmaps", "ConfigMap")
    CLAIM = _Place("api/v1", "persistentvolumeclaims", "PersistentVolumeClaim")
    EVENT = _Place("api/v1", "events", "Event")
    CONTROLLER_REVISION = _Place("apis/apps/v1", "controllerrevisions", "ControllerRevision")
    AUTOSCALER = _Place("apis/autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
    INGRESS = _Place("apis/networking.k8s.io/v1", "ingresses", "Ingress")
    NETWORK_POLICY = _Place("apis/networking.k8s.io/v1", "networkpolicies", "NetworkPolicy")
    DISRUPTION_BUDGET = _Place("apis/policy/v1", "poddisruptionbudgets", "PodDisruptionBudget")
    HTTP_ROUTE = _Place("apis/gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute")
    SERVICE_MONITOR = _Place("apis/monitoring.coreos.com/v1", "servicemonitors", "ServiceMonitor")
    INGRESS_CLASS = _Place("apis/networking.k8s.io/v1", "ingressclasses", "IngressClass", namespaced=False)
    PRIORITY_CLASS = _Place("apis/scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", namespaced=False)
    RUNTIME_CLASS = _Place("apis/node.k8s.io/v1", "runtimeclasses", "RuntimeClass", namespaced=False)
    LEASE = _Place("apis/coordination.k8s.io/v1", "leases", "Lease")
    STORAGE_CLASS = _Place("apis/storage.k8s.io/v1", "storageclasses", "StorageClass", namespaced=False)
    RERANKER_SERVICE = _Place(f"apis/{GROUP}/{VERSION}", PLURAL, KIND)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Kind":
        """The kind of an object."""
        return cls.named(document["kind"])

    @classmethod
    def named(cls, title: str) -> "Kind":
        """The kind that `kind:` calls so."""
        return _BY_TITLE[title]

    @property
    def title(self) -> str:
        """The kind's name, as `kind:` has it."""
        return self.value.kind

    @property
    def namespaced(self) -> bool:
        """Whether its objects live in namespaces."""
        return self.value.namespaced

    @property
    def api_version(self) -> str:
        """Group and version, as `apiVersion:` has it."""
        return self.value.api.partition("/")[2]

    @property
    def group(self) -> str:
        """URL path of its group and version, where the server lists what it serves of them."""
        return f"/{self.value.api}"

    @property
    def plural(self) -> str:
        """Its name in URLs."""
        return self.value.plural

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of a collection, an object or a subresource."""
        parts = [self.value.api]
        if self.value.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.value.plural, name, subresource) if part is not None]
        for part in parts[1:]:
            # A name out of a user's spec must never become a path: aiohttp resolves "..", even when it is encoded.
            if not _SEGMENT.fullmatch(part):
                raise ValueError(f"{part!r} cannot be the name of a {self.value.kind}")
        return "/" + "/".join(parts)


_BY_TITLE = {kind.title: kind for kind in Kind}
