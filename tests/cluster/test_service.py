"""A service from `kubectl apply` to ranked passages, changed and deleted: real pods, real answers."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from rerankers import RANKING_LABELS, Rerankers


def test_apply_ranks_passages_through_the_service(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    answer = rerankers.rank("docs", "which animal barks?", ["a cat purrs", "a dog barks", "the stock market fell"])
    assert answer["rankings"][0]["index"] == 1
    assert len(answer["rankings"]) == 3
    status = rerankers.status("docs")
    assert status["endpoint"] == f"http://docs.{rerankers.namespace}.svc:8000/v1/ranking"
    assert status["observedGeneration"] == 1
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["model"] == {
        "name": "all-minilm-l6-v2",
        "digest": rerankers.small_model_digest(),
        "architecture": "BertModel",
        "parameters": 22_713_216,
        "dtype": "float32",
        "maxTokens": 256,
    }
    assert status["probe"]["passages"] == 8
    assert status["probe"]["milliseconds"] > 0
    assert {each["type"]: each["status"] for each in status["conditions"]} == {
        "Accepted": "True",
        "ReferencesResolved": "True",
        "ModelVerified": "True",
        "Available": "True",
        "RankingVerified": "True",
        "Progressing": "False",
        "Stalled": "False",
        "Ready": "True",
    }


def test_pods_that_are_ready_and_rank_wrong_do_not_make_a_service_ready(rerankers: Rerankers, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    rerankers.put_model(folder)
    tensors = load_file(folder / "model.safetensors")
    word = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("copper")
    tensors["embeddings.word_embeddings.weight"][word] = float("inf")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    rerankers.apply("docs", model={"source": {"hostPath": {"path": str(folder)}}})
    wrong = rerankers.wait_condition("docs", "RankingVerified", "False", "RankingWrong")
    assert "came back wrong: 500: " in wrong["message"]
    assert "no finite score" in wrong["message"]
    assert rerankers.condition("docs", "Available")["status"] == "True"
    assert rerankers.wait_condition("docs", "Ready", "False", "RankingWrong")["message"] == wrong["message"]
    assert "probe" not in rerankers.status("docs")


def test_kubectl_shows_a_service_at_a_glance(rerankers: Rerankers) -> None:
    rerankers.apply("docs", replicas=0)
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    shown = rerankers.cluster.kubectl("-n", rerankers.namespace, "get", "rrs", "docs").splitlines()
    assert shown[0].split() == ["NAME", "MODEL", "READY", "REPLICAS", "GPUS", "LATENCY", "REASON", "AGE"]
    assert shown[1].split()[:6] == ["docs", "all-minilm-l6-v2", "False", "0", "0", "Paused"]
    explained = rerankers.cluster.kubectl("explain", "rerankerservice.spec.model.digest")
    assert "Refuse any other weights" in explained


def test_a_change_rolls_pods_and_only_the_new_ones_make_it_ready(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    (before,) = rerankers.pods("docs")
    rerankers.apply("docs", server={"maxPassages": 2})
    status = rerankers.wait_ready("docs", generation=2)
    assert status["observedGeneration"] == 2
    refused = rerankers.post("docs", {"query": {"text": "q"}, "passages": [{"text": "p"}] * 3})
    assert refused.status_code == 422
    assert refused.json()["object"] == "error"
    rerankers.wait_pod_gone(before["metadata"]["name"])
    # The revision that pods answer with is the template's hash.
    hashed = rerankers.deployment("docs")["spec"]["template"]["metadata"]["labels"]["reranking.dev/template-hash"]
    assert refused.headers["X-Reranker-Revision"] == hashed


def test_scaling_leaves_ready_and_pods_alone(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    (first,) = rerankers.pods("docs")
    since = rerankers.condition("docs", "Ready")["lastTransitionTime"]
    rerankers.cluster.kubectl("-n", rerankers.namespace, "scale", "rrs/docs", "--replicas=2")
    rerankers.wait_status("docs", lambda status: status.get("readyReplicas") == 2)
    assert rerankers.condition("docs", "Ready")["status"] == "True"
    assert rerankers.condition("docs", "Ready")["lastTransitionTime"] == since
    assert first["metadata"]["uid"] in [pod["metadata"]["uid"] for pod in rerankers.pods("docs")]


def test_deleting_a_service_removes_everything_it_made(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    job = rerankers.wait_job("docs")
    rerankers.delete("docs")
    for kind, version, name in (
        ("Service", "v1", "docs"),
        ("ServiceAccount", "v1", "docs"),
        ("Job", "batch/v1", job),
        ("Deployment", "apps/v1", "docs"),
    ):
        rerankers.cluster.wait_gone(version, kind, name, namespace=rerankers.namespace)


def test_pods_meet_the_restricted_standard(rerankers: Rerankers) -> None:
    rerankers.cluster.kubectl(
        "label", "namespace", rerankers.namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    rerankers.apply("docs")
    rerankers.wait_ready("docs")


@pytest.mark.parametrize("field", ["service.port", "service.labels", "pod.annotations", "pod.nodeSelector"])
def test_a_field_reaches_the_live_objects(rerankers: Rerankers, field: str) -> None:
    changes: dict[str, tuple[dict[str, Any], Any]] = {
        "service.port": (
            {"service": {"port": 80}},
            lambda: rerankers.service("docs")["spec"]["ports"][0]["port"] == 80,
        ),
        "service.labels": (
            {"service": {"labels": {"team": "search"}}},
            lambda: rerankers.service("docs")["metadata"]["labels"]["team"] == "search",
        ),
        "pod.annotations": (
            {"pod": {"annotations": {"note": "x"}}},
            lambda: rerankers.job_template("docs")["metadata"]["annotations"]["note"] == "x",
        ),
        "pod.nodeSelector": (
            {"pod": {"nodeSelector": {"disk": "fast"}}},
            lambda: rerankers.job_template("docs")["spec"]["nodeSelector"] == {"disk": "fast"},
        ),
    }
    spec, holds = changes[field]
    rerankers.apply("docs", **spec)
    rerankers.wait_job("docs")
    assert holds()


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_example_quickstart(rerankers: Rerankers) -> None:
    rerankers.cluster.apply_file(EXAMPLES / "quickstart.yaml")
    there = rerankers.at("reranker-quickstart")
    there.wait_ready("quickstart")
    rankings = there.rank("quickstart", "which way should i go?", ["a stew", "two roads diverged in a yellow wood"])
    assert rankings["rankings"][0]["index"] == 1


def test_example_claim(rerankers: Rerankers) -> None:
    rerankers.cluster.apply_file(EXAMPLES / "claim.yaml", namespace=rerankers.namespace)
    rerankers.put_model(rerankers.cluster.claim_folder("models", rerankers.namespace) / "my-reranker")
    rerankers.recheck_until_verified("from-claim")
    rerankers.wait_ready("from-claim")
    assert rerankers.rank("from-claim", "q", ["a", "b"], model="my-org/my-reranker")["usage"]["total_tokens"] > 0


def test_example_gpu_and_secrets(rerankers: Rerankers) -> None:
    rerankers.cluster.apply_file(EXAMPLES / "gpu-and-secrets.yaml", namespace=rerankers.namespace)
    rerankers.wait_ready("on-gpu")
    (pod,) = rerankers.pods("on-gpu")
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert RANKING_LABELS.items() <= pod["metadata"]["labels"].items()
