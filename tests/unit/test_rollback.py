"""What a service goes back to when a new template fails, and what is kept for that until the new one is Ready."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
from typing import Any

import pytest
from observing import observed

from reranker_operator.api import ConditionType, RerankerService
from reranker_operator.desired import Defaults, Desired, desired
from reranker_operator.desired.given import Given
from reranker_operator.desired.metadata import FAILED, FAILED_WITH, INPUTS, PROVEN, REPLACED, TEMPLATE_HASH
from reranker_operator.desired.revision import revision, spec_hash
from reranker_operator.reconcile.circumstances import Circumstances
from reranker_operator.reconcile.conditions import Facts, conditions
from reranker_operator.reconcile.plan import judge, plan
from reranker_operator.reconcile.rollout import Recalled, inputs_before, recall
from reranker_operator.reconcile.verdicts import Verdicts

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
SURGE, REPLACE = {"maxSurge": 1, "maxUnavailable": 0}, {"maxSurge": 0, "maxUnavailable": 1}


def service(on_failure: str = "Rollback", **pod: Any) -> RerankerService:
    spec = {
        "model": {"source": {"inImage": {"path": "/models/a"}}},
        "replicas": 2,
        "rollout": {"onFailure": on_failure},
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
    live["metadata"].update(generation=9, uid="d", resourceVersion="1")
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


def recalled(live: dict[str, Any], *pods: dict[str, Any], now: Circumstances | None = None) -> Recalled:
    return recall(LATER, None, None, REVISIONS, live, list(pods), NOW, now)


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


BROKEN: Circumstances = {"Secret docs-tls tls.crt": ["1", "broken"], "ServiceAccount other": ["1"]}
WHOLE: Circumstances = {**BROKEN, "Secret docs-tls tls.crt": ["2", "whole"]}
UNKNOWN: Circumstances = {"ServiceAccount other": ["1"]}


def kept(
    live: dict[str, Any], of: Recalled, asked: RerankerService = LATER, *, others: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The Deployment with what this round notes on it; notes of `others` stay, as they have written them, too."""
    before = live["metadata"]["annotations"]

    class Server:
        async def apply(self, document: dict[str, Any], **_: object) -> dict[str, Any]:
            # One field manager's annotations: what it does not name goes.
            theirs = {name: each for name, each in before.items() if name not in NOTES or name in others}
            noted = theirs | document["metadata"]["annotations"]
            version = live["metadata"]["resourceVersion"] + ("" if noted == before else "1")
            return {**live, "metadata": {**live["metadata"], "annotations": noted, "resourceVersion": version}}

    class Cache:
        def __init__(self) -> None:
            self.learned = live

        def learn(self, document: dict[str, Any]) -> None:
            self.learned = document

    cache = Cache()
    wanted = desired(asked, Defaults(), of.given)
    seen = observed(deployment=live)
    facts = Facts(asked, wanted, seen, judge(wanted, seen, NOW), of, live, refused=None)
    status = {"conditions": [{"type": each.type.value, "status": each.status.value} for each in conditions(facts)]}
    is_new = asyncio.run(Verdicts(Server(), cache).keep(facts, status))  # type: ignore[arg-type]
    assert is_new == (cache.learned["metadata"]["annotations"] != before)
    return cache.learned


NOTES = (PROVEN, FAILED, FAILED_WITH)


def out_of_time() -> dict[str, Any]:
    live = deployment(BAD)
    live["status"]["conditions"] = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    return live


def test_a_failed_rollout_is_tried_again_once_what_the_spec_refers_to_has_changed() -> None:
    failed = kept(out_of_time(), recalled(out_of_time()))
    assert failed["metadata"]["annotations"][FAILED] == spec_hash(LATER, None)
    taken_back = deployment(GOOD, **failed["metadata"]["annotations"])
    first = recalled(taken_back, now=BROKEN)
    assert strategy(first)[0] == GOOD.template_hash
    noted = kept(taken_back, first)
    assert json.loads(noted["metadata"]["annotations"][FAILED_WITH]) == BROKEN
    # It stays so, also where nothing can be told for a moment: nothing more is noted.
    for still in (BROKEN, UNKNOWN, {}):
        same = recalled(noted, now=still)
        assert (strategy(same)[0], same.failed) == (GOOD.template_hash, True)
        assert kept(noted, same) is noted
    # The very template again: what is referred to is no part of it.
    changed = recalled(noted, now=WHOLE)
    assert strategy(changed)[0] == BAD.template_hash
    tried = kept(noted, changed)
    assert not {FAILED, FAILED_WITH} & tried["metadata"]["annotations"].keys()
    # Which may fail again, and then waits for the next change.
    again = kept(out_of_time(), recalled(out_of_time()))
    noted = kept(deployment(GOOD, **again["metadata"]["annotations"]), recalled(deployment(GOOD, **FAILURE), now=WHOLE))
    assert recalled(noted, now=WHOLE).failed
    assert not recalled(noted, now=BROKEN).failed


def test_a_rollout_that_was_held_meanwhile_has_failed_no_more() -> None:
    """It may have become Ready since: to roll back again would take pods that serve."""
    held = service("Hold", serviceAccountName="other")
    assert spec_hash(held, None) == spec_hash(LATER, None)
    noted = {FAILED_WITH: json.dumps(BROKEN, sort_keys=True, separators=(",", ":"))}
    live = deployment(GOOD, **FAILURE, **noted)
    of = recall(held, None, None, REVISIONS, live, [], NOW, BROKEN)
    after = kept(live, of, held)
    assert not {FAILED, FAILED_WITH} & after["metadata"]["annotations"].keys()
    assert strategy(recalled(deployment(BAD, **{PROVEN: BAD.template_hash}), now=BROKEN))[0] == BAD.template_hash


def test_a_note_that_somebody_else_holds_on_to_is_no_news() -> None:
    """As where a backup was restored: the round after would find the same, and the next."""
    live = deployment(GOOD, **FAILURE, **{FAILED_WITH: json.dumps(BROKEN, sort_keys=True, separators=(",", ":"))})
    after = kept(live, recalled(live, now=WHOLE), others=(FAILED, FAILED_WITH))
    assert after["metadata"] == live["metadata"]


def test_what_nothing_was_known_of_is_noted_later() -> None:
    """As after an upgrade from an operator that noted nothing: that is no change, and the next one is."""
    taken_back = deployment(GOOD, **FAILURE)
    partly = kept(taken_back, recalled(taken_back, now=UNKNOWN))
    wholly = kept(partly, recalled(partly, now=BROKEN))
    assert json.loads(wholly["metadata"]["annotations"][FAILED_WITH]) == BROKEN
    assert recalled(wholly, now=BROKEN).failed
    assert not recalled(wholly, now=WHOLE).failed


@pytest.mark.parametrize("words", ["{", "[]", '{"a": 1}', '{"a": []}'])
def test_what_somebody_else_wrote_in_the_place_of_the_note_is_none(words: str) -> None:
    assert recalled(deployment(GOOD, **FAILURE, **{FAILED_WITH: words}), now=BROKEN).failed


def test_a_secret_that_cannot_be_read_for_a_moment_leaves_the_earlier_template_serving() -> None:
    """The failed one read it, the one that serves does not: what the latter has read stands for nothing."""
    read = desired(LATER, Defaults(), Given(inputs="a-digest"))
    failed = spec_hash(LATER, "a-digest")
    revisions = [REVISIONS[0], revision(LATER, read.template, failed, 2)]
    live = deployment(GOOD, **{FAILED: failed})
    assert inputs_before(LATER, revisions, live) == "a-digest"
    of = recall(LATER, inputs_before(LATER, revisions, live), None, revisions, live, [], NOW)
    assert strategy(of)[0] == GOOD.template_hash
    # Where none has failed, or the spec has moved on, pods that run have read what their template says.
    running = deployment(read)
    assert running["spec"]["template"]["metadata"]["annotations"][INPUTS] == "a-digest"
    assert inputs_before(LATER, revisions, running) == "a-digest"
    assert inputs_before(EARLIER, revisions, live) is None
