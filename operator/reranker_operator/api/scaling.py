"""`spec.autoscaling`: how many pods there are, decided by what they have to do."""

from typing import Annotated, Any

from pydantic import Field

from reranker_operator.api.base import ApiType, PodValue, Rule

MetricSpec = Annotated[dict[str, Any], PodValue("MetricSpec")]
Behavior = Annotated[dict[str, Any], PodValue("HorizontalPodAutoscalerBehavior")]


class Autoscaling(ApiType):
    """The number of pods by load. spec.replicas is then what a new service begins with; 0 still pauses it."""

    min_replicas: Annotated[int, Field(ge=1, le=10_000)] = 1
    """The fewest pods. At least one: nothing here could tell when to wake a service without any."""
    max_replicas: Annotated[int, Field(ge=1, le=10_000)]
    """The most pods."""
    target_queue_seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    """How long requests may wait in a pod's queue, on average. The operator reads the pods itself: neither Prometheus
    nor a metrics adapter is needed."""
    metrics: (
        Annotated[
            list[MetricSpec],
            Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = None
    """Metrics of a HorizontalPodAutoscaler (autoscaling/v2), which is then made."""
    behavior: Behavior | None = None
    """Windows, rates and tolerances, as in a HorizontalPodAutoscaler and with its defaults."""

    rules = (
        Rule(
            cel="has(self.targetQueueSeconds) != has(self.metrics)",
            message="give targetQueueSeconds or metrics, and not both",
            holds=lambda each: (each.target_queue_seconds is None) != (each.metrics is None),
        ),
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            message="maxReplicas is less than minReplicas: raise it, or lower minReplicas",
            holds=lambda each: each.min_replicas <= each.max_replicas,
        ),
    )

    def first(self, replicas: int) -> int:
        """Of `replicas`, as many pods as a new service may begin with."""
        return max(self.min_replicas, min(replicas, self.max_replicas))
