"""From a repository of a hub to ranked passages: the download, what refuses it, and a change of the commit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localhub import LocalHub

from localkube.cluster import small_model
from localkube.operator_process import OperatorProcess
from localkube.processes import wait_until
from rerankers import Rerankers

NAME, FIRST, SECOND = "acme/minilm", "1" * 40, "2" * 40
TOKEN = "hf_" + "Secret" * 5


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """The small model, in two commits, for whoever has the token."""
    for commit in (FIRST, SECOND):
        folder = tmp_path / "hub" / NAME / commit
        folder.mkdir(parents=True)
        for path in small_model().rglob("*"):
            if path.is_file():
                (folder / path.relative_to(small_model())).parent.mkdir(parents=True, exist_ok=True)
                os.link(path, folder / path.relative_to(small_model()))
    with LocalHub(tmp_path / "hub", token=TOKEN) as running:
        yield running


def source(hub: LocalHub, revision: str = FIRST, **more: Any) -> dict[str, Any]:
    given = {
        "repository": NAME,
        "revision": revision,
        "tokenSecret": {"name": "hub"},
        "endpoint": hub.url,
        "cache": {"size": "1Gi"},
        **more,
    }
    return {"model": {"source": {"huggingFace": given}}}


def put_token(rerankers: Rerankers, token: str) -> None:
    metadata = {"name": "hub", "namespace": rerankers.namespace}
    rerankers.cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": token}}
    )


@pytest.mark.long
def test_from_a_repository_to_ranked_passages_and_on_to_another_commit(rerankers: Rerankers, hub: LocalHub) -> None:
    put_token(rerankers, TOKEN)
    rerankers.apply("docs", **source(hub))
    status = rerankers.wait_ready("docs")
    assert status["model"]["name"] == NAME
    assert status["model"]["digest"] == rerankers.small_model_digest()
    ranked = rerankers.rank("docs", "which way should i go?", ["a stew", "two roads diverged"], model=NAME)
    assert ranked["rankings"][0]["index"] == 1
    (pod,) = rerankers.pods("docs")
    assert TOKEN not in str(pod)

    # A commit that does not exist is known while the old pods serve, and needs no deletion to be put right.
    made = rerankers.apply("docs", **source(hub, "3" * 40))
    refused = rerankers.wait_condition(
        "docs", "ModelVerified", "False", "ModelRefused", generation=made["metadata"]["generation"]
    )
    assert "RevisionNotFound" in refused["message"]
    assert rerankers.rank("docs", "which way?", ["two roads"])["rankings"]
    made = rerankers.apply("docs", **source(hub, SECOND))
    rerankers.wait_ready("docs", generation=made["metadata"]["generation"])
    path = rerankers.deployment("docs")["spec"]["template"]["spec"]["initContainers"][0]["command"][-1]
    assert path == f"/model/acme--minilm/{SECOND}"


@pytest.mark.long
def test_a_token_that_the_hub_refuses_is_said(rerankers: Rerankers, hub: LocalHub) -> None:
    put_token(rerankers, "hf_wrong")
    rerankers.apply("docs", **source(hub))
    refused = rerankers.wait_condition("docs", "ModelVerified", "False", "ModelRefused")
    assert "Unauthorized" in refused["message"]
    put_token(rerankers, TOKEN)
    rerankers.recheck_until_verified("docs")
    rerankers.wait_ready("docs")


@pytest.mark.long
def test_another_default_of_the_proxy_is_for_what_is_not_downloaded_yet(
    rerankers: Rerankers, operator: OperatorProcess, hub: LocalHub
) -> None:
    def jobs(name: str) -> list[str]:
        labels = {"app.kubernetes.io/instance": name}
        found = rerankers.cluster.objects("batch/v1", "Job", rerankers.namespace, labels)
        return [each["metadata"]["uid"] for each in found]

    put_token(rerankers, TOKEN)
    rerankers.apply("done", replicas=0, **source(hub))
    rerankers.wait_deployment("done", bool)
    downloaded = jobs("done")
    with operator.started_with("--proxy-http", "http://127.0.0.1:9", "--proxy-ca", "authorities"):
        rerankers.apply("fresh", replicas=0, **source(hub))
        rerankers.wait_condition("fresh", "ReferencesResolved", "False", "NotFound")
        rerankers.apply("done", replicas=0, service={"labels": {"touched": "yes"}}, **source(hub))
        rerankers.wait_condition("done", "Available", "False", "Paused", generation=2)
        assert rerankers.condition("done", "ReferencesResolved")["status"] == "True"
        metadata = {"name": "authorities", "namespace": rerankers.namespace}
        held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": ""}}
        rerankers.cluster.apply(held)
        rerankers.wait_condition("fresh", "ReferencesResolved", "True")
        (through_nowhere,) = wait_until("the download to begin", lambda: jobs("fresh") or None, timeout=60)
    # Without it again: what could not be downloaded so is tried anew at once.
    rerankers.wait_condition("fresh", "ModelVerified", "True")
    assert through_nowhere not in jobs("fresh")
    assert jobs("done") == downloaded
