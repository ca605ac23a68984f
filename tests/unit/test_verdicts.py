"""What the model Job's containers say becomes a verdict, a reason to try again, or words for the status."""

from __future__ import annotations

import datetime
import json
from typing import Any

import observing
import pytest

from reranker_operator.api import Reason, RerankerService
from reranker_operator.desired import Defaults, Desired, Given, desired
from reranker_operator.reconcile.observe import Observed
from reranker_operator.reconcile.plan import Plan, judge, plan
from reranker_operator.reconcile.progress import cause_of
from reranker_operator.reconcile.rollout import Recalled, recall

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
REFUSED = {"ok": False, "reason": "TokenRefused", "message": "the token in HF_TOKEN may not read a/b"}
CUT_OFF = {"ok": False, "reason": "HubUnreachable", "message": "the hub cannot be reached"}
DOWNLOADED = {"ok": True, "files": 8}
VERIFIED = {"ok": True, "digest": "sha256:0", "architecture": "BertForSequenceClassification"}


def service(cache: dict[str, Any] | None, **spec: Any) -> RerankerService:
    hub = {"repository": "a/b", "revision": "0" * 40, "cache": cache}
    source = {"huggingFace": hub} if cache else {"inImage": {"path": "/models/a"}}
    metadata = {"name": "docs", "namespace": "search", "uid": "7"}
    document = {"apiVersion": "reranking.dev/v1alpha1", "kind": "RerankerService", "metadata": metadata}
    return RerankerService.parse({**document, "spec": spec or {"model": {"source": source}}})


ASKED = service({"size": "1Gi"})
WANTED = desired(ASKED, Defaults())


def ended(name: str, code: int, report: dict[str, Any] | None) -> dict[str, Any]:
    terminated = {"exitCode": code, "message": json.dumps(report) if report else ""}
    return {"name": name, "state": {"terminated": terminated}}


def job_pod(fetch: dict[str, Any], verify: dict[str, Any] | None = None) -> dict[str, Any]:
    statuses = {"initContainerStatuses": [fetch], "containerStatuses": [verify] if verify else []}
    return {"metadata": {"name": "job-pod", "creationTimestamp": "2026-11-22T11:00:00Z"}, "status": statuses}


def observed(finished: str | None = None, pod: dict[str, Any] | None = None, **more: Any) -> Observed:
    stamp = "2026-11-22T11:59:00Z"
    conditions = [{"type": finished, "status": "True", "lastTransitionTime": stamp}] if finished else []
    job = {"metadata": {"name": WANTED.job_name, "namespace": "search"}, "status": {"conditions": conditions}}
    return observing.observed(**{"job": job, "job_pods": [pod] if pod else [], **more})


def nothing_recalled(asked: RerankerService) -> Recalled:
    return recall(asked, None, None, [], None, [], NOW)


def test_a_model_that_was_downloaded_and_verified_is_what_verify_says() -> None:
    pod = job_pod(ended("fetch", 0, DOWNLOADED), ended("verify", 0, VERIFIED))
    verdict = judge(WANTED, observed("Complete", pod), NOW)
    assert verdict.verified
    assert verdict.report is not None
    assert verdict.report.digest == "sha256:0"


def test_a_download_that_is_refused_is_final() -> None:
    verdict = judge(WANTED, observed("Failed", job_pod(ended("fetch", 2, REFUSED))), NOW)
    assert (verdict.refused, verdict.undecided_since) == (True, None)
    assert verdict.report is not None
    assert verdict.report.message == REFUSED["message"]


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        pytest.param(job_pod(ended("fetch", 1, CUT_OFF)), "the hub cannot be reached", id="network"),
        pytest.param(job_pod(ended("fetch", 0, DOWNLOADED), ended("verify", 137, None)), "", id="killed-in-verify"),
    ],
)
def test_what_another_try_may_cure_is_tried_again_with_its_words(pod: dict[str, Any], words: str) -> None:
    verdict = judge(WANTED, observed("Failed", pod), NOW)
    assert verdict.report is None
    assert verdict.undecided_since is not None
    assert verdict.words == words


def fetched_with(note: str) -> Desired:
    """What is wanted where `note` stands for what the model is downloaded with."""
    return desired(ASKED, Defaults(), Given(credentials=note))


def job_of(wanted: Desired, finished: str | None = None) -> dict[str, Any]:
    """The Job as it was made."""
    assert wanted.model_job is not None
    conditions = [{"type": finished, "status": "True", "lastTransitionTime": "2026-11-22T11:59:00Z"}]
    return {**wanted.model_job, "status": {"conditions": conditions if finished else []}}


def planned(wanted: Desired, job: dict[str, Any], **more: Any) -> Plan:
    pods = [job_pod(ended("fetch", 2, REFUSED))] if job["status"]["conditions"] else []
    seen = observed(job=job, job_pods=pods, **more)
    return plan(ASKED, wanted, seen, judge(wanted, seen, NOW), nothing_recalled(ASKED), NOW)


def test_a_download_that_was_refused_is_tried_again_with_another_token_alone() -> None:
    before, after = fetched_with("one"), fetched_with("two")
    refused = job_of(before, "Failed")
    assert planned(before, refused).delete == []
    assert planned(after, refused).delete == [refused]
    # A token that may not be read just now is no other one.
    assert planned(after, refused, credentials_unknown=True).delete == []


@pytest.mark.parametrize("missing", [[], ["the new token has no such key"]])
def test_a_token_that_comes_while_the_download_runs_is_tried_when_that_is_refused(missing: list[str]) -> None:
    before, after = fetched_with("one"), fetched_with("two")
    running = job_of(before)
    (kept,) = [each for each in planned(after, running, missing=missing).apply if each["kind"] == "Job"]
    assert kept == before.model_job
    refused = job_of(before, "Failed")
    if missing:
        (kept,) = [each for each in planned(after, refused, missing=missing).apply if each["kind"] == "Job"]
        assert kept == before.model_job
    assert planned(after, refused).delete == [refused]


def test_a_running_download_is_said() -> None:
    pod = job_pod({"name": "fetch", "state": {"running": {"startedAt": "2026-11-22T11:00:00Z"}}})
    cause = cause_of([pod], None)
    assert cause is not None
    assert (cause.reason, cause.message) == (Reason.DOWNLOADING, "pod job-pod downloads the model")
    failed = cause_of([job_pod(ended("fetch", 1, CUT_OFF))], None)
    assert failed is not None
    assert failed.message.endswith("restarts): the hub cannot be reached")


@pytest.mark.parametrize(
    ("code", "how", "reason"),
    [
        (137, "Error", Reason.PROBES_FAILING),
        (143, "Error", Reason.PROBES_FAILING),
        (0, "Completed", Reason.PROBES_FAILING),  # as the bundled runtime ends that is asked to
        (137, "OOMKilled", Reason.CRASHING),
        (1, "Error", Reason.CRASHING),
    ],
)
def test_how_a_container_ended_tells_a_crash_from_failed_probes(code: int, how: str, reason: Reason) -> None:
    ranking = {"name": "ranking", "restartCount": 2, "state": {"running": {}}}
    ranking["lastState"] = {"terminated": {"exitCode": code, "reason": how}}
    pod = {"metadata": {"name": "docs-1"}, "status": {"containerStatuses": [ranking]}}
    cause = cause_of([pod], None)
    assert cause is not None
    assert cause.reason is reason
    assert "2 restarts" in cause.message


RUNS: dict[str, Any] = {"state": {"running": {"startedAt": "2026-11-22T11:00:00Z"}}}
WELL: dict[str, Any] = {"terminated": {"exitCode": 0, "reason": "Completed"}}
SIDECAR: dict[str, Any] = {"name": "istio-proxy", "restartCount": 1, **RUNS, "lastState": WELL}
CRASHED = {"terminated": {"exitCode": 1, "reason": "Error", "message": "boom"}}
NO_IMAGE = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}


@pytest.mark.parametrize(
    ("ranking", "reason", "words"),
    [
        ({"restartCount": 0, **RUNS}, Reason.WARMING_UP, "has not scored its warm-up ranking"),
        (
            {"restartCount": 3, **RUNS, "lastState": CRASHED},
            Reason.CRASHING,
            "container ranking ended with exit code 1",
        ),
        ({"restartCount": 0, **NO_IMAGE}, Reason.IMAGE_PULL, "not found"),
        ({"restartCount": 4, **RUNS, "lastState": WELL}, Reason.PROBES_FAILING, "container ranking ended with exit"),
    ],
    ids=["warms-up", "crashes", "no-image", "ends-well"],
)
def test_an_injected_container_that_was_restarted_hides_nothing(
    ranking: dict[str, Any], reason: Reason, words: str
) -> None:
    """The kubelet tells of containers in the order of their names."""
    pod = {"metadata": {"name": "docs-1"}, "status": {"containerStatuses": [SIDECAR, {"name": "ranking", **ranking}]}}
    cause = cause_of([pod], None)
    assert cause is not None
    assert cause.reason is reason
    assert words in cause.message


def test_nvidias_image_is_not_held_back_by_a_verdict() -> None:
    asked = service(None, runtime="NIM", image={"repository": "registry.example/nim"})
    wanted = desired(asked, Defaults())
    seen = observed(job=None)
    verdict = judge(wanted, seen, NOW)
    kinds = [each["kind"] for each in plan(asked, wanted, seen, verdict, nothing_recalled(asked), NOW).apply]
    assert kinds == ["Service", "ServiceAccount", "Deployment"]


def claim(owner: str | None) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "reranker-operator", "app.kubernetes.io/instance": "docs"}
    owners = [{"kind": "RerankerService", "name": "docs", "uid": owner, "controller": True}] if owner else []
    metadata = {"name": "docs-model-cache", "namespace": "search", "uid": "c", "labels": labels}
    return {"kind": "PersistentVolumeClaim", "metadata": {**metadata, "ownerReferences": owners}}


def using(name: str) -> dict[str, Any]:
    return {"spec": {"volumes": [{"name": "model", "persistentVolumeClaim": {"claimName": name}}, {"name": "tmp"}]}}


def deleted(wanted: Desired, asked: RerankerService, live: dict[str, Any], pods: list[dict[str, Any]]) -> bool:
    template = {"spec": {"volumes": []}, "metadata": {}}
    deployment = {"metadata": {"ownerReferences": [{"uid": "7"}]}, "spec": {"template": template}}
    place = {("PersistentVolumeClaim", "docs-model-cache"): live}
    seen = observed(optional=place, pods=pods, deployment=deployment)
    return live in plan(asked, wanted, seen, judge(wanted, seen, NOW), nothing_recalled(asked), NOW).delete


def test_a_cache_that_is_no_longer_asked_for_goes_only_if_it_was_to_go_and_nothing_uses_it() -> None:
    elsewhere = service(None)
    wanted = desired(elsewhere, Defaults())
    assert deleted(wanted, elsewhere, claim(owner="7"), pods=[])
    assert not deleted(wanted, elsewhere, claim(owner="7"), pods=[using("docs-model-cache")])
    assert not deleted(wanted, elsewhere, claim(owner=None), pods=[])
    assert not deleted(WANTED, ASKED, claim(owner="7"), pods=[])
