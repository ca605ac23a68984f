"""The operator as a process: killed, restarted, two of them, before its CRD, with only its own rights."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from localkube.cluster import Cluster
from localkube.images import Image
from localkube.operator_process import NAMESPACE, OperatorProcess
from localkube.processes import free_port, wait_until
from rerankers import Json, Rerankers

LEASE = ("coordination.k8s.io/v1", "Lease", "reranker-operator")


def leader(cluster: Cluster) -> str:
    """Who holds the lease; empty when nobody does."""
    lease = cluster.get(*LEASE, NAMESPACE)
    return str((lease or {}).get("spec", {}).get("holderIdentity") or "")


@pytest.fixture
def second(cluster: Cluster, operator: OperatorProcess, tmp_path: Path) -> Iterator[OperatorProcess]:
    """Another operator beside the first."""
    other = OperatorProcess(cluster, tmp_path, name="second")
    other.start()
    yield other
    other.stop()


@pytest.mark.long
def test_of_two_operators_one_leads_and_the_other_takes_over(
    cluster: Cluster, operator: OperatorProcess, second: OperatorProcess, rerankers: Rerankers
) -> None:
    wait_until("the first operator to lead", operator.leads, timeout=30)
    assert not second.leads()
    first = leader(cluster)
    operator.kill()
    try:
        rerankers.apply("docs", replicas=0)
        wait_until("the second operator to lead", second.leads, timeout=60)
        assert leader(cluster) != first
        rerankers.wait_condition("docs", "Ready", "False", "Paused")
    finally:
        operator.start()
    assert not operator.leads()
    second.stop()
    wait_until("the first operator to lead again", operator.leads, timeout=10)


def test_a_leader_that_stops_gives_its_lease_back(cluster: Cluster, operator: OperatorProcess) -> None:
    wait_until("the operator to lead", operator.leads, timeout=30)
    operator.child.process.send_signal(signal.SIGTERM)
    assert operator.child.process.wait(timeout=30) == 0
    try:
        assert leader(cluster) == ""
    finally:
        operator.start()
    wait_until("the operator to lead", operator.leads, timeout=10)


def test_a_restart_with_nothing_to_do_changes_nothing(
    cluster: Cluster, operator: OperatorProcess, rerankers: Rerankers
) -> None:
    rerankers.apply("docs")
    rerankers.wait_ready("docs")

    def versions() -> dict[str, Any]:
        found = {
            "service": rerankers.service("docs"),
            "resource": cluster.get("reranking.dev/v1alpha1", "RerankerService", "docs", rerankers.namespace),
            "pod": rerankers.pods("docs")[0],
        }
        # The Deployment's own controller may still be writing its status: what the operator wrote counts, and when.
        entries = rerankers.deployment("docs")["metadata"]["managedFields"]
        ours = [each for each in entries if each["manager"].startswith("reranker-operator")]
        assert ours
        return {"deployment": ours} | {
            name: item["metadata"]["resourceVersion"] for name, item in found.items() if item
        }

    before = versions()
    operator.restart()

    def looked_at() -> bool:
        shown = f'reranker_operator_service_ready{{name="docs",namespace="{rerankers.namespace}"}} 1.0'
        return shown in operator.metrics()

    wait_until("the restarted operator to have looked at the service", looked_at, timeout=30)
    assert versions() == before


@pytest.mark.long
def test_killed_at_any_moment_of_a_change_it_finishes_after_a_restart(
    operator: OperatorProcess, rerankers: Rerankers
) -> None:
    """Killed as soon as each kind of child appears or changes: what was half done is completed."""

    def seen(version: str, kind: str, since: int) -> None:
        def changed(item: Json) -> bool:
            return int(item["metadata"]["resourceVersion"]) > since

        rerankers.cluster.wait(version, kind, "docs", changed, namespace=rerankers.namespace)

    for generation, (version, kind) in enumerate(
        (("v1", "ServiceAccount"), ("v1", "Service"), ("apps/v1", "Deployment")), start=1
    ):
        made = rerankers.apply("docs", service={"labels": {"killed-after": kind}}, replicas=(generation + 1) % 2)
        # The first two are touched by this very change; the Deployment is there, and about to change.
        seen(version, kind, int(made["metadata"]["resourceVersion"]) if generation <= len("12") else 0)
        operator.kill()
        operator.start()
        wanted = "True" if made["spec"]["replicas"] else "False"
        rerankers.wait_condition("docs", "Ready", wanted, generation=generation)
        assert rerankers.service("docs")["metadata"]["labels"]["killed-after"] == kind
    assert len(rerankers.jobs("docs")) == 1


def test_it_waits_for_its_crd(cluster: Cluster, operator: OperatorProcess, tmp_path: Path) -> None:
    """Without the CRD it stays up, not ready, and says what to apply; with it, it goes on."""
    crd = "rerankerservices.reranking.dev"
    saved = cluster.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd)
    assert saved is not None
    operator.stop()
    cluster.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd)
    cluster.wait_gone("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd)
    early = OperatorProcess(cluster, tmp_path, name="early")
    early.start(wait=False)
    try:
        wait_until(
            "the early operator to say what it waits for",
            lambda: "apply crds/ of this release; waiting for it" in early.log.read_text(),
            timeout=30,
            watch=[early.child],
        )
        assert httpx.get(f"http://127.0.0.1:{early.health_port}/readyz", trust_env=False).status_code == 503
        assert httpx.get(f"http://127.0.0.1:{early.health_port}/healthz", trust_env=False).status_code == 200
        early.install()
        wait_until("the early operator to be ready", early.ready, timeout=30, watch=[early.child])
    finally:
        early.stop()
        early.install()
        operator.start()


def test_it_has_rights_to_nothing_more_than_it_uses(cluster: Cluster, operator: OperatorProcess) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:reranker-operator"
    for verb, resource in (
        ("patch", "secrets"),
        ("delete", "secrets"),
        ("create", "pods"),
        ("get", "nodes"),
        ("update", "rerankerservices.reranking.dev"),
        ("patch", "rerankerservices.reranking.dev"),
        ("delete", "deployments.apps"),
        ("create", "clusterroles.rbac.authorization.k8s.io"),
    ):
        answer = cluster.kubectl("auth", "can-i", verb, resource, "--as", account, "-A", check=False)
        assert answer.strip() == "no", f"{verb} {resource}"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KUBECONFIG": "/nowhere/config"}, "/nowhere/config"),
        ({"KUBECONFIG": "", "HOME": "/nowhere"}, "no way to reach a cluster"),
    ],
)
def test_without_a_cluster_it_says_where_it_looked(environment: dict[str, str], said: str) -> None:
    command = [Path(sys.executable).with_name("reranker-operator"), "run", "--health-port", "0", "--metrics-port", "0"]
    variables = {**os.environ, **environment}
    result = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=60)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_logs_can_be_json(cluster: Cluster, operator: OperatorProcess, tmp_path: Path) -> None:
    other = OperatorProcess(cluster, tmp_path, name="json", arguments=["--log-format", "json"])
    other.start()
    other.stop()
    lines = [json.loads(line) for line in other.log.read_text().splitlines()]
    assert lines[0]["level"] == "info"
    assert lines[0]["message"].startswith("version ")


def test_the_shipped_deployment_runs_with_its_own_service_account(
    cluster: Cluster, operator: OperatorProcess, rerankers: Rerankers, repository: Path
) -> None:
    """The pod of deploy/operator/deployment.yaml: in-cluster address, mounted token, read-only root, probes.

    Pods of this kit reach the API server only in the host's network, which the namespace's Pod Security level refuses:
    both are changed here, and nothing else but the ports, which must be free.
    """
    document = yaml.safe_load((repository / "deploy/operator/deployment.yaml").read_text())
    pod = document["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {"metrics": free_port(), "health": free_port()}
    container["args"] += [f"--{name}-port={port}" for name, port in ports.items()]
    container["ports"] = [{"name": name, "containerPort": port, "hostPort": port} for name, port in ports.items()]
    pod["hostNetwork"] = True
    document["spec"]["replicas"] = 1
    level = "pod-security.kubernetes.io/enforce"
    cluster.add_image(Image(container["image"], entrypoint=["reranker-operator"]))
    cluster.kubectl("label", "namespace", NAMESPACE, f"{level}=privileged", "--overwrite")
    operator.stop()
    try:
        cluster.apply(document)
        available = cluster.wait(
            "apps/v1",
            "Deployment",
            "reranker-operator",
            lambda item: item.get("status", {}).get("availableReplicas") == 1,
            namespace=NAMESPACE,
        )
        assert available
        rerankers.apply("docs", replicas=0)
        rerankers.wait_condition("docs", "Ready", "False", "Paused")
    finally:
        cluster.delete("apps/v1", "Deployment", "reranker-operator", NAMESPACE)
        cluster.wait_gone("apps/v1", "Deployment", "reranker-operator", namespace=NAMESPACE)
        cluster.kubectl("label", "namespace", NAMESPACE, f"{level}=restricted", "--overwrite")
        operator.start()
