"""What a service goes back to when a new template fails, and what is kept for that until the new one is Ready."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest
from observing import observed

from reranker_operator.api import ConditionType, RerankerService
from reranker_operator.desired import Defaults, Desired, desired
from reranker_operator.desired.metadata import FAILED, PROVEN, REPLACED, TEMPLATE_HASH
from reranker_operator.desired.revision import revision, spec_hash
from reranker_operator.reconcile.conditions import Facts, conditions
from reranker_operator.reconcile.plan import judge, plan
from reranker_operator.reconcile.rollout import Recalled, recall

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
SURGE, REPLACE = {"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1}


def service(**pod: Any) -> RerankerService:
    spec = {
        "model": {"source": {"inImage": {"path": "/models/a"}}},
        "replicas": 2,
        "rollout": {"onFailure": "Rollback"},
        "pod": pod,
    }
    metadata = {"name": "docs", "namespace": "search", "uid": "7", "generation": 2}
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": metadata}
    return RerankerService.parse({**document, "spec": spec})


EARLIER, LATER = service(), service(serviceAccountName="other")
GOOD, BAD = desired(EARLIER, Defaults()), desired(LATER, Defaults())
REVISIONS = [
    revision(each, wanted.template, spec_hash(each, None), number)
    for number, (each, wanted) in enumerate(((EARLIER, GOOD), (LATER, BAD)), start=1)
]


def deployment(of: Desired, **notes: str) -> dict[str, Any]:
    """Half rolled out."""
    live = copy.deepcopy(of.deployment)
    live["metadata"].update(generation=9, uid="d")
    live["metadata"].setdefault("annotations", {}).update({PROVEN: GOOD.template_hash, **notes})
    live["status"] = {"observedGeneration": 9, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}
    return live


def pod(of: Desired, *, ready: bool = False, fits: bool = True) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    if not fits:
        since = {"lastTransitionTime": "2026-11-22T11:00:00Z"}
        conditions.append({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", **since})
    return {
        "metadata": {"name": "pod", "labels": {TEMPLATE_HASH: of.template_hash}},
        "spec": {"serviceAccountName": "other"},
        "status": {"conditions": conditions},
    }


def recalled(live: dict[str, Any], *pods: dict[str, Any]) -> Recalled:
    return recall(LATER, None, None, REVISIONS, live, list(pods), NOW)


def strategy(of: Recalled) -> tuple[str, dict[str, int]]:
    made = desired(LATER, Defaults(), of.given).deployment["spec"]
    return made["template"]["metadata"]["labels"][TEMPLATE_HASH], made["strategy"]["rollingUpdate"]


FAILURE = {FAILED: spec_hash(LATER, None)}


def test_the_failed_template_makes_room_for_the_one_that_is_gone_back_to() -> None:
    """There was no room for both before, and one of its pods is Ready: that would hold its GPU for ever."""
    begins = recalled(deployment(BAD, **FAILURE, **{REPLACED: BAD.template_hash}), pod(BAD, ready=True), pod(BAD))
    assert begins.room_for == GOOD.template_hash
    assert strategy(begins) == (GOOD.template_hash, REPLACE)
    goes_on = recalled(deployment(GOOD, **FAILURE, **{REPLACED: GOOD.template_hash}), pod(BAD, ready=True))
    assert goes_on.room_for is None
    assert strategy(goes_on) == (GOOD.template_hash, REPLACE)
    crowded = recalled(deployment(GOOD, **FAILURE), pod(BAD, ready=True), pod(GOOD, fits=False))
    assert strategy(crowded) == (GOOD.template_hash, REPLACE)


def test_where_there_was_room_for_both_the_failed_template_goes_last() -> None:
    assert strategy(recalled(deployment(BAD, **FAILURE), pod(BAD, ready=True))) == (GOOD.template_hash, SURGE)


def test_a_pod_at_its_end_needs_nobody_to_make_room() -> None:
    evicted = pod(BAD) | {"status": {"phase": "Failed"}}
    live = deployment(GOOD)
    assert recall(EARLIER, None, None, REVISIONS, live, [evicted, pod(GOOD, fits=False)], NOW).room_for is None
    assert recall(EARLIER, None, None, REVISIONS, live, [pod(BAD), pod(GOOD, fits=False)], NOW).room_for is not None


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_scaling_shakes_no_condition_where_an_earlier_pod_has_come_to_its_end(phase: str) -> None:
    """Just scaled, and not looked at by the Deployment controller: whether the template is new is told by the pods."""
    live = deployment(GOOD)
    live["metadata"]["generation"] += 1
    ended = pod(BAD) | {"status": {"phase": phase}}
    of = recall(EARLIER, None, None, REVISIONS, live, [], NOW)
    wanted = desired(EARLIER, Defaults(), of.given)

    def available(*pods: dict[str, Any]) -> str:
        seen = observed(deployment=live, pods=list(pods))
        facts = Facts(EARLIER, wanted, seen, judge(wanted, seen, NOW), of, live, refused=None)
        return next(each.status for each in conditions(facts) if each.type is ConditionType.AVAILABLE)

    assert available(pod(GOOD, ready=True), ended) == "True"
    assert available(pod(GOOD, ready=True), pod(BAD)) == "False"


@pytest.mark.parametrize("is_ready", [False, True])
def test_what_the_earlier_template_needs_is_kept_until_the_later_one_is_ready(is_ready: bool) -> None:
    account = copy.deepcopy(GOOD.service_account)
    assert account is not None
    account["metadata"]["uid"] = "a"
    proven = {PROVEN: f"{BAD.template_hash} {GOOD.template_hash}"} if is_ready else {}
    live = deployment(BAD, **proven)
    seen = observed(service_account=account, deployment=live, pods=[pod(BAD)])
    of = recalled(live, pod(BAD))
    wanted = desired(LATER, Defaults(), of.given)
    assert (account in plan(LATER, wanted, seen, judge(wanted, seen, NOW), of, NOW).delete) == is_ready
