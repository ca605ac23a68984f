"""deploy/argocd/health.lua over statuses that the operator's own code makes, and over what is hardly a status."""

from typing import Any

import pytest

from argocd import health
from reranker_operator.api import Condition, ConditionType, Reason
from reranker_operator.api.conditions import Status
from reranker_operator.reconcile.conditions import rejected
from reranker_operator.reconcile.report import bare_status


def resource(status: Any, generation: int = 3) -> dict[str, Any]:
    return {"metadata": {"name": "docs", "generation": generation}, "spec": {}, "status": status}


def conditions(reason: Reason, *, progressing: Status, stalled: Status = Status.FALSE) -> list[Condition]:
    """Ready False for `reason`, as `conditions` would say it."""
    return [
        Condition(ConditionType.PROGRESSING, progressing, Reason.STARTING, "under way"),
        Condition(ConditionType.STALLED, stalled, Reason.NOT_STALLED, "stalled"),
        Condition(ConditionType.READY, Status.FALSE, reason, "not ready"),
    ]


@pytest.mark.parametrize("reason", [Reason.INVALID, Reason.NEWER_VERSION, Reason.HOST_PATH_NOT_ALLOWED])
def test_what_is_not_accepted_is_degraded_in_the_operators_words(reason: Reason) -> None:
    found = health(resource(bare_status(3, rejected(reason, "say what to do"))))
    assert (found.status, found.message) == ("Degraded", "say what to do")


@pytest.mark.parametrize(
    ("reason", "progressing", "expected"),
    [
        (Reason.STARTING, Status.TRUE, "Progressing"),
        (Reason.NOT_FOUND, Status.FALSE, "Progressing"),
        (Reason.RANKING_PENDING, Status.FALSE, "Progressing"),
        (Reason.RANKING_WRONG, Status.FALSE, "Degraded"),
        (Reason.CERTIFICATE_EXPIRED, Status.FALSE, "Degraded"),
        (Reason.KIND_NOT_SERVED, Status.FALSE, "Degraded"),
        (Reason.PAUSED, Status.FALSE, "Suspended"),
    ],
)
def test_not_ready_is_told_apart(reason: Reason, progressing: Status, expected: str) -> None:
    assert health(resource(bare_status(3, conditions(reason, progressing=progressing)))).status == expected


def test_a_status_of_an_earlier_generation_says_nothing() -> None:
    ready = [Condition(ConditionType.READY, Status.TRUE, Reason.READY, "ranking passages")]
    assert health(resource(bare_status(3, ready))).status == "Healthy"
    assert health(resource(bare_status(2, ready))).status == "Progressing"


@pytest.mark.parametrize(
    "status",
    [None, {}, {"observedGeneration": -1}, {"observedGeneration": 3}, {"observedGeneration": 3, "conditions": []}],
)
def test_without_conditions_it_is_waited_for(status: Any) -> None:
    assert health(resource(status)).status == "Progressing"
