"""The README and the guides of the chart, by copy and paste: install, rank, change, upgrade, uninstall, Secrets.

What this kit is too small for is replaced, and nothing else is: pods of it reach the API server only in the host's
network, where each pod needs ports of its own, and nodes forward nothing.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localkube.client import ready
from localkube.cluster import Cluster
from localkube.processes import PACKAGE_ROOT
from pages import Checkout, Page
from rerankers import Rerankers

pytestmark = pytest.mark.long

ADDRESS = "$(kubectl -n reranker-quickstart get service quickstart -o jsonpath={.spec.clusterIP})"
INSTEAD = {
    "kubectl -n reranker-quickstart port-forward service/quickstart 8000 &": "true",
    "localhost:8000": f"{ADDRESS}:8000",
}
CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "rerankerservices.reranking.dev")
HELM = """#!{python}
import os, sys
sys.path.insert(0, {kit})
from localkube.processes import free_port
arguments = sys.argv[1:]
if arguments[0] in ("install", "upgrade"):
    arguments += ["--set", f"hostNetwork=true,replicas=1,ports.metrics={{free_port()}},ports.health={{free_port()}}"]
os.execv({binary}, [{binary}, "helm", *arguments])
"""


@pytest.fixture
def checkout(blank: Cluster, tmp_path: Path, repository: Path) -> Any:
    """Where the commands run; afterwards nothing is installed."""
    made = Checkout.make(tmp_path, repository, blank, "default")
    program = tmp_path / "bin/helm"
    program.write_text(HELM.format(python=sys.executable, kit=repr(str(PACKAGE_ROOT)), binary=repr(str(blank.binary))))
    yield made
    blank.helm("uninstall", "reranker-operator", "-n", "reranker-system", "--ignore-not-found", "--wait")
    blank.delete(*CRD)
    blank.wait_gone(*CRD)


@pytest.mark.long
def test_the_readme(blank: Cluster, checkout: Checkout, repository: Path) -> None:
    text = (repository / "README.md").read_text()
    # The first block are the two commands of a checkout, which test_demo.py and CI run.
    first, text = text.split("## Install on a cluster")
    assert "make demo" in first
    text, _ = text.split("## How it works")
    assert all(said in text for said in INSTEAD)
    page = Page.parse("README.md", text, INSTEAD)
    for verb in ("helm install", "curl", "kubectl -n reranker-quickstart patch", "helm upgrade", "helm uninstall"):
        assert any(command.startswith(verb) for command in page.commands), f"README.md has no {verb}"
    install, change, upgrade, remove = page.split(
        "kubectl -n reranker-quickstart patch", "helm upgrade", "kubectl delete"
    )
    quickstart = Rerankers(blank, "reranker-quickstart")
    said = checkout.follow(install)
    assert '{"rankings":[{"index":0,' in said.replace(" ", "")
    assert "rerankerservice.reranking.dev/quickstart condition met" in said
    checkout.follow(change)
    before = ready_pods(quickstart)
    assert len(before) == 2
    checkout.follow(upgrade)
    assert ready_pods(quickstart) == before
    assert quickstart.rank("quickstart", "which way?", ["a stew", "two roads"])["rankings"][0]["index"] == 1
    checkout.follow(remove)
    assert blank.get(*CRD) is None
    blank.wait_gone("v1", "Namespace", "reranker-system")


def ready_pods(quickstart: Rerankers) -> list[str]:
    """By their uid."""
    return sorted(pod["metadata"]["uid"] for pod in quickstart.pods("quickstart") if ready(pod))


@pytest.mark.long
def test_the_guide_of_the_chart(blank: Cluster, checkout: Checkout, repository: Path) -> None:
    text = (repository / "docs/guides/install.md").read_text()
    # In the host's network pods are not restricted.
    instead = {"kubectl label namespace": "kubectl label --dry-run=server namespace"}
    assert all(said in text for said in instead)
    page = Page.parse("install.md", text, instead)
    first = next(command for command in page.commands if command.startswith("helm install"))
    assert "watchNamespaces={search}" in first, "install.md does not begin with what it advises"
    said = checkout.follow(page)
    assert "Phase:          Succeeded" in said
    assert "rerankerservice.reranking.dev/shared condition met" in said
    assert "Rollback was a success" in said
    assert blank.get(*CRD) is None
    blank.wait_gone("apps/v1", "Deployment", "shared", namespace="search")


@pytest.mark.long
def test_the_guide_of_secrets(blank: Cluster, checkout: Checkout, repository: Path) -> None:
    blank.create_namespace("search")
    blank.create_namespace("reranker-system")
    instead = {"$NGC_API_KEY": "an-api-key", "$HF_TOKEN": "a-token"}
    page = Page.parse("secrets.md", (repository / "docs/guides/secrets.md").read_text(), instead)
    install = "helm install reranker-operator charts/reranker-operator -n reranker-system"
    checkout.follow(replace(page, commands=[install + "\n", *page.commands]))
    made = {each["metadata"]["name"]: each["data"] for each in blank.objects("v1", "Secret", "search")}
    entries = {name: list(data) for name, data in made.items()}
    assert entries.items() >= {"ngc": ["NGC_API_KEY"], "hub": ["token"], "nvcr": [".dockerconfigjson"]}.items()
    login = json.loads(base64.b64decode(made["nvcr"][".dockerconfigjson"]))["auths"]["nvcr.io"]
    assert login == {"username": "$oauthtoken", "password": "an-api-key"}
    tokens = [base64.b64decode(data["token"]) for name, data in made.items() if "token" in data and name != "hub"]
    assert tokens == [b"a-token"]
    (operator,) = blank.objects("apps/v1", "Deployment", "reranker-system")
    assert operator["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "nvcr"}]
