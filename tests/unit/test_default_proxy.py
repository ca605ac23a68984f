"""The operator's default of spec.proxy changes: what has served is left alone, what could not download tries again."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

import pytest
from observing import observed

from reranker_operator.api import RerankerService
from reranker_operator.api.proxy import DefaultProxy
from reranker_operator.desired import Defaults, Desired, desired
from reranker_operator.desired.metadata import FAILED, FAILED_WITH, PROVEN
from reranker_operator.desired.revision import default_of_pods, revision, spec_hash
from reranker_operator.reconcile.plan import Plan, judge, plan
from reranker_operator.reconcile.references import Missing, References, default_authorities
from reranker_operator.reconcile.rollout import Recalled, recall

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
HUB = {"model": {"source": {"huggingFace": {"repository": "a/b", "revision": "0" * 40, "cache": {"size": "1Gi"}}}}}
NIM = {"runtime": "NIM", "image": {"repository": "registry.example/nim", "tag": "1"}}


def default(number: int | None) -> Defaults:
    """None, or one of several."""
    if number is None:
        return Defaults()
    return Defaults(proxy=DefaultProxy.of(None, f"http://proxy-{number}.example:3128", None, f"authorities-{number}"))


def asked(spec: dict[str, Any], by: Defaults) -> RerankerService:
    metadata = {"name": "docs", "namespace": "search", "uid": "7"}
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": metadata, "spec": spec}
    return by.fill(RerankerService.parse(document))


class Running:
    """What an operator with one default made; and what one with another makes of it."""

    def __init__(self, spec: dict[str, Any], before: Defaults) -> None:
        self._spec = spec
        service = asked(spec, before)
        self.made = desired(service, before)
        self.revision = revision(service, self.made.template, spec_hash(service, None), 1)
        self.deployment = copy.deepcopy(self.made.deployment)
        self.deployment["metadata"].update(uid="d", resourceVersion="1")
        self.deployment["status"] = {}

    def note(self, name: str, said: str) -> None:
        self.deployment["metadata"].setdefault("annotations", {})[name] = said

    def recalled(self, by: Defaults, now: dict[str, list[str]] | None = None) -> Recalled:
        return recall(asked(self._spec, by), None, None, [self.revision], self.deployment, [], NOW, now)

    def wanted(self, by: Defaults) -> Desired:
        return desired(asked(self._spec, by), by, self.recalled(by).given)

    def missing(self, by: Defaults, *, deployed: bool = True) -> list[str]:
        """What is said to be missing where none of the defaults' certificates are there."""
        service, deployment = asked(self._spec, by), self.deployment if deployed else None
        named = default_authorities(service, deployment)
        nowhere = References([], [], None, None, missing_authorities=tuple(Missing(each, "search") for each in named))
        found = nowhere.used_by(service, self.wanted(by), deployment).missing
        return [each.reference.name for each in found]


@pytest.mark.parametrize(("before", "after"), [(None, 1), (1, None), (1, 2)])
def test_pods_that_have_served_keep_what_they_were_told(before: int | None, after: int | None) -> None:
    nim = Running(NIM, default(before))
    nim.note(PROVEN, nim.made.template_hash)
    assert nim.wanted(default(after)).template == nim.made.template
    # What they mount is looked for, not what others would.
    assert nim.missing(default(after)) == ([f"authorities-{before}"] if before else [])


@pytest.mark.parametrize(("before", "after"), [(None, 1), (1, None), (1, 2)])
def test_pods_that_never_served_are_told_of_the_new_default(before: int | None, after: int | None) -> None:
    nim = Running(NIM, default(before))
    assert nim.wanted(default(before)).template == nim.made.template
    changed = nim.wanted(default(after))
    assert changed.template != nim.made.template
    assert changed.template == Running(NIM, default(after)).made.template
    assert nim.missing(default(after)) == ([f"authorities-{after}"] if after else [])
    # Its record is one beside the other's.
    again = revision(asked(NIM, default(after)), changed.template, spec_hash(asked(NIM, default(after)), None), 2)
    assert again["metadata"]["name"] != nim.revision["metadata"]["name"]


def test_a_rollout_that_was_taken_back_is_tried_again_with_a_new_default() -> None:
    nim = Running(NIM, default(1))
    nim.note(FAILED, spec_hash(asked(NIM, default(1)), None))
    same, other = ({"default of spec.proxy": [str(default_of_pods(asked(NIM, default(each))))]} for each in (1, 2))
    nim.note(FAILED_WITH, json.dumps(same))
    assert nim.recalled(default(1), same).failed
    assert not nim.recalled(default(2), other).failed


def ended(job: dict[str, Any], how: str | None) -> dict[str, Any]:
    conditions = [{"type": how, "status": "True", "lastTransitionTime": "2026-11-22T11:59:00Z"}] if how else []
    return {**job, "status": {"conditions": conditions, "completionTime": "2026-11-22T11:00:00Z"}}


def planned(hub: Running, by: Defaults, job: dict[str, Any], *, proven: bool) -> Plan:
    wanted = hub.wanted(by)
    assert wanted.job_name == hub.made.job_name
    seen = observed(job=job, deployment=hub.deployment if proven else None)
    return plan(asked(HUB, by), wanted, seen, judge(wanted, seen, NOW), hub.recalled(by), NOW)


@pytest.mark.parametrize(("before", "after"), [(None, 1), (1, None), (1, 2)])
def test_a_model_that_was_verified_is_not_downloaded_again(before: int | None, after: int | None) -> None:
    hub = Running(HUB, default(before))
    assert hub.made.model_job is not None
    done = ended(hub.made.model_job, "Complete")
    found = planned(hub, default(after), done, proven=True)
    assert "Job" not in {each["kind"] for each in (*found.apply, *found.delete)}
    assert hub.wanted(default(after)).template == hub.made.template
    # Nor does it wait for certificates that nothing of it reads any more.
    assert hub.missing(default(after)) == []


@pytest.mark.parametrize("how", [None, "Failed"])
@pytest.mark.parametrize(("before", "after"), [(None, 1), (1, None), (1, 2)])
def test_a_download_that_did_not_end_well_is_begun_anew(before: int | None, after: int | None, how: str | None) -> None:
    hub = Running(HUB, default(before))
    assert hub.made.model_job is not None
    job = ended(hub.made.model_job, how)
    found = planned(hub, default(after), job, proven=False)
    assert found.delete == [job]
    assert "Job" not in {each["kind"] for each in found.apply}
    assert hub.missing(default(after), deployed=False) == ([f"authorities-{after}"] if after else [])
    # By the same default it is let be.
    assert job not in planned(hub, default(before), ended(hub.made.model_job, None), proven=False).delete
