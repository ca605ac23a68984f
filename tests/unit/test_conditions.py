"""What conditions say of a template whose pods are ready in part."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest
from observing import observed

from reranker_operator.api import Condition, ConditionType, Reason, RerankerService
from reranker_operator.api.conditions import Status
from reranker_operator.desired import Defaults, desired
from reranker_operator.desired.metadata import TEMPLATE_HASH
from reranker_operator.reconcile.conditions import Facts, conditions
from reranker_operator.reconcile.plan import judge
from reranker_operator.reconcile.rollout import recall

NOW = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)


def found(ready: int, replicas: int) -> dict[ConditionType, Condition]:
    """The conditions of a template that is rolled out, of whose pods so many are ready; the others fit no node."""
    spec = {"model": {"source": {"inImage": {"path": "/models/a"}}}, "replicas": replicas}
    metadata = {"name": "docs", "namespace": "search", "uid": "7", "generation": 2}
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": metadata, "spec": spec}
    service = RerankerService.parse(document)
    recalled = recall(service, None, None, [], None, [], NOW)
    wanted = desired(service, Defaults(), recalled.given)
    live = copy.deepcopy(wanted.deployment)
    live["status"] = {"conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}
    unfit = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient GPUs"}
    pods: list[dict[str, Any]] = [
        {
            "metadata": {"name": f"docs-{number}", "labels": {TEMPLATE_HASH: wanted.template_hash}},
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"} if number < ready else unfit]},
        }
        for number in range(replicas)
    ]
    seen = observed(deployment=live, pods=pods)
    facts = Facts(service, wanted, seen, judge(wanted, seen, NOW), recalled, live, refused=None)
    return {each.type: each for each in conditions(facts)}


@pytest.mark.parametrize(("ready", "said"), [(1, "1 of 5 pods is ready, "), (4, "4 of 5 pods are ready, ")])
def test_one_pod_that_ranks_is_enough_and_how_many_do_is_said(ready: int, said: str) -> None:
    few = found(ready, 5)
    available = few[ConditionType.AVAILABLE]
    assert (available.status, available.reason) == (Status.TRUE, Reason.AVAILABLE)
    assert available.message.startswith(said)
    assert "Progressing" in available.message
    progressing = few[ConditionType.PROGRESSING]
    assert (progressing.status, progressing.reason) == (Status.TRUE, Reason.UNSCHEDULABLE)
    assert "Insufficient GPUs" in progressing.message


def test_where_all_are_ready_it_speaks_of_no_number() -> None:
    """A number would have every service's status written each time that it is scaled."""
    every = [found(count, count)[ConditionType.AVAILABLE] for count in (1, 2, 5)]
    assert {each.status for each in every} == {Status.TRUE}
    assert {each.message for each in every} == {"pods of this template are ready, each after a warm-up ranking"}


def test_none_is_not_enough() -> None:
    none = found(0, 5)[ConditionType.AVAILABLE]
    assert (none.status, none.reason) == (Status.FALSE, Reason.UNAVAILABLE)
