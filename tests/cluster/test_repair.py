"""Whoever edits or deletes a child, it is put back; what is none of ours is left alone."""

import json
from collections.abc import Callable, Iterator

import pytest

from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from localkube.processes import wait_until
from rerankers import Json, Rerankers

CPU = [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]


@pytest.fixture(scope="module")
def standing(cluster: Cluster, operator: OperatorProcess) -> Iterator[Rerankers]:
    """One service that is ready: each test does one thing to it, and sees it put right."""
    name = "test-repair"
    cluster.create_namespace(name)
    rerankers = Rerankers(cluster, name)
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    yield rerankers
    cluster.delete("v1", "Namespace", name)


@pytest.fixture(scope="module")
def exposed(standing: Rerankers) -> Rerankers:
    """Beside it one that asks for every object that there can be. Its image is nowhere: no pod is needed for these."""
    standing.apply(
        "exposed",
        model=None,
        runtime="NIM",
        image={"repository": "registry.example/nim/none", "tag": "1"},
        ingress={"host": "rank.example.com"},
        gateway={"parentRefs": [{"name": "public"}]},
        networkPolicy={"from": [{"podSelector": {"matchLabels": {"app": "search"}}}]},
        monitoring={"serviceMonitor": {}},
        autoscaling={"maxReplicas": 2, "metrics": CPU},
        disruptionBudget={"maxUnavailable": 1},
    )
    return standing


def is_back(rerankers: Rerankers, version: str, kind: str, name: str) -> None:
    """Delete it, and see it made anew."""
    cluster, namespace = rerankers.cluster, rerankers.namespace
    old = cluster.wait(version, kind, name, lambda item: item["metadata"]["uid"], namespace=namespace)
    cluster.delete(version, kind, name, namespace)
    cluster.wait(version, kind, name, lambda item: item["metadata"]["uid"] != old, namespace=namespace)
    rerankers.wait_event("Repaired", f"{kind} {name} was deleted")


CHILDREN = [("Service", "v1"), ("ServiceAccount", "v1"), ("Deployment", "apps/v1")]


@pytest.mark.parametrize(("kind", "version"), CHILDREN)
def test_a_deleted_child_is_back_at_once(standing: Rerankers, kind: str, version: str) -> None:
    is_back(standing, version, kind, "docs")
    standing.wait_ready("docs")


@pytest.mark.parametrize(
    ("kind", "version", "name"),
    [
        ("Ingress", "networking.k8s.io/v1", "exposed"),
        ("NetworkPolicy", "networking.k8s.io/v1", "exposed"),
        ("Service", "v1", "exposed-metrics"),
        ("HorizontalPodAutoscaler", "autoscaling/v2", "exposed"),
        ("PodDisruptionBudget", "policy/v1", "exposed"),
    ],
)
def test_a_deleted_child_that_was_asked_for_is_back_at_once(
    exposed: Rerankers, kind: str, version: str, name: str
) -> None:
    is_back(exposed, version, kind, name)


@pytest.mark.long
@pytest.mark.usefixtures("optional_kinds")
@pytest.mark.parametrize("kind", ["gateway.networking.k8s.io/v1 HTTPRoute", "monitoring.coreos.com/v1 ServiceMonitor"])
def test_a_deleted_child_of_an_optional_kind_is_back_at_once(exposed: Rerankers, kind: str) -> None:
    is_back(exposed, *kind.split(), "exposed")


def test_what_is_said_again_is_counted_in_one_event(standing: Rerankers) -> None:
    words = "ServiceAccount docs was deleted and is put back"

    def counted() -> list[int]:
        events = standing.cluster.objects("v1", "Event", standing.namespace)
        return [each["count"] for each in events if each["message"] == words]

    before = sum(counted())
    for times in (1, 2):
        standing.cluster.delete("v1", "ServiceAccount", "docs", standing.namespace)
        wait_until("it to be said once more", lambda sum_=before + times: sum(counted()) == sum_, timeout=30)
    assert counted() == [before + 2]


def test_a_deleted_job_runs_again_and_leaves_the_pods_alone(standing: Rerankers) -> None:
    standing.wait_ready("docs")
    (pod,) = standing.pods("docs")
    (job,) = standing.jobs("docs")
    old = standing.cluster.get("batch/v1", "Job", job, standing.namespace)
    assert old is not None
    standing.cluster.delete("batch/v1", "Job", job, standing.namespace)

    def done_again(item: Json) -> bool:
        return item["metadata"]["uid"] != old["metadata"]["uid"] and item.get("status", {}).get("succeeded") == 1

    standing.cluster.wait("batch/v1", "Job", job, done_again, namespace=standing.namespace)
    standing.wait_ready("docs")
    assert [each["metadata"]["uid"] for each in standing.pods("docs")] == [pod["metadata"]["uid"]]


@pytest.mark.parametrize(
    ("kind", "version", "patch", "path"),
    [
        ("Service", "v1", {"spec": {"selector": {"app": "other"}}}, ("spec", "selector")),
        ("Service", "v1", {"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}}, ("metadata", "labels")),
        ("Service", "v1", {"spec": {"ports": [{"name": "api", "port": 9, "targetPort": "api"}]}}, ("spec", "ports")),
        ("ServiceAccount", "v1", {"automountServiceAccountToken": True}, ("automountServiceAccountToken",)),
        ("Service", "v1", {"metadata": {"ownerReferences": None}}, ("metadata", "ownerReferences")),
        ("Deployment", "apps/v1", {"spec": {"replicas": 0}}, ("spec", "replicas")),
        (
            "Deployment",
            "apps/v1",
            {"metadata": {"annotations": {"reranking.dev/model-hash": "x"}}},
            ("metadata", "annotations", "reranking.dev/model-hash"),
        ),
    ],
)
def test_an_edited_field_is_put_back(
    standing: Rerankers, kind: str, version: str, patch: Json, path: tuple[str, ...]
) -> None:
    standing.wait_ready("docs")

    def at(item: Json) -> object:
        for part in path:
            item = item.get(part, {})
        return item

    before = standing.cluster.get(version, kind, "docs", standing.namespace)
    assert before is not None
    edited = standing.cluster.merge(version, kind, "docs", patch, standing.namespace)
    assert at(dict(edited)) != at(dict(before))

    def repaired(item: Json) -> bool:
        return at(item) == at(dict(before)) and int(item["metadata"]["resourceVersion"]) > int(
            edited["metadata"]["resourceVersion"]
        )

    standing.cluster.wait(version, kind, "docs", repaired, namespace=standing.namespace)


def test_an_edited_image_and_foreign_container_env_and_volume_go(standing: Rerankers) -> None:
    standing.wait_ready("docs")
    wanted = standing.deployment("docs")["spec"]["template"]["spec"]
    kubectl, where = standing.cluster.kubectl, ("-n", standing.namespace)
    kubectl(*where, "set", "image", "deployment/docs", "ranking=example/other:1")
    kubectl(*where, "set", "env", "deployment/docs", "FOREIGN=1")
    kubectl(
        *where,
        "patch",
        "deployment/docs",
        "--patch",
        '{"spec": {"template": {"spec": {"containers": [{"name": "foreign", "image": "example/foreign:1"}],'
        ' "volumes": [{"name": "foreign", "emptyDir": {}}]}}}}',
    )
    standing.wait_deployment("docs", lambda item: item["spec"]["template"]["spec"] == wanted)
    standing.wait_event("Repaired", "Deployment docs")
    standing.wait_ready("docs")


@pytest.mark.parametrize(
    ("patch", "gone"),
    [
        ({"spec": {"paused": True}}, lambda item: "paused" not in item["spec"]),
        (
            {"spec": {"template": {"spec": {"hostNetwork": True, "hostPID": True}}}},
            lambda item: not {"hostNetwork", "hostPID"} & item["spec"]["template"]["spec"].keys(),
        ),
        (
            {"spec": {"template": {"spec": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["203.0.113.1"]}}}}},
            lambda item: (
                item["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
                and "dnsConfig" not in item["spec"]["template"]["spec"]
            ),
        ),
    ],
    ids=["paused", "host-network", "dns"],
)
def test_foreign_fields_that_decide_what_runs_go(
    standing: Rerankers, patch: Json, gone: Callable[[Json], bool]
) -> None:
    standing.wait_ready("docs")
    edited = standing.cluster.merge("apps/v1", "Deployment", "docs", patch, standing.namespace)
    assert not gone(dict(edited))
    standing.wait_deployment("docs", gone)
    standing.wait_ready("docs")


def test_what_is_added_to_a_container_of_ours_goes(standing: Rerankers) -> None:
    standing.wait_ready("docs")
    wanted = standing.deployment("docs")["spec"]["template"]["spec"]
    container = {
        "name": "ranking",
        "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}},
        "volumeMounts": [{"mountPath": "/tmp", "name": "tmp", "subPath": "other"}],
        "ports": [{"containerPort": 8000, "hostPort": 8000}],
        "readinessProbe": {"initialDelaySeconds": 3600},
    }
    patch = {"spec": {"template": {"spec": {"containers": [container], "readinessGates": [{"conditionType": "x/y"}]}}}}
    where = ("-n", standing.namespace)
    standing.cluster.kubectl(*where, "patch", "deployment/docs", "--patch", json.dumps(patch))
    standing.wait_deployment("docs", lambda item: item["spec"]["template"]["spec"] == wanted)
    standing.wait_ready("docs")


def test_what_is_refused_changes_no_pod(rerankers: Rerankers) -> None:
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    before = rerankers.deployment("docs")["spec"]
    rerankers.apply("docs", server={"env": [{"name": "A", "value": "b"}]}, pod={"labels": {"team": "two words"}})
    refused = rerankers.wait_condition("docs", "Accepted", "False", "ChildRefused", generation=2)
    assert "two words" in refused["message"]
    assert rerankers.deployment("docs")["spec"] == before


def test_what_the_server_writes_in_its_own_way_is_no_edit(rerankers: Rerankers) -> None:
    """1024Mi is stored as 1Gi, an empty value not at all: an operator that compares spellings repairs for ever."""
    volumes = [{"name": "scratch", "emptyDir": {"medium": ""}}]
    mounts = [{"name": "scratch", "mountPath": path, "readOnly": False} for path in ("/a", "/b")]
    tolerations = [{"key": "", "operator": "Exists"}]
    rerankers.apply(
        "docs",
        resources={"requests": {"memory": "1024Mi", "cpu": "0.5"}},
        server={"env": [{"name": "EMPTY", "value": ""}]},
        pod={"sharedMemory": "1024Mi", "volumes": volumes, "volumeMounts": mounts, "tolerations": tolerations},
    )
    rerankers.wait_ready("docs")
    before = rerankers.deployment("docs")["metadata"]["generation"]
    rerankers.cluster.kubectl("-n", rerankers.namespace, "annotate", "rrs/docs", "look=again")
    rerankers.cluster.kubectl("-n", rerankers.namespace, "scale", "rrs/docs", "--replicas=0")
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    assert rerankers.deployment("docs")["metadata"]["generation"] == before + 1
    events = rerankers.cluster.objects("v1", "Event", rerankers.namespace)
    assert [event["message"] for event in events if event["reason"] == "Repaired"] == []


def test_a_service_account_is_kept_for_whoever_uses_it(rerankers: Rerankers) -> None:
    """Naming the one that the operator makes is no order to remove it; another must exist before ours goes."""
    rerankers.apply("docs")
    rerankers.wait_ready("docs")
    rerankers.apply("docs", pod={"serviceAccountName": "docs"})
    rerankers.wait_ready("docs", generation=2)
    rerankers.apply("docs", pod={"serviceAccountName": "other"})
    rerankers.wait_condition("docs", "ReferencesResolved", "False", "NotFound", generation=3)
    assert rerankers.cluster.get("v1", "ServiceAccount", "docs", rerankers.namespace)
    assert len(rerankers.rank("docs", "q", ["a", "b"])["rankings"]) == 2


@pytest.mark.long
def test_what_an_injector_adds_stays_where_it_is_let(rerankers: Rerankers, operator: OperatorProcess) -> None:
    kubectl = rerankers.cluster.kubectl

    def add(manager: str) -> None:
        spec = {
            "containers": [{"name": manager, "image": f"example/{manager}:1"}],
            "initContainers": [{"name": f"{manager}-init", "image": f"example/{manager}:1"}],
            "volumes": [{"name": f"{manager}-volume", "emptyDir": {}}],
        }
        document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "docs"}}
        document["spec"] = {"template": {"spec": spec}}
        asked = ("apply", "--server-side", f"--field-manager={manager}", "-f", "-")
        kubectl("-n", rerankers.namespace, *asked, stdin=json.dumps(document))

    def names(item: Json) -> set[str]:
        pod = item["spec"]["template"]["spec"]
        return {each["name"] for part in ("containers", "initContainers", "volumes") for each in pod.get(part, ())}

    rerankers.apply("docs", replicas=0)
    ours = rerankers.wait_deployment("docs", names)
    injected = ours | {"injector", "injector-init", "injector-volume"}
    with operator.started_with("--keep-foreign", "injector"):
        add("injector")
        add("other")
        rerankers.wait_deployment("docs", lambda item: names(item) == injected)
        # What the spec says next is applied beside it.
        rerankers.apply("docs", replicas=0, server={"logLevel": "debug"})
        rerankers.wait_deployment("docs", lambda item: '"debug"' in json.dumps(item) and names(item) == injected)
        rerankers.wait_condition("docs", "Ready", "False", "Paused", generation=2)
        assert names(rerankers.deployment("docs")) == injected
    # One that lets nobody takes it away.
    rerankers.wait_deployment("docs", lambda item: names(item) == ours)


def test_foreign_labels_annotations_and_the_restart_stamp_stay(standing: Rerankers) -> None:
    standing.wait_ready("docs")
    kubectl, where = standing.cluster.kubectl, ("-n", standing.namespace)
    kubectl(*where, "label", "deployment/docs", "team=search")
    (old,) = standing.pods("docs")
    kubectl(*where, "rollout", "restart", "deployment/docs")
    restarted = "kubectl.kubernetes.io/restartedAt"
    standing.wait_pod_gone(old["metadata"]["name"])
    standing.wait_ready("docs")
    deployment = standing.deployment("docs")
    assert deployment["metadata"]["labels"]["team"] == "search"
    assert restarted in deployment["spec"]["template"]["metadata"]["annotations"]


def test_somebody_elses_object_of_the_same_name_is_not_taken(rerankers: Rerankers) -> None:
    service = {"metadata": {"name": "docs"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}}}
    rerankers.cluster.apply({"apiVersion": "v1", "kind": "Service", **service}, namespace=rerankers.namespace)
    rerankers.apply("docs")
    refused = rerankers.wait_condition("docs", "Accepted", "False", "ChildRefused")
    assert "Service docs exists and belongs to somebody else" in refused["message"]
    assert rerankers.service("docs")["spec"]["selector"] == {"app": "other"}
    assert rerankers.jobs("docs") == []
