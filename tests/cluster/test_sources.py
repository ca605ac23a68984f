"""Where a model can come from beside a volume, and NVIDIA's image in the runtime's place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from localkube.cluster import Cluster, small_model
from localkube.images import Image
from localkube.operator_process import OperatorProcess
from nim import NIM
from rerankers import Rerankers

IMAGE_VOLUMES = pytest.mark.since(35, "image volumes, which 1.34 has behind a feature gate")
MODEL_IMAGE = "registry.example/models/minilm:1"


@pytest.fixture
def model_image(cluster: Cluster) -> Iterator[None]:
    """The small model as an image of its own, below a folder."""
    cluster.add_image(Image(MODEL_IMAGE, files={"/models/minilm": str(small_model())}))
    yield
    cluster.remove_image(MODEL_IMAGE)


def source(**given: Any) -> dict[str, Any]:
    return {"model": {"source": given}}


def claim(rerankers: Rerankers, name: str) -> dict[str, Any] | None:
    return rerankers.cluster.get("v1", "PersistentVolumeClaim", f"{name}-model-cache", rerankers.namespace)


def wait_claim_gone(rerankers: Rerankers, name: str) -> None:
    place = ("v1", "PersistentVolumeClaim", f"{name}-model-cache")
    rerankers.cluster.wait_gone(*place, namespace=rerankers.namespace)


@IMAGE_VOLUMES
@pytest.mark.usefixtures("model_image")
def test_a_model_in_an_image_of_its_own_is_ranked_with(rerankers: Rerankers) -> None:
    rerankers.apply("docs", **source(image={"reference": MODEL_IMAGE, "path": "models/minilm"}))
    status = rerankers.wait_ready("docs")
    assert status["model"]["name"] == "minilm"
    assert status["model"]["digest"] == rerankers.small_model_digest()
    ranked = rerankers.rank("docs", "which way should i go?", ["a stew", "two roads diverged"], model="minilm")
    assert ranked["rankings"][0]["index"] == 1


@IMAGE_VOLUMES
def test_a_model_image_that_cannot_be_pulled_is_known_before_a_pod_ranks(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    made = rerankers.apply("docs", **source(image={"reference": "registry.example/models/none:1"}))
    generation = made["metadata"]["generation"]
    pulling = rerankers.wait_condition("docs", "Progressing", "True", "ImagePull", generation=generation)
    assert "registry.example/models/none:1" in pulling["message"]
    assert rerankers.rank("docs", "which way?", ["two roads"])["rankings"]  # the old pod serves


@pytest.mark.usefixtures("nvidias_image")
def test_nvidias_image_takes_the_runtimes_place(rerankers: Rerankers) -> None:
    rerankers.apply("docs", **NIM, nim={"apiKeySecret": {"name": "ngc"}})
    missing = rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
    assert "Secret ngc does not exist" in missing["message"]
    assert "named by spec.nim.apiKeySecret" in missing["message"]
    metadata = {"name": "ngc", "namespace": rerankers.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"NGC_API_KEY": "nvapi-none"}}
    rerankers.cluster.apply(secret)

    status = rerankers.wait_ready("docs")
    assert status["model"] == {"name": "minilm"}
    assert rerankers.condition("docs", "ModelVerified")["reason"] == "NotApplicable"
    # Whose answer carries no revision: any right one counts.
    rerankers.wait_condition("docs", "RankingVerified", "True", "Ranked")
    assert rerankers.jobs("docs") == []
    ranked = rerankers.rank("docs", "which way should i go?", ["a stew", "two roads diverged"])
    assert ranked["rankings"][0]["index"] == 1


@pytest.mark.long
@pytest.mark.usefixtures("nvidias_image")
def test_from_the_bundled_runtime_to_nvidias_image_and_back(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    assert "digest" in rerankers.wait_ready("docs")["model"]
    made = rerankers.apply("docs", **NIM)
    status = rerankers.wait_ready("docs", generation=made["metadata"]["generation"])
    assert status["model"] == {"name": "minilm"}
    assert rerankers.jobs("docs") == []
    made = rerankers.apply("docs")
    status = rerankers.wait_ready("docs", generation=made["metadata"]["generation"])
    assert rerankers.condition("docs", "ModelVerified")["status"] == "True"
    assert "digest" in status["model"]


@pytest.mark.long
@pytest.mark.usefixtures("nvidias_image")
def test_another_default_of_the_proxy_reaches_pods_that_never_served_and_no_others(
    rerankers: Rerankers, operator: OperatorProcess
) -> None:
    rerankers.apply("served", **NIM)
    rerankers.apply("stuck", **{**NIM, "image": {**NIM["image"], "tag": "none"}})
    rerankers.wait_ready("served")
    rerankers.wait_condition("stuck", "Progressing", "True", "ImagePull")
    before = rerankers.deployment("served")["spec"]["template"]

    def told(deployment: dict[str, Any]) -> dict[str, str]:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        return {each["name"]: each.get("value", "") for each in container["env"]}

    with operator.started_with("--proxy-https", "http://proxy.example:3128", "--proxy-ca", "authorities/bundle.pem"):
        missing = rerankers.wait_condition("stuck", "ReferencesResolved", "False", "NotFound")
        assert "the operator's default of spec.proxy.caConfigMap" in missing["message"]
        rerankers.apply("served", service={"labels": {"touched": "yes"}}, **NIM)
        rerankers.wait_ready("served", generation=2)
        assert rerankers.condition("served", "ReferencesResolved")["status"] == "True"
        assert rerankers.deployment("served")["spec"]["template"] == before

        authorities = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"bundle.pem": ""}}
        named = {"name": "authorities", "namespace": rerankers.namespace}
        rerankers.cluster.apply({**authorities, "metadata": named})
        made = rerankers.wait_deployment("stuck", lambda found: "HTTPS_PROXY" in told(found) and found)
        assert told(made)["HTTPS_PROXY"] == "http://proxy.example:3128"
        assert told(made)["SSL_CERT_FILE"] == "/etc/reranker/ca/bundle.pem"


@pytest.mark.long
@pytest.mark.usefixtures("nvidias_image")
def test_a_cache_outlives_its_service_and_is_found_again(rerankers: Rerankers) -> None:
    cached = {**NIM, "nim": {"cache": {"size": "1Gi"}}}
    rerankers.apply("docs", **cached)
    rerankers.wait_ready("docs")
    first = claim(rerankers, "docs")
    assert first is not None
    rerankers.delete("docs")
    rerankers.cluster.wait_gone("apps/v1", "Deployment", "docs", namespace=rerankers.namespace)
    rerankers.apply("docs", **cached)
    rerankers.wait_ready("docs")
    again = claim(rerankers, "docs")
    assert again is not None
    assert again["metadata"]["uid"] == first["metadata"]["uid"]


@pytest.mark.long
@pytest.mark.usefixtures("nvidias_image")
def test_a_cache_that_is_to_go_goes_when_no_pod_uses_it(rerankers: Rerankers) -> None:
    rerankers.apply("docs", **NIM, nim={"cache": {"size": "1Gi", "reclaim": "Delete"}})
    rerankers.apply("other", **NIM, nim={"cache": {"size": "1Gi", "reclaim": "Delete"}})
    for name in ("docs", "other"):
        rerankers.wait_ready(name)
        assert claim(rerankers, name) is not None
    made = rerankers.apply("docs", **NIM)
    wait_claim_gone(rerankers, "docs")
    rerankers.wait_ready("docs", generation=made["metadata"]["generation"])
    rerankers.delete("other")
    wait_claim_gone(rerankers, "other")


@pytest.mark.usefixtures("nvidias_image")
def test_what_a_claim_cannot_become_is_said_in_the_servers_words(rerankers: Rerankers) -> None:
    rerankers.apply("docs", **NIM, nim={"cache": {"size": "1Gi"}})
    rerankers.wait_ready("docs")
    rerankers.apply("docs", **NIM, nim={"cache": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}})
    refused = rerankers.wait_condition("docs", "Accepted", "False", "ChildRefused", generation=2)
    assert "docs-model-cache" in refused["message"]
    assert "immutable" in refused["message"]
    assert rerankers.rank("docs", "which way?", ["two roads"])["rankings"]  # the pod serves on
    made = rerankers.apply("docs", **NIM, nim={"cache": {"size": "1Gi"}})
    rerankers.wait_ready("docs", generation=made["metadata"]["generation"])


def test_a_claim_that_not_every_pod_can_use_is_said_with_the_remedy(rerankers: Rerankers) -> None:
    modes = {"of-a-node": "ReadWriteOnce", "of-a-pod": "ReadWriteOncePod", "of-all": "ReadWriteMany"}
    for name, mode in modes.items():
        spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
        made = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        rerankers.cluster.apply(made, namespace=rerankers.namespace)

    def accepted(claim_name: str, status: str, reason: str, **spec: Any) -> str:
        made = rerankers.apply("docs", **source(persistentVolumeClaim={"claimName": claim_name}), **spec)
        generation = made["metadata"]["generation"]
        said = rerankers.wait_condition("docs", "Accepted", status, reason, generation=generation)["message"]
        return str(said)

    several = accepted("of-a-node", "True", "Accepted", replicas=2)
    assert "PersistentVolumeClaim of-a-node is ReadWriteOnce: pods of one node can use it" in several
    assert "2 are asked for" in several
    assert "use a claim with ReadWriteMany or ReadOnlyMany" in several
    assert "ReadWriteOnce" not in accepted("of-a-node", "True", "Accepted", replicas=1)
    # As many as there may come to be.
    scaling = {"maxReplicas": 3, "targetQueueSeconds": 0.5}
    assert "3 are asked for" in accepted("of-a-node", "True", "Accepted", replicas=1, autoscaling=scaling)

    never = accepted("of-a-pod", "False", "ClaimNotShared", replicas=2)
    assert "PersistentVolumeClaim of-a-pod is ReadWriteOncePod: a single pod can use it, and 2 are asked for" in never
    assert "use a claim with ReadWriteMany or ReadOnlyMany" in never
    assert rerankers.condition("docs", "Ready")["reason"] == "ClaimNotShared"
    assert "PersistentVolumeClaim" not in accepted("of-all", "True", "Accepted", replicas=2)
    assert rerankers.condition("docs", "Ready")["reason"] != "ClaimNotShared"


def test_what_a_download_needs_is_looked_up_before_it_begins(rerankers: Rerankers) -> None:
    hub = {
        "repository": "cross-encoder/ms-marco-MiniLM-L6-v2",
        "revision": "c5ee24cb16019beea0893ab7796b1df96625c6b8",
        "tokenSecret": {"name": "hub"},
        "cache": {"size": "1Gi", "storageClassName": "fast"},
    }
    rerankers.apply("docs", **source(huggingFace=hub), proxy={"caConfigMap": {"name": "company-ca"}})
    missing = rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
    for said in (
        "Secret hub does not exist",
        "StorageClass fast does not exist (named by spec.model.source.huggingFace.cache.storageClassName)",
        "ConfigMap company-ca does not exist",
    ):
        assert said in missing["message"]
    assert rerankers.jobs("docs") == []
