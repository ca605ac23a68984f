"""Who owns the Deployment's number of pods: we, by the spec, or whatever scales it.

While an autoscaler is on, the operator's own apply holds no number, or it would put every decision back. But a field
that its only owner no longer applies falls to its default: five pods would become one. So the scaler's field manager
takes the number over as it is, before the other lets go of it. An annotation says that this is done.
"""

from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.desired.metadata import SCALED, annotation

SCALER: str = "reranker-operator-scaler"
"""The field manager that owns the number of pods while load decides it."""

Json = dict[str, Any]


def is_scaled(service: RerankerService, deployment: Json | None) -> bool:
    """Whether the number of pods is to be left to an autoscaler: one is asked for, and there are pods to scale.

    Not so where spec.replicas is 0, which means paused, nor for a Deployment that is new, or still has no pods after a
    pause: its first number is ours to say.
    """
    asked = service.spec.autoscaling is not None and service.spec.replicas > 0
    return asked and deployment is not None and live_replicas(deployment) > 0


def is_handed_over(deployment: Json) -> bool:
    """Whether the scaler's field manager owns the number of pods."""
    return annotation(deployment, SCALED) is not None


def live_replicas(deployment: Json) -> int:
    """The number of pods that the Deployment asks for."""
    return int(deployment["spec"].get("replicas", 1))


def handing_over(wanted: Json, live: Json | None) -> Json | None:
    """What the scaler's field manager is to apply before `wanted`, a Deployment without a number, takes its place."""
    if live is None or is_handed_over(live) or not is_handed_over(wanted):
        return None
    document = scaled(live, live_replicas(live))
    # Had somebody scaled it meanwhile, the number would be an old one.
    document["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
    return document


def scaled(deployment: Json, replicas: int) -> Json:
    """The number of pods, to be applied to this very Deployment: its uid keeps it from being made anew."""
    named = {key: deployment["metadata"][key] for key in ("name", "namespace", "uid")}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": named, "spec": {"replicas": replicas}}
