"""Report, second half: write the status, only where it changed, and say in an event what changed."""

import datetime
import math
from collections.abc import Callable
from typing import Any

from reranker_operator.api import Condition, ConditionType, EventReason, Identity, Reason
from reranker_operator.api.conditions import Status
from reranker_operator.api.resource import API_VERSION, KIND
from reranker_operator.desired.metadata import RANKING, selector
from reranker_operator.desired.service import endpoint
from reranker_operator.kube import Kube
from reranker_operator.kube.events import Recorder
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.conditions import Facts

PROBE_SECONDS = 3600.0
"""How old what the status says of the last ranking may be, while nothing changes."""
STATUS_MANAGER = "reranker-operator-status"
"""An owner of its own, so that applying the status never takes the spec's fields along."""


def status_of(facts: Facts, made: list[Condition], previous: dict[str, Any]) -> dict[str, Any]:
    """The whole status of a service that was acted upon, without conditions' times."""
    service, deployment = facts.service, facts.deployment or {}
    counts = deployment.get("status", {})
    report = facts.verdict.report
    model: dict[str, Any] = {"name": service.spec.served_name}
    if report is not None and report.ok:
        known = report.to_json()
        model |= {
            key: known[key] for key in ("digest", "architecture", "parameters", "dtype", "maxTokens") if key in known
        }
    elif facts.verdict.verified and facts.wanted.model_job is not None:
        # The Job that said so may be gone, or be running again; what it found still holds for what is served.
        model = {**(previous.get("model") or {}), **model}
    return {
        "replicas": counts.get("replicas", 0),
        "readyReplicas": counts.get("readyReplicas", 0),
        "selector": ",".join(f"{key}={value}" for key, value in selector(service, RANKING).items()),
        "endpoint": endpoint(service),
        "model": model,
        **_probe(facts, made, previous),
        **bare_status(service.generation, made),
    }


def _probe(facts: Facts, made: list[Condition], previous: dict[str, Any]) -> dict[str, Any]:
    """The last ranking that came back right: told when that is news, else at most once an hour."""
    probe, told = facts.probe, previous.get("probe")
    if probe is None or probe.milliseconds is None:
        return {"probe": told} if told else {}
    before = {each["type"]: each["status"] for each in previous.get("conditions") or ()}
    now = {each.type.value: each.status.value for each in made}
    kind = ConditionType.RANKING_VERIFIED.value
    age = (probe.at - datetime.datetime.fromisoformat(told["at"])).total_seconds() if told else math.inf
    if told and before.get(kind) == now[kind] and age < PROBE_SECONDS:
        return {"probe": told}
    at = probe.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"probe": {"passages": probe.passages, "milliseconds": probe.milliseconds, "at": at}}


def bare_status(generation: int, made: list[Condition]) -> dict[str, Any]:
    """The part of the status that every service has, accepted or not."""
    return {
        "observedGeneration": generation,
        "conditions": [
            {
                "type": each.type.value,
                "status": each.status.value,
                "reason": each.reason.value,
                "message": each.message,
                "observedGeneration": generation,
            }
            for each in made
        ],
    }


def failing_status(generation: int, words: str, previous: dict[str, Any]) -> dict[str, Any]:
    """The status of a service that the server keeps from being looked at: what was found out before stays.

    Every condition says of which generation it speaks.
    """
    said = f"{words}; it is tried again"
    made = [
        Condition(ConditionType.ACCEPTED, Status.UNKNOWN, Reason.SERVER_FAILING, said),
        Condition(ConditionType.PROGRESSING, Status.TRUE, Reason.SERVER_FAILING, said),
        Condition(ConditionType.READY, Status.FALSE, Reason.SERVER_FAILING, said),
    ]
    status = bare_status(generation, made)
    now = {each["type"]: each for each in status["conditions"]}
    before = {each["type"]: each for each in previous.get("conditions") or ()}
    known = [found for kind in ConditionType if (found := now.get(kind.value) or before.get(kind.value)) is not None]
    return {**previous, **status, "conditions": known}


class Reporter:
    """Writes statuses and events."""

    def __init__(self, kube: Kube, cache: Cache, recorder: Recorder, now: Callable[[], datetime.datetime]) -> None:
        self._kube, self._cache = kube, cache
        self._recorder = recorder
        self._now = now

    async def write(self, identity: Identity, status: dict[str, Any], previous: dict[str, Any]) -> bool:
        """Write `status` unless `previous` says the same; a condition's time moves only when its status does.

        Returns whether it was written.
        """
        before = {each["type"]: each for each in previous.get("conditions") or ()}
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        for each in status["conditions"]:
            old = before.get(each["type"])
            unmoved = old is not None and old["status"] == each["status"]
            each["lastTransitionTime"] = old["lastTransitionTime"] if old is not None and unmoved else stamp
        if status == previous:
            return False
        document = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid},
            "status": status,
        }
        self._cache.learn(await self._kube.apply(document, manager=STATUS_MANAGER, subresource="status"))
        for each in status["conditions"]:
            if is_news(before.get(each["type"]), each):
                await self._say(identity, each)
        return True

    async def made_room(self, service: Identity, template: str) -> None:
        """Say that an old pod goes first."""
        words = f"a pod of template {template} fits no node: one of an earlier template makes room for it"
        await self._recorder.record(service, EventReason.MAKING_ROOM, words)

    async def repaired(self, service: Identity, words: list[str]) -> None:
        """Say what was put back."""
        for each in words:
            await self._recorder.record(service, EventReason.REPAIRED, each)

    async def _say(self, service: Identity, condition: dict[str, Any]) -> None:
        words = f"{condition['type']}: {condition['message']}"
        await self._recorder.record(service, Reason(condition["reason"]), words, warning=is_warning(condition))


_NOBODY_LOOKED = frozenset((Reason.RANKING_PENDING, Reason.NOT_ROLLED_OUT, Reason.UNAVAILABLE, Reason.PAUSED))


def is_warning(condition: dict[str, Any]) -> bool:
    """Whether the event of a condition is a warning."""
    quiet, stalled = ConditionType.PROGRESSING.value, ConditionType.STALLED.value
    failed: bool = condition["status"] == Status.FALSE.value and condition["type"] != quiet
    return condition["type"] == stalled or failed


def is_news(old: dict[str, Any] | None, new: dict[str, Any]) -> bool:
    """Whether a condition is worth an event: it changed, and no other condition tells the same."""
    if old is not None and (old["status"], old["reason"]) == (new["status"], new["reason"]):
        return False
    kind, good = ConditionType(new["type"]), bool(new["status"] == Status.TRUE.value)
    if kind in (ConditionType.AVAILABLE, ConditionType.STALLED):
        return bool(new["reason"] == Reason.ROLLED_BACK)  # all else is told by another
    if new["status"] == Status.UNKNOWN.value and (old is None or new["reason"] in _NOBODY_LOOKED):
        return False  # what is waited for has an event of its own
    if kind is ConditionType.READY or kind is ConditionType.PROGRESSING:
        return good  # what stands in the way has an event of its own; an end of progress is Ready
    return old is not None or not good  # that a new service is in order needs no saying
