"""The claim that pods share: who owns it, and what its access modes allow."""

from __future__ import annotations

from typing import Any

import pytest

from reranker_operator.api import RerankerService
from reranker_operator.desired import Defaults, desired
from reranker_operator.reconcile.admission import claim_trouble

REVISION = "0123456789abcdef0123456789abcdef01234567"


def service(spec: dict[str, Any]) -> RerankerService:
    return RerankerService.parse(
        {
            "apiVersion": "reranking.dev/v1alpha1",
            "kind": "RerankerService",
            "metadata": {"name": "docs", "namespace": "search", "uid": "7"},
            "spec": spec,
        }
    )


def downloaded(**cache: Any) -> RerankerService:
    hub = {"repository": "a/b", "revision": REVISION, "cache": cache}
    return service({"model": {"source": {"huggingFace": hub}}})


def on_claim() -> RerankerService:
    return service({"model": {"source": {"persistentVolumeClaim": {"claimName": "models"}}}})


def nim(**spec: Any) -> RerankerService:
    return service({"runtime": "NIM", "image": {"repository": "registry.example/nim"}, **spec})


def live(*modes: str) -> dict[str, Any]:
    return {"kind": "PersistentVolumeClaim", "spec": {"accessModes": list(modes)}}


def made(asked: RerankerService) -> dict[str, Any]:
    objects = desired(asked, Defaults()).objects()
    (claim,) = (each for each in objects if each["kind"] == "PersistentVolumeClaim")
    return claim


def test_a_cache_outlives_its_service_unless_asked_otherwise() -> None:
    assert "ownerReferences" not in made(downloaded(size="1Gi"))["metadata"]
    (owner,) = made(downloaded(size="1Gi", reclaim="Delete"))["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("RerankerService", "docs", "7")


def test_it_is_made_before_the_pods_that_need_it() -> None:
    kinds = [each["kind"] for each in desired(downloaded(size="1Gi"), Defaults()).objects()]
    assert kinds.index("PersistentVolumeClaim") < kinds.index("Job") < kinds.index("Deployment")


def test_what_cannot_change_the_weights_asks_for_no_new_verdict() -> None:
    first = desired(downloaded(size="1Gi"), Defaults())
    larger = desired(downloaded(size="2Gi", reclaim="Delete"), Defaults())
    assert (larger.model_hash, larger.job_name) == (first.model_hash, first.job_name)
    elsewhere = desired(downloaded(existingClaim="other"), Defaults())
    assert elsewhere.model_hash != first.model_hash


@pytest.mark.parametrize(
    ("asked", "claim", "pods"),
    [
        pytest.param(downloaded(size="1Gi"), None, 1, id="one-pod"),
        pytest.param(downloaded(size="1Gi", accessModes=["ReadWriteMany"]), None, 9, id="many-nodes"),
        pytest.param(downloaded(existingClaim="models"), None, 9, id="claim-not-there-yet"),
        pytest.param(on_claim(), live("ReadOnlyMany"), 9, id="read-by-many"),
        pytest.param(on_claim(), live("ReadWriteOnce", "ReadOnlyMany"), 9, id="filled-once-read-by-many"),
        pytest.param(service({"model": {"source": {"inImage": {"path": "/m"}}}}), None, 9, id="no-claim"),
        pytest.param(nim(), None, 9, id="nim-without-cache"),
    ],
)
def test_claims_that_all_pods_can_use(asked: RerankerService, claim: dict[str, Any] | None, pods: int) -> None:
    assert claim_trouble(asked, claim, pods) is None


@pytest.mark.parametrize(
    ("asked", "claim", "name", "remedy"),
    [
        (downloaded(size="1Gi"), None, "docs-model-cache", "ReadWriteMany or ReadOnlyMany"),
        (downloaded(existingClaim="shared"), live("ReadWriteOnce"), "shared", "ReadWriteMany or ReadOnlyMany"),
        (on_claim(), live("ReadWriteOnce"), "models", "ReadWriteMany or ReadOnlyMany"),
        (nim(nim={"cache": {"size": "1Gi"}}), None, "docs-model-cache", "a claim with ReadWriteMany (the"),
    ],
)
def test_several_pods_on_a_claim_of_one_node_are_told_what_to_use(
    asked: RerankerService, claim: dict[str, Any] | None, name: str, remedy: str
) -> None:
    trouble = claim_trouble(asked, claim, 3)
    assert trouble is not None
    assert not trouble.hopeless
    assert f"PersistentVolumeClaim {name} is ReadWriteOnce" in trouble.message
    assert "3 are asked for" in trouble.message
    assert remedy in trouble.message


def test_a_claim_of_one_pod_can_never_serve_two() -> None:
    several = claim_trouble(on_claim(), live("ReadWriteOncePod"), 2)
    assert several is not None
    assert several.hopeless
    one = claim_trouble(on_claim(), live("ReadWriteOncePod"), 1)
    assert one is not None
    assert not one.hopeless
    assert "no change can be rolled out" in one.message
