"""`status`: the schema of what the operator reports."""

from typing import Annotated

from pydantic import Field

from reranker_operator.api.base import ApiType


class StatusCondition(ApiType):
    """A condition in Kubernetes' own shape."""

    type: str
    """What the condition is about."""
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    """True, False or Unknown."""
    reason: str
    """Why, in one word."""
    message: str
    """What is so, and what to do about it."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When the status last changed."""
    observed_generation: int | None = None
    """The generation of the spec that this speaks of."""


class ModelStatus(ApiType):
    """The model as the model Job found it."""

    name: str | None = None
    """The name clients ask for."""
    digest: str | None = None
    """sha256 over the sorted (path, sha256) of the files that serving reads."""
    architecture: str | None = None
    """The architecture that the configuration names."""
    parameters: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """Number of weights."""
    dtype: str | None = None
    """Number format of the stored weights."""
    max_tokens: int | None = None
    """Tokens that the model itself can take."""


class ProbeStatus(ApiType):
    """The last real ranking through the Service."""

    passages: int
    """Passages that were ranked."""
    milliseconds: int
    """From the operator's request to the answer."""
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When; written when RankingVerified changes, else at most once an hour."""


class ServiceStatus(ApiType):
    """What is."""

    observed_generation: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None
    """The generation of the spec that this status speaks of."""
    replicas: int | None = None
    """Pods that exist."""
    ready_replicas: int | None = None
    """Pods that can rank."""
    selector: str | None = None
    """Label selector of the pods, for the scale subresource."""
    endpoint: str | None = None
    """Where to POST a ranking inside the cluster."""
    model: ModelStatus | None = None
    """The model as it was verified."""
    probe: ProbeStatus | None = None
    """The last real ranking through the Service."""
    conditions: Annotated[
        list[StatusCondition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Facts; see the reference of condition types."""
