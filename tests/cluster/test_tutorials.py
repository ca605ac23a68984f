"""The quickstart and the tutorials, command by command, but for what this kit is too small for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from localhub import LocalHub

from localkube.cluster import Cluster, small_model
from pages import Checkout, Page
from rerankers import Rerankers

pytestmark = pytest.mark.long

DOCS = Path(__file__).parents[2] / "docs"
REPOSITORY, REVISION = "cross-encoder/ms-marco-MiniLM-L6-v2", "c5ee24cb16019beea0893ab7796b1df96625c6b8"
ADDRESS = "$(kubectl get service docs -o jsonpath={.spec.clusterIP})"
EVERY = {
    # The namespace is the test's own, and its operator runs already.
    "create namespace search": "get namespace NAMESPACE",
    "namespace=search": "namespace=NAMESPACE",
}
# The Service's own address is reached from here, and nodes of this kit forward nothing.
FORWARDED = {
    "kubectl port-forward service/docs 8000 &": "true",
    "http://localhost:8000": f"http://{ADDRESS}:8000",
}


@pytest.fixture
def follow(rerankers: Rerankers, tmp_path: Path, repository: Path) -> Callable[..., str]:
    """Does what the page says, with what is done instead; returns what was printed."""
    checkout = Checkout.make(tmp_path, repository, rerankers.cluster, rerankers.namespace)

    def run(path: str, instead: dict[str, str]) -> str:
        text = (DOCS / path).read_text()
        unused = [said for said in instead if said not in text]
        assert not unused, f"{path} does not have what is to be replaced: {unused}"
        used = {said: other.replace("NAMESPACE", rerankers.namespace) for said, other in instead.items()}
        return checkout.follow(Page.parse(path, text, used))

    return run


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """A mirror in which the tutorial's repository holds the small model."""
    folder = tmp_path / "hub" / REPOSITORY / REVISION
    for path in small_model().rglob("*"):
        if path.is_file():
            place = folder / path.relative_to(small_model())
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)
    with LocalHub(tmp_path / "hub") as running:
        yield running


def test_there_is_a_test_for_each_tutorial_and_a_line_in_the_list() -> None:
    names = {path.stem for path in (DOCS / "tutorials").glob("*.md")} - {"README"}
    assert names <= {name.removeprefix("test_").replace("_", "-") for name in globals()}
    listed = re.findall(r"\((\S+)\.md\)", (DOCS / "tutorials/README.md").read_text())
    assert set(listed) == names


def test_quickstart(cluster: Cluster, follow: Callable[..., str]) -> None:
    quickstart = ADDRESS.replace("kubectl", "kubectl -n reranker-quickstart").replace("docs", "quickstart")
    try:
        said = follow(
            "quickstart.md",
            {
                "make demo": "true",  # test_demo.py runs it
                "apply --server-side -k deploy\n": "apply --server-side --dry-run=server -k deploy\n",
                "kubectl -n reranker-system rollout status": "echo would wait: kubectl rollout status",
                "kubectl -n reranker-quickstart port-forward service/quickstart 8000 &": "true",
                "-retry-connrefused http://localhost:8000": f"-retry-connrefused http://{quickstart}:8000",
            },
        )
    finally:
        cluster.delete("v1", "Namespace", "reranker-quickstart")
    assert '{"rankings":[{"index":0,' in said.replace(" ", "")


def test_first_service(follow: Callable[..., str]) -> None:
    said = follow(
        "tutorials/first-service.md", {**EVERY, "make cluster-": "true make cluster-"}
    )  # test_demo.py runs it
    assert '{"rankings":[{"index":1,' in said.replace(" ", "")
    assert "RankingVerified=True Ranked" in said
    assert "/models/another" in said


@pytest.mark.long
def test_from_the_hub(rerankers: Rerankers, hub: LocalHub, follow: Callable[..., str]) -> None:
    mirror = {"        cache:\n": f"        endpoint: {hub.url}\n        cache:\n"}
    said = follow("tutorials/from-the-hub.md", {**EVERY, **FORWARDED, **mirror})
    assert rerankers.small_model_digest() in said
    assert "deployment.apps/docs condition met" in said
    assert re.search(r"^401$", said, re.MULTILINE)
    assert '{"rankings":[{"index":1,' in said.replace(" ", "")


@pytest.mark.long
def test_keys_and_rollback(follow: Callable[..., str]) -> None:
    """That pods take up new keys is shown where they run: this kubelet mounts a Secret once."""
    shorter = {"progressDeadlineSeconds: 600": "progressDeadlineSeconds: 10"}
    said = follow("tutorials/keys-and-rollback.md", {**EVERY, **shorter})
    assert "serves again" in said
    assert re.search(r"Crashing.*RERANKER_WORKERS", said)
