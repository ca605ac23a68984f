"""An operator of a few namespaces, installed as deploy/namespaced says: no rights and no deeds elsewhere."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from localkube.cluster import Cluster
from localkube.operator_process import NAMESPACE, OperatorProcess
from localkube.processes import wait_until
from rerankers import UNSEEN, Rerankers

WATCHED = "namespaced/watched"
PRIORITY = "above-others"
READS_A_SECRET = {
    "env": [{"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "used"}}}],
}


@dataclass
class Installed:
    """The operator, its own namespace, two namespaces that it watches and one that it does not."""

    operator: OperatorProcess
    own: str
    watched: tuple[Rerankers, Rerankers]
    other: Rerankers
    rights: Path
    """What is applied in a namespace that is to be watched."""


def install(cluster: Cluster, deploy: Path, own: str, watched: list[str]) -> list[str]:
    """What the guide tells to do, with all rights in `own`; returns the arguments that the operator is given.

    The Deployment is left out: its process is started by the test.
    """
    named = deploy / "namespaced/kustomization.yaml"
    lines = named.read_text().splitlines(keepends=True)
    (asked,) = [line for line in lines if "--namespace=search" in line]
    at = lines.index(asked)
    lines[at : at + 1] = [asked.replace("search", name) for name in watched]
    named.write_text("".join(lines))
    for path in deploy.rglob("*.yaml"):
        path.write_text(path.read_text().replace(NAMESPACE, own))
    for name in watched:
        cluster.kubectl("-n", name, "apply", "--server-side", "-k", str(deploy / WATCHED))
    made = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(deploy / "namespaced"))))
    (deployment,) = [each for each in made if each["kind"] == "Deployment"]
    assert not [each["kind"] for each in made if each["kind"].startswith("ClusterRole")]
    made.remove(deployment)
    applied = cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(made))
    assert "role.rbac.authorization.k8s.io/reranker-operator-key" in applied
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return [each for each in container["args"] if each != "run"]


@pytest.fixture(scope="module")
def installed(
    cluster: Cluster, operator: OperatorProcess, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """In the place of the session's operator, which stands aside: it would see to every namespace."""
    checkout = tmp_path_factory.mktemp("checkout")
    for folder in ("crds", "deploy"):
        shutil.copytree(repository / folder, checkout / folder)
    tag = uuid.uuid4().hex[:8]
    own, *names = (f"{part}-{tag}" for part in ("operator", "watched-a", "watched-b", "other"))
    for name in names:
        cluster.create_namespace(name)
    arguments = install(cluster, checkout / "deploy", own, names[:2])
    priority = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": PRIORITY},
        "value": 1,
    }
    cluster.apply(priority)
    first, second, other = (Rerankers(cluster, name) for name in names)
    operator.stop()
    try:
        state = tmp_path_factory.mktemp("namespaced")
        process = OperatorProcess(cluster, state, name="namespaced", arguments=arguments, namespace=own)
        process.start()
        yield Installed(process, own, (first, second), other, checkout / "deploy" / WATCHED)
        process.stop()
    finally:
        operator.start()
        for name in (own, *names):
            cluster.delete("v1", "Namespace", name)
        cluster.delete("scheduling.k8s.io/v1", "PriorityClass", PRIORITY)


def put_token(rerankers: Rerankers, value: str) -> None:
    metadata = {"name": "tokens", "namespace": rerankers.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"used": value}}
    rerankers.cluster.apply(secret)


def test_it_sees_to_its_namespaces_and_to_no_other(installed: Installed) -> None:
    first, second = installed.watched
    installed.other.apply("docs", replicas=0)
    exposed: dict[str, Any] = {
        "ingress": {"host": "rank.example.com", "className": "nginx"},
        "pod": {"priorityClassName": PRIORITY},
    }
    first.apply("docs", **exposed)
    second.apply("docs", replicas=0, server=READS_A_SECRET)
    first.wait_ready("docs")
    assert first.rank("docs", "which way should i go?", ["a stew", "two roads diverged"])["rankings"][0]["index"] == 1
    # Nothing cluster-wide is read: what cannot be looked at is said, and is not missing.
    resolved = first.wait_condition("docs", "ReferencesResolved", "True")
    assert "not checked" in resolved["message"]
    assert f"PriorityClass {PRIORITY}" in resolved["message"]
    assert "IngressClass nginx" in resolved["message"]

    # Watches of what specs name, and the operator's own key, work with these rights.
    second.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
    put_token(second, "one")
    second.wait_condition("docs", "ReferencesResolved", "True")
    before = second.wait_deployment("docs", lambda found: found["spec"]["template"])
    put_token(second, "two")
    second.wait_deployment("docs", lambda found: found["spec"]["template"] != before)

    assert installed.other.status("docs") == UNSEEN
    assert installed.other.jobs("docs") == []
    lines = [json.loads(line) for line in installed.operator.log.read_text().splitlines()]
    assert not [line for line in lines if line["level"] == "error" or "Traceback" in str(line)]


def test_its_rights_end_with_its_namespaces(installed: Installed, cluster: Cluster) -> None:
    account = f"system:serviceaccount:{installed.own}:reranker-operator"
    first, second = (each.namespace for each in installed.watched)
    asked = [
        ("yes", "list", "secrets", first),
        ("yes", "patch", "deployments.apps", second),
        ("no", "get", "secrets", installed.other.namespace),
        ("no", "list", "rerankerservices.reranking.dev", installed.other.namespace),
        ("no", "get", "secrets", NAMESPACE),
        ("yes", "get", "secrets/reranker-operator-key", installed.own),
        ("no", "get", "secrets/another", installed.own),
        ("no", "list", "secrets", installed.own),
        ("no", "patch", "secrets", installed.own),
        ("no", "list", "priorityclasses.scheduling.k8s.io", ""),
        ("no", "list", "storageclasses.storage.k8s.io", ""),
        ("no", "list", "secrets", "*"),
    ]
    for expected, verb, thing, namespace in asked:
        where = ["-A"] if namespace == "*" else ["-n", namespace] if namespace else []
        answer = cluster.kubectl("auth", "can-i", verb, thing, *where, "--as", account, check=False)
        assert answer.strip() == expected, f"{verb} {thing} in {namespace or 'the cluster'}"


@pytest.mark.long
def test_a_namespace_without_its_role_holds_up_no_other(installed: Installed, cluster: Cluster) -> None:
    first, second = installed.watched
    of_roles = "rbac.authorization.k8s.io/v1"
    (binding,) = cluster.objects(of_roles, "RoleBinding", second.namespace)
    kept = {key: binding["metadata"][key] for key in ("name", "namespace")}
    installed.operator.stop()
    cluster.delete(of_roles, "RoleBinding", kept["name"], second.namespace)
    installed.operator.start()
    first.apply("later", replicas=0)
    first.wait_condition("later", "Ready", "False", "Paused")
    second.apply("later", replicas=0)
    wait_until("the log to say it", lambda: "are not watched" in installed.operator.log.read_text(), timeout=60)
    assert second.status("later") == UNSEEN
    cluster.apply({**binding, "apiVersion": of_roles, "kind": "RoleBinding", "metadata": kept})
    second.wait_condition("later", "Ready", "False", "Paused")


def test_many_namespaces_are_seen_to_at_once(installed: Installed, cluster: Cluster) -> None:
    """Each holds a dozen watches, whose connections are none that anything else waits for."""
    tag = uuid.uuid4().hex[:8]
    many = [Rerankers(cluster, f"many-{number}-{tag}") for number in range(5)]
    image = {"repository": "nvcr.io/nim/nvidia/example", "tag": "1.8.0"}
    for each in many:
        cluster.create_namespace(each.namespace)
        cluster.kubectl("-n", each.namespace, "apply", "--server-side", "-k", str(installed.rights))
        # Without a model to check and without pods: only the operator has something to do.
        each.apply("docs", model=None, runtime="NIM", image=image, replicas=0, server=READS_A_SECRET)
    try:
        with installed.operator.started_with(*(f"--namespace={each.namespace}" for each in many)):
            for each in many:
                each.wait_condition("docs", "ReferencesResolved", "False", "NotFound")
                put_token(each, "one")
            for each in many:
                each.wait_deployment("docs", lambda found: found["spec"]["template"])
                each.wait_condition("docs", "Ready", "False", "Paused")
    finally:
        for each in many:
            cluster.delete("v1", "Namespace", each.namespace)
