"""How a service is reached from outside, who may reach it, and what watches it: all of it optional objects."""

from typing import Annotated

from pydantic import Field, StringConstraints

from reranker_operator.api.base import ApiType, Rule
from reranker_operator.api.names import ObjectName

HostName = Annotated[
    str,
    StringConstraints(
        pattern=r"^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253
    ),
]
Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+(ms|s|m|h))+$", max_length=16)]
Cidr = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$", max_length=43)]
Share = Annotated[
    int | Annotated[str, StringConstraints(pattern=r"^(100|[1-9]?[0-9])%$")],
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
"""A number of pods, or a percentage of them."""
MetaLabels = Annotated[
    dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=63)]],
    Field(max_length=64),
]
MetaAnnotations = Annotated[dict[str, str], Field(max_length=64)]


class Ingress(ApiType):
    """An Ingress that leads to the Service."""

    class_name: ObjectName | None = None
    """IngressClass; without it, the cluster's default."""
    host: HostName
    """Host name that clients use."""
    tls_secret_name: ObjectName | None = None
    """A Secret of type kubernetes.io/tls with the host's certificate."""
    annotations: MetaAnnotations = {}
    """Annotations, such as a controller's body size and timeouts."""


class ParentReference(ApiType):
    """A Gateway that the route is attached to."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: ObjectName | None = None
    """Its namespace; without it, the service's own."""
    section_name: ObjectName | None = None
    """One of its listeners; without it, all that allow the route."""


class Gateway(ApiType):
    """An HTTPRoute that leads from Gateways to the Service."""

    parent_refs: Annotated[list[ParentReference], Field(min_length=1, max_length=32)]
    """The Gateways."""
    hostnames: Annotated[list[HostName], Field(max_length=16)] = []
    """Host names that clients use; without any, the Gateways' own."""


class LabelSelectorRequirement(ApiType):
    """One condition on a label."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=317)]
    """The label."""
    operator: Annotated[str, StringConstraints(pattern="^(In|NotIn|Exists|DoesNotExist)$")]
    """In, NotIn, Exists or DoesNotExist."""
    values: list[Annotated[str, StringConstraints(max_length=63)]] = []
    """For In and NotIn."""


class LabelSelector(ApiType):
    """Objects by their labels; an empty one means all."""

    match_labels: MetaLabels = {}
    """Labels with their values."""
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=16)] = []
    """Further conditions, all of which must hold."""


class IpBlock(ApiType):
    """Addresses."""

    cidr: Cidr
    """Such as 10.0.0.0/8."""
    except_: Annotated[list[Cidr], Field(alias="except", max_length=32)] = []
    """Parts of it that are left out."""


class Peer(ApiType):
    """Somebody who may connect: pods, all pods of namespaces, pods of namespaces, or addresses."""

    pod_selector: LabelSelector | None = None
    """Pods of the service's namespace, or of the selected ones."""
    namespace_selector: LabelSelector | None = None
    """Namespaces."""
    ip_block: IpBlock | None = None
    """Addresses outside the cluster."""

    rules = (
        Rule(
            cel="has(self.ipBlock) ? !has(self.podSelector) && !has(self.namespaceSelector) "
            ": has(self.podSelector) || has(self.namespaceSelector)",
            message="say which peers: podSelector, namespaceSelector or both, or ipBlock alone",
            holds=lambda peer: (
                (peer.ip_block is None) != (peer.pod_selector is None and peer.namespace_selector is None)
            ),
        ),
    )


class NetworkPolicy(ApiType):
    """A NetworkPolicy: nobody but these, and the operator, may connect to the pods."""

    from_: Annotated[list[Peer], Field(alias="from", min_length=1, max_length=64)]
    """Who may rank. An empty list would mean everybody, so there must be at least one."""
    monitoring: Annotated[list[Peer], Field(max_length=16)] = []
    """Who may read metrics on the internal port."""


class ServiceMonitor(ApiType):
    """A ServiceMonitor for the Prometheus operator."""

    interval: Duration = "15s"
    """How often metrics are read."""
    labels: MetaLabels = {}
    """Labels by which a Prometheus finds it."""


class Monitoring(ApiType):
    """What watches the service."""

    service_monitor: ServiceMonitor
    """A ServiceMonitor, and a headless Service with the internal port for it."""


class DisruptionBudget(ApiType):
    """A PodDisruptionBudget: how many pods a drain or an upgrade of nodes may take at once."""

    max_unavailable: Share | None = None
    """Pods that may be missing."""
    min_available: Share | None = None
    """Pods that must remain."""

    rules = (
        Rule(
            cel="has(self.maxUnavailable) != has(self.minAvailable)",
            message="give maxUnavailable or minAvailable, and not both",
            holds=lambda each: (each.max_unavailable is None) != (each.min_available is None),
        ),
    )
