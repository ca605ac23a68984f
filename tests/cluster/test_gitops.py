"""What GitOps tools see: overlays, Argo CD's health, kstatus, and server-side apply beside the operator's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from argocd import HEALTH, health
from kstatus import kstatus
from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from localkube.processes import wait_until
from rerankers import API, KIND, UNSEEN, Json, Rerankers, spec_of

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(path.parent.name for path in (ROOT / "examples/gitops").glob("*/kustomization.yaml"))
HEALTH_KEY = "resource.customizations.health.reranking.dev_RerankerService"


@pytest.fixture
def extra(cluster: Cluster) -> Iterator[list[str]]:
    """Namespaces that a test makes; they go afterwards."""
    made: list[str] = []
    yield made
    for name in made:
        cluster.delete("v1", "Namespace", name)
        cluster.wait_gone("v1", "Namespace", name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_server_takes_every_overlay(rerankers: Rerankers, extra: list[str], name: str) -> None:
    cluster = rerankers.cluster
    rendered = cluster.kubectl("kustomize", str(ROOT / "examples/gitops" / name))
    objects = list(yaml.safe_load_all(rendered))
    for each in objects:
        # A dry run makes no namespace that the next object could be in.
        if each["kind"] == "Namespace" and cluster.get("v1", "Namespace", each["metadata"]["name"]) is None:
            cluster.create_namespace(each["metadata"]["name"])
            extra.append(each["metadata"]["name"])
    flags = ["--server-side", "--force-conflicts", "--dry-run=server"]
    applied = cluster.kubectl("apply", *flags, "-f", "-", stdin=rendered)
    assert len(applied.splitlines()) == len(objects)


def overlay(cluster: Cluster, name: str) -> dict[str, Json]:
    """Its objects that have no twin of their kind, by kind."""
    rendered = cluster.kubectl("kustomize", str(ROOT / "examples/gitops" / name))
    return {each["kind"]: each for each in yaml.safe_load_all(rendered)}


def test_the_overlays_do_what_they_say(cluster: Cluster) -> None:
    (container,) = overlay(cluster, "pinned")["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "@sha256:" in container["image"]
    assert any("--runtime-image=" in each and "@sha256:" in each for each in container["args"])

    production = overlay(cluster, "production")
    budget, deployment = production["PodDisruptionBudget"]["spec"], production["Deployment"]["spec"]
    assert deployment["replicas"] == 2
    assert budget["selector"] == deployment["selector"]
    before = overlay(cluster, "own-namespace")
    assert before["Namespace"]["metadata"]["name"] == before["Deployment"]["metadata"]["namespace"] == "ranking"
    assert {each["namespace"] for each in before["ClusterRoleBinding"]["subjects"]} == {"ranking"}


def test_the_health_check_is_added_to_argo_cds_settings(cluster: Cluster, extra: list[str]) -> None:
    cluster.create_namespace("argocd")
    extra.append("argocd")
    theirs = {"admin.enabled": "false", "resource.customizations.health.cert-manager.io_Certificate": "hs = {}"}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm", "namespace": "argocd"}}
    cluster.apply({**settings, "data": theirs})

    command = ["apply", "--server-side", "--field-manager=reranker-health", "-k", str(ROOT / "deploy/argocd")]
    cluster.kubectl(*command)
    first = cluster.get("v1", "ConfigMap", "argocd-cm", "argocd")
    cluster.kubectl(*command)
    second = cluster.get("v1", "ConfigMap", "argocd-cm", "argocd")
    assert first == second
    assert first is not None
    assert first["data"] == {**theirs, HEALTH_KEY: HEALTH.read_text()}


def seen(rerankers: Rerankers, name: str = "docs") -> tuple[str, str]:
    """What Argo CD and kstatus say of a service now."""
    found = rerankers.cluster.get(API, KIND, name, rerankers.namespace)
    assert found is not None
    return health(found).status, kstatus(found)[0]


def test_a_service_that_nobody_has_looked_at_is_not_taken_for_one_in_order(
    operator: OperatorProcess, rerankers: Rerankers
) -> None:
    operator.stop()
    try:
        rerankers.apply("docs", replicas=0)
        assert rerankers.status("docs") == UNSEEN
        assert seen(rerankers) == ("Progressing", "InProgress")
    finally:
        operator.start()
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    assert seen(rerankers) == ("Suspended", "InProgress")


@pytest.mark.long
def test_from_nothing_to_ready_and_through_a_change(operator: OperatorProcess, rerankers: Rerankers) -> None:
    """Every version of the resource that there was on the way, as a watch shows it."""
    versions: list[Json] = []

    def ready(generation: int) -> Any:
        def holds(item: Json) -> Any:
            versions.append(item)
            conditions = item.get("status", {}).get("conditions", ())
            return any(
                (each["type"], each["status"], each["observedGeneration"]) == ("Ready", "True", generation)
                for each in conditions
            )

        return holds

    rerankers.apply("docs")
    rerankers.cluster.wait(API, KIND, "docs", ready(1), namespace=rerankers.namespace)
    first = len(versions)
    operator.stop()
    try:
        rerankers.apply("docs", pod={"annotations": {"release": "2"}})
        # The status still speaks of the generation before, and says Ready.
        assert rerankers.condition("docs", "Ready")["status"] == "True"
        assert seen(rerankers) == ("Progressing", "InProgress")
    finally:
        operator.start()
    rerankers.cluster.wait(API, KIND, "docs", ready(2), namespace=rerankers.namespace)

    told = list(zip([health(each).status for each in versions], kstatus(*versions), strict=True))
    assert told[first - 1] == told[-1] == ("Healthy", "Current")
    assert set(told[: first - 1]) == {("Progressing", "InProgress")}
    # A watch begins with what is there: the first generation's Ready may be its first version again.
    assert set(told[first:-1]) <= {("Progressing", "InProgress"), ("Healthy", "Current")}
    assert ("Progressing", "InProgress") in told[first:-1]


@pytest.mark.long
def test_what_does_not_go_on_by_itself_is_degraded_and_failed(rerankers: Rerankers, tmp_path: Path) -> None:
    rerankers.apply("docs", model={**spec_of()["model"], "digest": f"sha256:{'0' * 64}"})
    rerankers.wait_condition("docs", "Stalled", "True", "DigestMismatch")
    assert seen(rerankers) == ("Degraded", "Failed")

    source = {"hostPath": {"path": "/etc"}}
    rerankers.cluster.apply({**rerankers.manifest("host"), "spec": {"model": {"source": source}, "gpus": 0}})
    rerankers.wait_condition("host", "Accepted", "False", "HostPathNotAllowed")
    assert seen(rerankers, "host") == ("Degraded", "Failed")

    late = {"progressDeadlineSeconds": 10}
    rerankers.apply("slow", rollout=late, gpus=64)
    rerankers.wait_condition("slow", "Progressing", "True", "Unschedulable")
    rerankers.wait_condition("slow", "Stalled", "True", "ProgressDeadlineExceeded")
    assert seen(rerankers, "slow") == ("Degraded", "Failed")


def test_what_is_waited_for_is_progressing(rerankers: Rerankers) -> None:
    """A Secret may come in a later wave of the same sync, which a Degraded service would end."""
    reads = {"env": [{"name": "A_TOKEN", "valueFrom": {"secretKeyRef": {"name": "later", "key": "token"}}}]}
    rerankers.apply("docs", server=reads)
    rerankers.wait_condition("docs", "Ready", "False", "NotFound")
    assert seen(rerankers) == ("Progressing", "InProgress")


@pytest.mark.long
def test_users_apply_server_side_beside_the_operator(
    cluster: Cluster, operator: OperatorProcess, rerankers: Rerankers
) -> None:
    """Two managers of the resource and one of a child: no conflict, nothing that is put back, no writes without end."""

    def server_side(manager: str, *documents: Json) -> str:
        command = ["apply", "--server-side", f"--field-manager={manager}", "-f", "-"]
        return cluster.kubectl(*command, stdin=yaml.safe_dump_all(documents))

    def versions() -> dict[str, Any]:
        resource = cluster.get(API, KIND, "docs", rerankers.namespace)
        assert resource is not None
        # The status is its own controller's, which writes it when it likes, and with it a resourceVersion.
        deployment = rerankers.deployment("docs")["metadata"]
        users = [each for each in deployment["managedFields"] if each.get("subresource") != "status"]
        return {
            "resource": resource["metadata"]["resourceVersion"],
            "service": rerankers.service("docs")["metadata"]["resourceVersion"],
            "deployment": (deployment["generation"], deployment["annotations"], users),
        }

    whole = rerankers.manifest("docs")
    identity = {"apiVersion": API, "kind": KIND, "metadata": {**whole["metadata"]}}
    labelled = {**identity, "metadata": {**whole["metadata"], "labels": {"team": "search"}, "annotations": {"a": "b"}}}
    placed = {**identity, "spec": {"pod": {"annotations": {"cost-centre": "42"}}}}
    server_side("flux", whole)
    rerankers.wait_ready("docs")
    server_side("platform", labelled)
    server_side("finance", placed)
    rerankers.wait_ready("docs", generation=2)

    of_child = {"metadata": {"name": "docs", "namespace": rerankers.namespace, "annotations": {"backup": "no"}}}
    children = [
        {"apiVersion": "v1", "kind": "Service", **of_child},
        {"apiVersion": "apps/v1", "kind": "Deployment", **of_child},
    ]
    server_side("backup", *children)
    rerankers.wait_ready("docs", generation=2)

    before = versions()
    for manager, document in (("flux", whole), ("platform", labelled), ("finance", placed)):
        server_side(manager, document)
    server_side("backup", *children)
    assert versions() == before

    # A round for a reason of its own: what others wrote is still there, and nothing is written.
    operator.restart()
    shown = f'reranker_operator_service_ready{{name="docs",namespace="{rerankers.namespace}"}} 1.0'
    wait_until("the operator to have looked at the service", lambda: shown in operator.metrics(), timeout=30)
    assert versions() == before
    resource = cluster.get(API, KIND, "docs", rerankers.namespace)
    assert resource is not None
    assert resource["metadata"]["labels"] == {"team": "search"}
    assert resource["spec"]["pod"]["annotations"] == {"cost-centre": "42"}
    template = rerankers.deployment("docs")["spec"]["template"]["metadata"]["annotations"]
    assert template["cost-centre"] == "42"
    for child in (rerankers.service("docs"), rerankers.deployment("docs")):
        assert child["metadata"]["annotations"]["backup"] == "no"
    managers = {each["manager"] for each in resource["metadata"].get("managedFields", ())}
    assert not managers or {"flux", "platform", "finance"} <= managers


def test_a_conflict_of_two_users_is_the_servers_to_tell(rerankers: Rerankers) -> None:
    """The operator owns no field of the spec, so that it is never the one that a user conflicts with."""
    command = ["apply", "--server-side", "--field-manager=flux", "-f", "-"]
    rerankers.cluster.kubectl(*command, stdin=json.dumps(rerankers.manifest("docs", replicas=0)))
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    found = rerankers.cluster.kubectl(
        "-n", rerankers.namespace, "get", "rrs", "docs", "-o", "json", "--show-managed-fields"
    )
    owners = json.loads(found)["metadata"]["managedFields"]
    of_operator = [each for each in owners if each["manager"].startswith("reranker-operator")]
    assert of_operator
    assert all(each["subresource"] == "status" for each in of_operator)
    assert all(set(each["fieldsV1"]) == {"f:status"} for each in of_operator)


def test_what_has_no_owner_is_kept_from_argo_cds_pruning(rerankers: Rerankers) -> None:
    """By label, Argo CD takes an object without an owner for an Application's own, if it carries its name."""
    hub = {"repository": "my-org/my-reranker", "revision": "0" * 40, "cache": {"size": "1Gi"}}
    made = rerankers.manifest("docs", replicas=0)
    made["spec"]["model"] = {"source": {"huggingFace": hub}}
    made["spec"]["authentication"] = {"generate": True}
    rerankers.cluster.apply(made)
    claim = rerankers.cluster.wait(
        "v1", "PersistentVolumeClaim", "docs-model-cache", lambda item: item, namespace=rerankers.namespace
    )
    assert "ownerReferences" not in claim["metadata"]
    assert claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false"
    rerankers.wait_job("docs")
    for version, kind in (("v1", "Service"), ("v1", "ServiceAccount"), ("v1", "Secret"), ("batch/v1", "Job")):
        found = rerankers.cluster.objects(version, kind, rerankers.namespace, {"app.kubernetes.io/instance": "docs"})
        assert found, kind
        assert all(each["metadata"]["ownerReferences"] for each in found), kind
