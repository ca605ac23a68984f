"""The guides, as somebody follows them: every command is run and every manifest applied, in the order of the page.

A page becomes one script of its commands, run by bash in a folder that looks like a checkout, with the files that the
page has one write. What this cluster is too small for is replaced by `INSTEAD`, and nothing else is.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from foreignkinds import crd
from localkube.cluster import Cluster, small_model
from localkube.images import Image
from localkube.operator_process import established
from pages import Checkout, Page
from rerankers import Json, Rerankers, spec_of

pytestmark = pytest.mark.long

GUIDES = Path(__file__).parents[2] / "docs/guides"
ELSEWHERE = {"README", "scale", "install", "secrets"}
"""A list without commands, and pages that test_scaling.py and test_readme.py follow."""

CLAIM = "kubectl get pvc models -o jsonpath={.spec.volumeName}"
_ADDRESS = "$(kubectl get service docs -o jsonpath={.spec.clusterIP})"
INSTEAD: dict[str, dict[str, str]] = {
    "every": {
        # The namespaces are the test's own.
        "create namespace search": "get namespace NAMESPACE",
        "-n search": "-n NAMESPACE",
        "namespace=search": "namespace=NAMESPACE",
        "search/docs": "NAMESPACE/docs",
        "shop": "NAMESPACE-shop",
        "--all-namespaces": "",
        # The operator runs already, as a process: test_namespaced.py and test_operator_process.py install it.
        "apply --server-side -k crds": "apply --server-side --dry-run=server -k crds",
        "apply --server-side -k mine": "apply --server-side --dry-run=server -k mine",
        "apply --server-side -k deploy\n": "apply --server-side --dry-run=server -k deploy\n",
        "apply --server-side -k deploy/namespaced\n": "apply --server-side --dry-run=server -k deploy/namespaced\n",
        "kubectl -n reranker-system rollout status": "echo would wait: kubectl -n reranker-system rollout status",
        "kubectl delete clusterrolebinding": "kubectl delete --dry-run=server clusterrolebinding",
    },
    "deploy": {
        # The Service's own address is reached from here, and nodes of this kit forward nothing.
        "kubectl port-forward service/docs 8000 &": "true",
        "http://localhost:8000": f"http://{_ADDRESS}:8000",
    },
    "custom-weights": {
        # Nor do they run commands in containers: what is copied is put into the folder behind the claim.
        "kubectl cp my-reranker loader:/models/my-reranker": (
            f'cp -r my-reranker "$(kubectl get pv $({CLAIM}) -o jsonpath={{.spec.hostPath.path}})"'
        ),
    },
    "expose": {"replicas: 2": "replicas: 0"},  # no pod is needed to see what is made
    "gitops": {
        "apply --server-side -k examples": "apply --server-side --force-conflicts --dry-run=server -k examples",
        # Whoever installed the operator as a process here owns the same fields.
        "kubectl diff --server-side -k platform": "kubectl diff --server-side --force-conflicts -k platform",
        "apply --server-side --field-manager=reranker-health": (
            "create namespace argocd && kubectl apply --server-side --field-manager=reranker-health"
        ),
        "apply --server-side -f flux": "create namespace flux-system && kubectl apply --server-side -f flux",
        "namespace: search": "namespace: NAMESPACE",
    },
    "upgrade": {"condition=Ready": "condition=ModelVerified"},  # nor here, of a service without pods
    "roll-back": {"progressDeadlineSeconds: 600": "progressDeadlineSeconds: 10"},
    "debug": {"replicas: 1": "replicas: 0"},
}


def read(name: str, namespace: str) -> Page:
    """A guide, with what is replaced."""
    text = (GUIDES / f"{name}.md").read_text()
    unused = [said for said in INSTEAD.get(name, {}) if said not in text]
    assert not unused, f"{name}.md does not have what is to be replaced: {unused}"
    instead = INSTEAD["every"] | INSTEAD.get(name, {})
    return Page.parse(
        f"{name}.md", text, {said: other.replace("NAMESPACE", namespace) for said, other in instead.items()}
    )


@pytest.fixture
def checkout(rerankers: Rerankers, tmp_path: Path, repository: Path) -> Checkout:
    """Where the commands run."""
    made = Checkout.make(tmp_path, repository, rerankers.cluster, rerankers.namespace)
    shutil.copytree(small_model(), tmp_path / "my-reranker")
    for path in (tmp_path / "my-reranker").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return made


@pytest.fixture
def follow(rerankers: Rerankers, checkout: Checkout) -> Iterator[Callable[[Page], str]]:
    """Does what a page says; returns what the commands printed, each below itself."""
    yield checkout.follow
    rerankers.cluster.delete("v1", "Namespace", f"{rerankers.namespace}-shop")


def revisions(rerankers: Rerankers) -> list[Json]:
    """The templates that the service had, the first one first."""
    labels = {"app.kubernetes.io/instance": "docs"}
    found = rerankers.cluster.objects("apps/v1", "ControllerRevision", rerankers.namespace, labels)
    return sorted(found, key=lambda each: int(each["revision"]))


def template_hash(holder: Json) -> str:
    return str(holder["spec"]["template"]["metadata"]["labels"]["reranking.dev/template-hash"])


def test_there_is_a_test_for_each_guide_and_a_line_in_the_list() -> None:
    names = {path.stem for path in GUIDES.glob("*.md")}
    followed = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert names - ELSEWHERE <= followed
    listed = re.findall(r"\((\S+)\.md\)", (GUIDES / "README.md").read_text())
    assert set(listed) == names - {"README"}


@pytest.mark.parametrize("name", sorted({path.stem for path in GUIDES.glob("*.md")} - ELSEWHERE))
def test_parts_of_a_manifest_fit_into_a_service(rerankers: Rerankers, name: str) -> None:
    for part in read(name, rerankers.namespace).parts:
        spec = spec_of()
        given = yaml.safe_load(part)
        assert list(given) == ["spec"], f"{name}.md: this has neither a file's name nor is it a part: {part}"
        if "source" in given["spec"].get("model", {}):
            spec["model"].pop("source")
        whole = {**rerankers.manifest("docs"), "spec": _merged(spec, given["spec"])}
        flags = ["--validate=strict", "--dry-run=server"]
        rerankers.cluster.kubectl("apply", *flags, "-f", "-", stdin=json.dumps(whole))


def _merged(base: Json, more: Json) -> Json:
    both: dict[str, Any] = {**base, **more}
    for key in base.keys() & more.keys():
        if isinstance(base[key], dict):
            both[key] = _merged(base[key], more[key])
    return both


def test_deploy(rerankers: Rerankers, follow: Callable[[Page], str]) -> None:
    said = follow(read("deploy", rerankers.namespace))
    assert '{"rankings":[{"index":0,' in said.replace(" ", "")
    assert "serviceaccount/reranker-operator serverside-applied (server dry run)" in said


def test_custom_weights(cluster: Cluster, rerankers: Rerankers, follow: Callable[[Page], str]) -> None:
    cluster.add_image(Image("busybox:1.37"))
    follow(read("custom-weights", rerankers.namespace))
    digest = rerankers.small_model_digest()
    model = rerankers.wait_status("docs", lambda found: "digest" in found["model"] and found["model"])
    assert (model["name"], model["digest"]) == ("my-org/my-reranker", digest)
    ranked = rerankers.rank(
        "docs", "which way should i go?", ["a stew", "two roads diverged"], model="my-org/my-reranker"
    )
    assert ranked["rankings"][0]["index"] == 1
    rerankers.cluster.kubectl(
        *("-n", rerankers.namespace, "patch", "rrs", "docs", "--type=merge"),
        *("-p", json.dumps({"spec": {"model": {"digest": f"sha256:{'0' * 64}"}}})),
    )
    rerankers.wait_condition("docs", "ModelVerified", "False", "DigestMismatch", generation=3)
    assert len(rerankers.pods("docs")) == 1


def test_rotate(rerankers: Rerankers, follow: Callable[[Page], str]) -> None:
    """That pods take up new keys and certificates is shown where they run: this kubelet mounts a Secret once."""
    follow(read("rotate", rerankers.namespace))

    before = template_hash(revisions(rerankers)[0]["data"])
    rerankers.wait_deployment("docs", lambda found: template_hash(found) != before)
    rerankers.wait_ready("docs")
    # Keys and the certificate changed three times, the variable once: there is one template more.
    first, second = (each["data"]["spec"]["template"]["metadata"]["annotations"] for each in revisions(rerankers))
    assert {key for key in second if second[key] != first[key]} == {"reranking.dev/inputs"}


def test_expose(rerankers: Rerankers, follow: Callable[[Page], str]) -> None:
    said = follow(read("expose", rerankers.namespace))
    (key,) = re.findall(r"^[\w-]{40,}", said, re.MULTILINE)
    assert key
    ingress = rerankers.cluster.get("networking.k8s.io/v1", "Ingress", "docs", rerankers.namespace)
    assert ingress is not None
    for kind in ("networkpolicy.networking.k8s.io", "poddisruptionbudget.policy"):
        assert f"{kind}/docs" in said
    assert ingress["spec"]["tls"] == [{"hosts": ["rank.example.com"], "secretName": "rank-example-com"}]


TOOLS = {"Application": "argoproj.io/v1alpha1", "Kustomization": "kustomize.toolkit.fluxcd.io/v1"}
"""Kinds of Argo CD and of Flux."""


@pytest.fixture
def tools(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with their kinds, and with nothing of them afterwards."""
    definitions = []
    for kind, version in TOOLS.items():
        definition = crd(version.partition("/")[0], kind, f"{kind.lower()}s", version.partition("/")[2])
        definitions.append(("apiextensions.k8s.io/v1", "CustomResourceDefinition", definition["metadata"]["name"]))
        cluster.apply(definition)
        cluster.wait(*definitions[-1], established)
    yield cluster
    namespaces = [("v1", "Namespace", name) for name in ("argocd", "flux-system")]
    for each in (*namespaces, *definitions):
        cluster.delete(*each)
        cluster.wait_gone(*each)


def test_gitops(tools: Cluster, rerankers: Rerankers, follow: Callable[[Page], str]) -> None:
    cluster = tools
    said = follow(read("gitops", rerankers.namespace))
    assert "poddisruptionbudget.policy/reranker-operator serverside-applied (server dry run)" in said
    assert "+        - --log-level=debug" in said
    assert "configmap/argocd-cm serverside-applied" in said
    for kind, version in TOOLS.items():
        assert f"{kind.lower()}.{version.partition('/')[0]}/search-rerankers serverside-applied" in said
    found = cluster.get("reranking.dev/v1alpha1", "RerankerService", "docs", rerankers.namespace)
    assert found is not None
    assert found["metadata"]["labels"] == {"team": "search"}
    assert rerankers.deployment("docs")["metadata"]["annotations"]["backup"] == "no"


def test_upgrade(rerankers: Rerankers, follow: Callable[[Page], str]) -> None:
    rerankers.apply("docs", replicas=0)
    before = rerankers.wait_deployment("docs", template_hash)
    follow(read("upgrade", rerankers.namespace))
    after = rerankers.wait_deployment("docs", lambda found: template_hash(found) != before and found)
    assert after["spec"]["template"]["metadata"]["annotations"]["release"] == "of-june"


def test_roll_back(rerankers: Rerankers, follow: Callable[[Page], str]) -> None:
    said = follow(read("roll-back", rerankers.namespace))
    assert "serves again" in said
    assert re.search(r"Crashing.*RERANKER_WORKERS", said)
    first, _failed = revisions(rerankers)
    assert template_hash(rerankers.deployment("docs")) == template_hash(first["data"])
    rerankers.wait_deployment("docs", lambda found: found["status"].get("replicas") == 1)


def test_debug(rerankers: Rerankers, follow: Callable[[Page], str], checkout: Checkout) -> None:
    said = follow(read("debug", rerankers.namespace))
    assert f"RerankerService {rerankers.namespace}/docs is not Ready: Paused" in said
    assert "Secret tracing does not exist" in said
    assert '{"ok": true' in said
    assert (checkout.folder / "docs.tar.gz").stat().st_size > 1000
