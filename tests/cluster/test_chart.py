"""The chart on a cluster: installed, tried, upgraded, rolled back and removed by helm, its pods run by the kubelet.

Pods of this kit reach the API server only in the host's network, hence `hostNetwork` and free ports; nothing else is
other than by default.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import CHART, Json, flags_of
from diagnosing import report_of
from foreignkinds import crd
from localkube.cluster import Cluster
from localkube.operator_process import established
from localkube.processes import ProcessError, free_port, wait_until
from rerankers import API, KIND, UNSEEN, Rerankers, spec_of

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "rerankerservices.reranking.dev")
NAMESPACE = "reranker-system"
NAME = "reranker-operator"
PASSAGES = ["a stew", "two roads diverged"]


@dataclass
class Release:
    """A release of the chart, with values that this kit needs."""

    cluster: Cluster
    folder: Path
    namespace: str = NAMESPACE
    name: str = NAME

    def helm(self, verb: str, *arguments: str, check: bool = True) -> str:
        """A command about the release."""
        return self.cluster.helm(verb, self.name, *arguments, "--namespace", self.namespace, check=check)

    def put(self, verb: str, values: Json, *flags: str, chart: Path = CHART) -> str:
        """Install or upgrade it, and wait until an operator is ready: on ports of its own, as old pods have theirs."""
        kit = {"replicas": 1, "hostNetwork": True, "ports": {"metrics": free_port(), "health": free_port()}}
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump({**kit, **values}))
        return self.helm(verb, str(chart), "--values", str(path), "--wait", "--timeout", "2m", *flags)

    def manifest(self) -> str:
        """What helm holds to be part of it."""
        return self.cluster.helm("get", "manifest", self.name, "--namespace", self.namespace)

    def install(self, values: Json, *flags: str) -> str:
        """`helm install`."""
        return self.put("install", values, "--create-namespace", *flags)

    def uninstall(self) -> None:
        """`helm uninstall`, whatever is left of it."""
        self.helm("uninstall", "--ignore-not-found", "--wait")


@pytest.fixture
def release(blank: Cluster, tmp_path: Path) -> Any:
    """A release that is not installed yet, and gone afterwards with its CRD."""
    made = Release(blank, tmp_path)
    yield made
    made.uninstall()
    blank.delete(*CRD)
    blank.wait_gone(*CRD)


def uids(rerankers: Rerankers, name: str) -> list[str]:
    """Of the resource, and of its pods."""
    resource = rerankers.cluster.get(API, KIND, name, rerankers.namespace)
    assert resource is not None
    return [resource["metadata"]["uid"], *sorted(pod["metadata"]["uid"] for pod in rerankers.pods(name))]


def next_release(folder: Path) -> Path:
    """The chart of a later release: the CRD has a field more."""
    chart = folder / "next"
    shutil.copytree(CHART, chart)
    (crd,) = (chart / "files/crds").glob("*.yaml")
    document = yaml.safe_load(crd.read_text())
    (version,) = document["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields["fromTheFuture"] = {"type": "string", "description": "A field of a later release."}
    crd.write_text(yaml.safe_dump(document, sort_keys=False))
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.2.0"}))
    return chart


def knows_the_future(cluster: Cluster) -> bool:
    """Whether the cluster's CRD is that of the later release."""
    return "fromTheFuture" in cluster.kubectl("get", "crd", CRD[2], "-o", "json")


MAY = {"edit": ["get", "create", "delete"], "view": ["get"]}
"""What Kubernetes' own roles let do with services."""


def rights(cluster: Cluster) -> dict[str, list[str]]:
    """What users bound to these roles may do."""

    def may(role: str, verb: str) -> bool:
        asked = ("auth", "can-i", verb, "rerankerservices.reranking.dev", f"--as={role}or", "-n", "search")
        return cluster.kubectl(*asked, check=False).strip() == "yes"

    return {role: [verb for verb in ("get", "create", "delete") if may(role, verb)] for role in MAY}


@pytest.mark.long
def test_installed_upgraded_rolled_back_and_removed_while_a_service_ranks(
    release: Release, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    cluster = release.cluster
    cluster.create_namespace("search")
    search = Rerankers(cluster, "search")
    service = {"docs": {"namespace": "search", "spec": spec_of()}}

    # Install, with a service of a kind that the cluster does not know yet.
    began = time.monotonic()
    said = release.install({"services": service})
    tell(f"helm install --wait, until an operator is ready: {time.monotonic() - began:.1f} s")
    assert "helm -n reranker-system test reranker-operator" in said
    assert "rrs/docs" in said
    search.wait_ready("docs")
    assert search.rank("docs", "which way should i go?", PASSAGES)["rankings"][0]["index"] == 1
    before = uids(search, "docs")

    # Who may edit or view in a namespace may do so with its services.
    for role in MAY:
        cluster.kubectl("-n", "search", "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}or")
    wait_until("roles to be aggregated and bound", lambda: rights(cluster) == MAY, timeout=30)

    # `helm test`.
    assert "Phase:          Succeeded" in release.helm("test", "--logs")

    # Upgrade to a release whose CRD has changed: helm takes the service over, and its pods stay.
    release.put("upgrade", {"services": service}, chart=next_release(tmp_path))
    assert knows_the_future(cluster)
    assert f"kind: {KIND}" in release.manifest()
    assert uids(search, "docs") == before
    changed = {"docs": {**service["docs"], "labels": {"team": "search"}}}
    release.put("upgrade", {"services": changed}, chart=tmp_path / "next")
    found = cluster.get(API, KIND, "docs", "search")
    assert found is not None
    assert found["metadata"]["labels"]["team"] == "search"
    assert uids(search, "docs") == before

    # Roll back to the first revision, whose manifest has no service: it stays, and so do its pods.
    release.helm("rollback", "1", "--wait", "--timeout", "2m")
    assert not knows_the_future(cluster)
    assert uids(search, "docs") == before
    assert search.rank("docs", "which way should i go?", PASSAGES)["rankings"][0]["index"] == 1

    # Uninstall: the CRD, the resource and its pods stay, and the next install takes them over.
    release.uninstall()
    assert cluster.objects("apps/v1", "Deployment", NAMESPACE) == []
    assert cluster.objects("v1", "ServiceAccount", NAMESPACE)[1:] == []
    assert uids(search, "docs") == before
    release.install({"services": service, "crds": {"keep": False}})
    search.wait_ready("docs")
    assert uids(search, "docs") == before
    assert f"kind: {KIND}" in release.manifest()

    # Without keep they go with the release.
    release.uninstall()
    cluster.wait_gone(*CRD)
    assert cluster.objects("apps/v1", "Deployment", "search") == []


@pytest.mark.long
def test_for_a_few_namespaces_nothing_is_wider(release: Release) -> None:
    cluster = release.cluster
    for name in ("watched", "other"):
        cluster.create_namespace(name)
    watched, other = (Rerankers(cluster, name) for name in ("watched", "other"))
    release.install({"watchNamespaces": ["watched"]})
    for each in (watched, other):
        each.apply("docs", replicas=0)
    watched.wait_condition("docs", "Ready", "False", "Paused")
    assert "watched: 1 RerankerServices" in release.helm("test", "--logs")
    assert other.status("docs") == UNSEEN
    roles = cluster.kubectl(
        "get", "clusterroles,clusterrolebindings", "-o", "name", "-l", f"app.kubernetes.io/instance={NAME}"
    )
    assert roles == ""
    account = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    for verb, what, where in (("list", "secrets", "other"), ("list", "secrets", NAMESPACE), ("list", "pods", "other")):
        answer = cluster.kubectl("auth", "can-i", verb, what, "-n", where, "--as", account, check=False)
        assert answer.strip() == "no", f"{verb} {what} in {where}"


@pytest.mark.long
def test_two_releases_in_one_namespace_both_lead(release: Release) -> None:
    cluster = release.cluster
    other = Release(cluster, release.folder, name="other")
    for name in ("of-one", "of-other"):
        cluster.create_namespace(name)
    release.install({"watchNamespaces": ["of-one"]})
    try:
        other.install({"watchNamespaces": ["of-other"], "crds": {"install": False}})
        for each, namespace, lease in (
            (release, "of-one", NAME),
            (other, "of-other", f"other-{NAME}"),
        ):
            rerankers = Rerankers(cluster, namespace)
            rerankers.apply("docs", replicas=0)
            rerankers.wait_condition("docs", "Ready", "False", "Paused")
            assert "Phase:          Succeeded" in each.helm("test", "--logs")
            report = report_of(rerankers, "docs")
            assert "Beware" not in report.verdict
            assert f"Lease {lease}: held by " in report["OPERATOR"]
    finally:
        other.uninstall()


def test_a_namespace_that_is_missing_is_named(release: Release) -> None:
    with pytest.raises(ProcessError, match='namespaces "nowhere" not found'):
        release.install({"watchNamespaces": ["nowhere"]})


STANDINS = {
    "ServiceMonitor": ("monitoring.coreos.com", "servicemonitors"),
    "PrometheusRule": ("monitoring.coreos.com", "prometheusrules"),
}


@pytest.fixture(scope="module")
def every_kind(blank: Cluster) -> Any:
    """The blank cluster, with the kinds that the chart makes objects of."""
    for path in (CHART / "files/crds").glob("*.yaml"):
        blank.apply_file(path)
    blank.wait(*CRD, established)
    for kind, (group, plural) in STANDINS.items():
        blank.apply(crd(group, kind, plural))
        blank.wait(CRD[0], CRD[1], f"{plural}.{group}", established)
    yield blank
    for name in (CRD[2], *(f"{plural}.{group}" for group, plural in STANDINS.values())):
        blank.delete(CRD[0], CRD[1], name)
        blank.wait_gone(CRD[0], CRD[1], name)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "chart/values").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_server_takes_every_object(every_kind: Cluster, path: Path) -> None:
    """Strictly, by its own schemas: a field that it does not know is an error."""
    for name in ("search", "shop", "dry"):
        every_kind.create_namespace(name)
    for name in ("reranker-operator", "ranking", "operator"):  # which the pod of `helm test` needs
        every_kind.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "dry"}})
    command = ["template", NAME, str(CHART), "--namespace", "dry", "--values", str(path)]
    text = every_kind.helm(*command, *flags_of(path))
    made = [each for each in yaml.safe_load_all(text) if each]
    flags = ["--server-side", "--dry-run=server", "--validate=strict", "--field-manager=helm"]
    applied = every_kind.kubectl(
        "apply", *flags, "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": made})
    )
    assert len(applied.splitlines()) == len(made)


def test_its_pods_meet_restricted_pod_security(every_kind: Cluster) -> None:
    every_kind.create_namespace("strict", {"pod-security.kubernetes.io/enforce": "restricted"})
    text = every_kind.helm("template", NAME, str(CHART), "--namespace", "strict")
    made = [each for each in yaml.safe_load_all(text) if each]
    (template,) = [each["spec"]["template"] for each in made if each["kind"] == "Deployment"]
    pods = [each for each in made if each["kind"] == "Pod"]
    pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": template["spec"]})
    every_kind.apply(*(each for each in made if each["kind"] == "ServiceAccount"))
    for pod in pods:
        flags = ["--dry-run=server", "--validate=strict", "-n", "strict"]
        every_kind.kubectl("apply", *flags, "-f", "-", stdin=json.dumps(pod))
