"""What earlier rounds decided about a service's pods, read back from the cluster: nothing of it lives in memory.

Which template a spec was made into stands in ControllerRevisions; whether old pods make room, which templates were
Ready and which spec failed, on the Deployment. Pure.
"""

import datetime
from dataclasses import dataclass, field
from typing import Any

from reranker_operator.api import RerankerService
from reranker_operator.api.rollout import OnFailure, RolloutStrategy
from reranker_operator.desired import Given
from reranker_operator.desired.given import Template
from reranker_operator.desired.metadata import (
    FAILED,
    INPUTS,
    PROVEN,
    PROXY,
    REPLACED,
    SPEC_HASH,
    TEMPLATE_HASH,
    annotation,
)
from reranker_operator.desired.revision import default_of_pods, spec_hash
from reranker_operator.reconcile.circumstances import Circumstances, have_changed, noted
from reranker_operator.reconcile.observe import owned_by
from reranker_operator.reconcile.progress import is_live
from reranker_operator.reconcile.scaling.handover import is_scaled

KEPT_REVISIONS = 5

Json = dict[str, Any]


@dataclass(frozen=True)
class Recalled:
    """What is known of earlier templates. Revisions are newest first."""

    given: Given
    made_of: str
    """Stands for the spec that the template is, or will be, made of."""
    recorded: Json | None
    """The revision of this spec."""
    proven: Json | None
    """Of the other templates, the one that was Ready last."""
    revisions: list[Json]
    circumstances: Circumstances = field(default_factory=dict)
    """What the spec refers to, as it is just now."""
    failed: bool = False
    """Whether the rollout of this spec failed and was taken back, and nothing of what it refers to changed since."""
    switch_in: float | None = None
    """Seconds until old pods make room for a new one that fits no node."""
    room_for: str | None = None
    """The template for which old pods make room from this round on."""

    @property
    def fell_back(self) -> bool:
        """Whether the template of this spec was taken back."""
        return self.given.fallback is not None

    @property
    def next_number(self) -> int:
        """Of the next revision."""
        return max((int(each["revision"]) for each in self.revisions), default=0) + 1

    def outdated(self, kept: set[str]) -> list[Json]:
        """Revisions that are not kept; those of the templates in `kept` always are."""
        spare = [each for each in self.revisions if template_hash(template_of(each)) not in kept]
        return spare[max(0, KEPT_REVISIONS - (len(self.revisions) - len(spare))) :]


def recall(
    service: RerankerService,
    inputs: str | None,
    credentials: str | None,
    revisions: list[Json],
    deployment: Json | None,
    pods: list[Json],
    now: datetime.datetime,
    circumstances: Circumstances | None = None,
) -> Recalled:
    """What holds for `service`; `pods` are its ranking pods, `inputs` stands for what their container reads at its
    start, `credentials` for what the model is downloaded with."""
    circumstances = circumstances or {}
    made_of = spec_hash(service, inputs)
    ours = (each for each in revisions if owned_by(each, service.uid))
    revisions = sorted(ours, key=lambda each: int(each["revision"]), reverse=True)
    recorded = _recorded(service, made_of, revisions, deployment)
    template = template_of(recorded) if recorded is not None else None
    hashed = template_hash(template)
    by_hash = {template_hash(template_of(each)): each for each in reversed(revisions)}
    proven = next((by_hash[each] for each in ready_templates(deployment) if each != hashed and each in by_hash), None)
    failed = failed_spec(deployment) == made_of and not have_changed(noted(deployment), circumstances)
    fallback = None
    if recorded is not None and proven is not None and failed:
        fallback = template_of(proven) if service.spec.rollout.on_failure is OnFailure.ROLLBACK else None
    goal = template_hash(fallback or template)
    # The failed template may hold what the earlier one needs: there was no room for both before.
    crowded = fallback is not None and annotation(deployment, REPLACED) == hashed
    make_room, switch_in = _make_room(service, goal, deployment, pods, now, crowded=crowded)
    given = Given(
        inputs=inputs,
        credentials=credentials,
        recorded=template,
        fallback=fallback,
        make_room=make_room,
        scaled=is_scaled(service, deployment),
    )
    begins = make_room and annotation(deployment, REPLACED) != goal
    room_for = goal if begins else None
    return Recalled(given, made_of, recorded, proven, revisions, circumstances, failed, switch_in, room_for)


def _recorded(service: RerankerService, made_of: str, revisions: list[Json], deployment: Json | None) -> Json | None:
    """The revision of this spec: one that was Ready, else the one of the default that pods would be told today.

    So a new default rolls no pods that have served, and reaches those that could not download by the old one.
    """
    of_spec = [each for each in revisions if annotation(each, SPEC_HASH) == made_of]
    by_hash = {template_hash(template_of(each)): each for each in reversed(of_spec)}
    told = default_of_pods(service)
    best = [by_hash[each] for each in ready_templates(deployment) if each in by_hash]
    best += [each for each in of_spec if annotation(each, PROXY) == told]
    return best[0] if best else None


def inputs_before(service: RerankerService, revisions: list[Json], deployment: Json | None) -> str | None:
    """What pods have read that run; where the rollout of this spec was taken back, what its own had."""
    failed = failed_spec(deployment)
    for each in revisions:
        inputs = annotation(template_of(each), INPUTS)
        if failed is not None and failed == annotation(each, SPEC_HASH) == spec_hash(service, inputs):
            return inputs
    return annotation((deployment or {}).get("spec", {}).get("template"), INPUTS)


def template_of(revision: Json) -> Template:
    """The pod template in a revision."""
    template: Template = revision["data"]["spec"]["template"]
    return template


def template_hash(template: Template | None) -> str | None:
    """The hash that a template carries."""
    return ((template or {}).get("metadata", {}).get("labels") or {}).get(TEMPLATE_HASH)


def is_complete(deployment: Json) -> bool:
    """Whether the Deployment controller has nothing more to do."""
    status, spec = deployment.get("status", {}), deployment["spec"]
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {spec.get("replicas", 1)} and _seen(deployment)


def ready_templates(deployment: Json | None) -> list[str]:
    """Hashes of the templates that were Ready, the latest first."""
    return (annotation(deployment, PROVEN) or "").split()


def failed_spec(deployment: Json | None) -> str | None:
    """Stands for the spec whose rollout failed and was taken back."""
    return annotation(deployment, FAILED)


def _make_room(
    service: RerankerService,
    goal: str | None,
    deployment: Json | None,
    pods: list[Json],
    now: datetime.datetime,
    *,
    crowded: bool,
) -> tuple[bool, float | None]:
    """Whether pods of other templates make room for those of `goal`, and in how many seconds they will."""
    asked = service.spec.rollout
    if asked.strategy is not RolloutStrategy.AUTO or deployment is None or goal is None:
        return False, None
    if template_hash(deployment["spec"]["template"]) != goal:
        return crowded, None
    if annotation(deployment, REPLACED) == goal:
        return not is_complete(deployment), None
    since = [when for pod in pods if template_hash(pod) == goal and (when := _unschedulable_since(pod)) is not None]
    if not since or all(template_hash(pod) == goal for pod in pods if is_live(pod)):
        return False, None
    left = asked.surge_timeout_seconds - (now - min(since)).total_seconds()
    return left <= 0, max(0.0, left)


def _unschedulable_since(pod: Json) -> datetime.datetime | None:
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return datetime.datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def _seen(deployment: Json) -> bool:
    return int(deployment.get("status", {}).get("observedGeneration", 0)) >= int(
        deployment["metadata"].get("generation", 0)
    )
