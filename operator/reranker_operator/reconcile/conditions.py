"""Report, first half: decide every condition from facts. Pure, and keyed by the pod template's hash, so that scaling
does not shake them and a changed spec is never Ready on the old pods."""

from dataclasses import dataclass
from typing import Any

from reranker_operator.api import Condition, ConditionType, Reason, RerankerService
from reranker_operator.api.conditions import Status
from reranker_operator.desired import Desired
from reranker_operator.desired.deployment import asked_replicas
from reranker_operator.desired.metadata import TEMPLATE_HASH
from reranker_operator.reconcile.admission import claim_trouble
from reranker_operator.reconcile.observe import Observed
from reranker_operator.reconcile.plan import ModelVerdict, template_hash
from reranker_operator.reconcile.probe import Probe
from reranker_operator.reconcile.progress import Cause, cause_of, deployment_condition, is_live, is_ready, out_of_time
from reranker_operator.reconcile.rollout import Recalled
from reranker_operator.reconcile.rollout import template_hash as hash_of
from reranker_operator.reconcile.scaling.handover import live_replicas


@dataclass(frozen=True)
class Facts:
    """Everything that the conditions of one service are decided from."""

    service: RerankerService
    wanted: Desired
    observed: Observed
    verdict: ModelVerdict
    recalled: Recalled
    """What earlier rounds decided."""
    deployment: dict[str, Any] | None
    """The Deployment after this round's apply."""
    refused: str | None
    """What the server said when it refused a child."""
    failing: str | None = None
    """What went wrong on the way to the server, which is tried again."""
    probe: Probe | None = None
    """The last real ranking of this template."""
    told: dict[str, Any] | None = None
    """What the status says of an earlier one, before this process has asked: a restart changes nothing."""
    leaving: str | None = None
    """An object of an earlier service of this name that must go first."""

    @property
    def rolled_out(self) -> bool:
        """Whether the Deployment controller has seen this template and finished rolling it out once."""
        if self.deployment is None or template_hash(self.deployment) != self.wanted.template_hash:
            return False
        if not self._seen:
            # Not yet seen: a change of the template if none of its pods is there, of the scale if no others are.
            living = {hash_of(pod) for pod in self.observed.pods if is_live(pod)}
            return bool(self.ready_pods) and living == {self.wanted.template_hash}
        return deployment_condition(self.deployment, "Progressing").get("reason") == "NewReplicaSetAvailable"

    @property
    def replicas(self) -> int:
        """Pods that are asked for: by the Deployment where an autoscaler decides, else by the spec."""
        if self.recalled.given.scaled and self.deployment is not None:
            return live_replicas(self.deployment)
        return asked_replicas(self.service)

    @property
    def current_pods(self) -> list[dict[str, Any]]:
        """Pods of this template."""
        pods = self.observed.pods
        return [
            pod for pod in pods if (pod["metadata"].get("labels") or {}).get(TEMPLATE_HASH) == self.wanted.template_hash
        ]

    @property
    def ready_pods(self) -> int:
        """Pods of this template that can rank."""
        return sum(map(is_ready, self.current_pods))

    @property
    def old_pods(self) -> int:
        """Pods of other templates that can rank."""
        return sum(map(is_ready, self.observed.pods)) - self.ready_pods

    @property
    def deadline_exceeded(self) -> str | None:
        """The Deployment controller's words when this template's rollout ran out of time."""
        if template_hash(self.deployment) != self.wanted.template_hash or not self._seen:
            return None
        return out_of_time(self.deployment)

    def cause(self) -> Cause | None:
        """What the pods of this template wait for."""
        failing = deployment_condition(self.deployment, "ReplicaFailure")
        refused = failing.get("message") if self._seen and failing.get("status") == "True" else None
        return cause_of(self.current_pods, refused)

    @property
    def _seen(self) -> bool:
        """Whether the Deployment controller has looked at the Deployment as it is now."""
        deployment = self.deployment or {"metadata": {}}
        seen: int = deployment.get("status", {}).get("observedGeneration", 0)
        return seen >= int(deployment["metadata"].get("generation", 0))


def conditions(facts: Facts) -> list[Condition]:
    """Every condition, in the order of `ConditionType`."""
    accepted = _accepted(facts)
    references, model, available = _references(facts), _model(facts), _available(facts)
    ranking = _ranking(facts, available)
    held = next((each for each in (accepted, references, model) if each.status is Status.FALSE), None)
    # An Ingress or the like that cannot be holds nothing up.
    progressing = _progressing(facts, None if held is not None and held.reason is Reason.KIND_NOT_SERVED else held)
    stalled = _stalled(facts, accepted, model)
    ready = _ready(facts, held, stalled, available, ranking, progressing)
    return [accepted, references, model, available, ranking, progressing, stalled, ready]


def rejected(reason: Reason, message: str) -> list[Condition]:
    """The conditions of a spec that the operator does not act upon."""
    unknown = [
        Condition(kind, Status.UNKNOWN, reason, "not looked at: the spec is not accepted")
        for kind in (
            ConditionType.REFERENCES_RESOLVED,
            ConditionType.MODEL_VERIFIED,
            ConditionType.AVAILABLE,
            ConditionType.RANKING_VERIFIED,
        )
    ]
    return [
        _false(ConditionType.ACCEPTED, reason, message),
        *unknown,
        _false(ConditionType.PROGRESSING, Reason.HELD, message),
        _true(ConditionType.STALLED, reason, message),
        _false(ConditionType.READY, reason, message),
    ]


def _accepted(facts: Facts) -> Condition:
    kind = ConditionType.ACCEPTED
    if facts.refused is not None:
        return _false(kind, Reason.CHILD_REFUSED, facts.refused)
    if facts.failing is not None:
        return Condition(kind, Status.UNKNOWN, Reason.SERVER_FAILING, f"{facts.failing}; it is tried again")
    accepted = "the spec is valid, and the server accepted every object sent so far"
    autoscaling = facts.service.spec.autoscaling
    most = autoscaling.max_replicas if autoscaling is not None else facts.service.spec.replicas
    trouble = claim_trouble(facts.service, facts.observed.claim, most)
    if trouble is not None and trouble.hopeless:
        return _false(kind, Reason.CLAIM_NOT_SHARED, trouble.message)
    return _true(kind, Reason.ACCEPTED, accepted if trouble is None else f"{accepted}, but {trouble.message}")


def _references(facts: Facts) -> Condition:
    kind = ConditionType.REFERENCES_RESOLVED
    if facts.observed.missing:
        listed = "; ".join(map(str, facts.observed.missing))
        return _false(kind, Reason.NOT_FOUND, f"{listed}. Create what is missing: the service then goes on by itself")
    if facts.observed.unserved:
        listed = "; ".join(
            f"the cluster serves no {each.kind}, which {each.field} asks for" for each in facts.observed.unserved
        )
        return _false(
            kind, Reason.KIND_NOT_SERVED, f"{listed}. Install its CustomResourceDefinition, or leave the field out"
        )
    unchecked = ", ".join(facts.observed.unchecked)
    note = f" (not checked, the operator may not read it: {unchecked})" if unchecked else ""
    return _true(kind, Reason.RESOLVED, f"everything that the spec names exists{note}")


def _model(facts: Facts) -> Condition:
    kind, verdict = ConditionType.MODEL_VERIFIED, facts.verdict
    job = facts.wanted.job_name
    if job is None:
        unseen = "NVIDIA's image downloads its model by itself: there is nothing to verify beforehand"
        return Condition(kind, Status.UNKNOWN, Reason.NOT_APPLICABLE, unseen)
    if verdict.verified:
        report = verdict.report
        found = f": {report.architecture}, {report.digest}" if report is not None and report.ok else ""
        return _true(kind, Reason.VERIFIED, f"the model is complete and may be served{found}")
    if verdict.refused:
        report = verdict.report
        remedy = f"Change the spec, or put the model right and delete Job {job} to have it checked again"
        if report is not None and not report.ok:
            reason = Reason.DIGEST_MISMATCH if report.reason == "DigestMismatch" else Reason.MODEL_REFUSED
            return _false(kind, reason, f"{report.message} ({report.reason}). {remedy}")
        return _false(kind, Reason.VERIFICATION_FAILED, f"Job {job} failed: {verdict.words}. {remedy}")
    return Condition(kind, Status.UNKNOWN, Reason.VERIFYING, f"Job {job} has not reached a verdict")


def _available(facts: Facts) -> Condition:
    kind = ConditionType.AVAILABLE
    if facts.replicas == 0:
        return _false(kind, Reason.PAUSED, "spec.replicas is 0: nothing is served until it is raised")
    if not facts.rolled_out:
        old = facts.old_pods
        serving = f"; {old} pod(s) of an earlier template go on serving" if old else ""
        return _false(kind, Reason.NOT_ROLLED_OUT, f"this template is not rolled out{serving}")
    if not facts.ready_pods:
        return _false(kind, Reason.UNAVAILABLE, "no pod is ready")
    some, every = facts.ready_pods, facts.replicas
    if some < every:
        verb = "is" if some == 1 else "are"
        few = (
            f"{some} of {every} pods {verb} ready, each after a warm-up ranking; Progressing names what others wait for"
        )
        return _true(kind, Reason.AVAILABLE, few)
    return _true(kind, Reason.AVAILABLE, "pods of this template are ready, each after a warm-up ranking")


_TOLD = frozenset(
    (
        Reason.RANKED,
        Reason.RANKING_WRONG,
        Reason.UNREACHABLE,
        Reason.NO_KEY,
        Reason.OVERLOADED,
        Reason.CERTIFICATE_EXPIRES,
        Reason.CERTIFICATE_PENDING,
        Reason.CERTIFICATE_EXPIRED,
    )
)
"""What an earlier operator said after it had asked."""


def _ranking(facts: Facts, available: Condition) -> Condition:
    kind, probe = ConditionType.RANKING_VERIFIED, facts.probe
    if available.status is not Status.TRUE:
        return Condition(kind, Status.UNKNOWN, available.reason, "not asked: no pod of this template is ready")
    told = facts.told
    if probe is None and told is not None and told["reason"] in _TOLD:
        return Condition(kind, Status(told["status"]), Reason(told["reason"]), told["message"])
    if probe is None:
        return Condition(kind, Status.UNKNOWN, Reason.RANKING_PENDING, "a first ranking is being asked for")
    return Condition(kind, probe.status, probe.reason, probe.message)


def _progressing(facts: Facts, held: Condition | None) -> Condition:
    kind = ConditionType.PROGRESSING
    if held is not None:
        return _false(kind, Reason.HELD, f"waiting for {held.type} to be put right")
    if facts.failing is not None:
        return _true(kind, Reason.SERVER_FAILING, f"{facts.failing}; it is tried again")
    if facts.leaving is not None:
        earlier = f"{facts.leaving} of the earlier service of this name is being removed"
        return _true(kind, Reason.WAITING_FOR_DEPLOYMENT, earlier)
    if facts.recalled.fell_back:
        return _false(kind, Reason.HELD, _rolled_back(facts))
    if not facts.verdict.verified:
        cause = cause_of(facts.observed.job_pods, facts.observed.refused_job_pods)
        if cause is None or cause.reason in (Reason.WARMING_UP, Reason.STARTING):
            return _true(kind, Reason.VERIFYING, f"Job {facts.wanted.job_name} reads the model")
        return _true(kind, cause.reason, f"verifying the model: {cause.message}")
    if facts.deployment is None or template_hash(facts.deployment) != facts.wanted.template_hash:
        return _true(kind, Reason.WAITING_FOR_DEPLOYMENT, "the Deployment is being updated")
    enough = facts.ready_pods >= facts.replicas and not facts.old_pods
    if facts.rolled_out and enough:
        return _false(kind, Reason.COMPLETE, "nothing is under way")
    if (cause := facts.cause()) is not None:
        return _true(kind, cause.reason, f"{cause.message}{_room(facts, cause)}")
    return _true(kind, Reason.WAITING_FOR_DEPLOYMENT, "waiting for the Deployment controller")


def _room(facts: Facts, cause: Cause) -> str:
    """What is done about a pod that fits no node."""
    if cause.reason is not Reason.UNSCHEDULABLE or not facts.old_pods:
        return ""
    if facts.recalled.given.make_room:
        return "; a pod of the earlier template makes room for it"
    if facts.recalled.switch_in is not None:
        return f"; if it stays so for {facts.service.spec.rollout.surge_timeout_seconds} s, an earlier one makes room"
    return "; set spec.rollout.strategy to Auto or Replace to let an earlier one make room"


def _rolled_back(facts: Facts) -> str:
    serving = hash_of(facts.recalled.given.fallback)
    return (
        f"the rollout of this spec (template {facts.wanted.template_hash}) failed, and the last template that was "
        f"Ready ({serving}) serves again. Correct the spec, or what it refers to; events tell what had failed"
    )


def _stalled(facts: Facts, accepted: Condition, model: Condition) -> Condition:
    kind = ConditionType.STALLED
    if facts.recalled.fell_back:
        return _true(kind, Reason.ROLLED_BACK, _rolled_back(facts))
    for blocking in (accepted, model):
        if blocking.status is Status.FALSE:
            return _true(kind, blocking.reason, blocking.message)
    if (words := facts.deadline_exceeded) is not None:
        cause = facts.cause()
        return _true(kind, Reason.DEADLINE_EXCEEDED, f"{words} {cause.message if cause else ''}".strip())
    return _false(kind, Reason.NOT_STALLED, "nothing stands in the way for good")


def _ready(
    facts: Facts,
    held: Condition | None,
    stalled: Condition,
    available: Condition,
    ranking: Condition,
    progressing: Condition,
) -> Condition:
    kind = ConditionType.READY
    blocking = held or (stalled if stalled.status is Status.TRUE else None)
    if blocking is not None:
        return _false(kind, blocking.reason, blocking.message)
    if facts.failing is not None:
        return _false(kind, progressing.reason, progressing.message)
    if available.status is not Status.TRUE:
        # What it waits for says more than that it waits.
        why = progressing if progressing.status is Status.TRUE else available
        return _false(kind, why.reason, f"{available.message}: {why.message}" if why is progressing else why.message)
    status = (facts.deployment or {}).get("status", {})
    if status.get("updatedReplicas", 0) != status.get("replicas", 0):
        return _false(kind, Reason.NOT_ROLLED_OUT, "pods of an earlier template are still being replaced")
    if ranking.status is Status.FALSE or ranking.reason is Reason.RANKING_PENDING:
        return _false(kind, ranking.reason, ranking.message)
    return _true(kind, Reason.READY, "ranking passages")


def _true(kind: ConditionType, reason: Reason, message: str) -> Condition:
    return Condition(kind, Status.TRUE, reason, message)


def _false(kind: ConditionType, reason: Reason, message: str) -> Condition:
    return Condition(kind, Status.FALSE, reason, message)
