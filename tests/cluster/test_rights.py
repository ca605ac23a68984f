"""The operator's rights, compared with what it asks for: nothing that is granted is unused, nothing is refused.

One scenario makes the operator do all that it can do, with the rights of deploy/, which are the chart's; the API
server's audit log tells what it asked. Services are of runtime NIM and without pods where that does: those need no
model Job.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from foreignkinds import crd
from localkube.audit import Call, Right, calls
from localkube.cluster import Cluster
from localkube.operator_process import ACCOUNT, NAMESPACE, OperatorProcess, established
from localkube.processes import wait_until
from rerankers import Json, Rerankers

UNUSED: dict[str, str] = {
    "get rerankerservices.reranking.dev": "only where kopf's watch tells of a service before the operator's own does",
}
"""What is granted and the scenario does not bring about, with the reason."""

CLASSES = {
    "PriorityClass": ("scheduling.k8s.io/v1", {"value": 1}),
    "RuntimeClass": ("node.k8s.io/v1", {"handler": "runc"}),
    "IngressClass": ("networking.k8s.io/v1", {"spec": {"controller": "example.com/none"}}),
    "StorageClass": ("storage.k8s.io/v1", {"provisioner": "example.com/none"}),
}
CLUSTER_WIDE = {"priorityclasses", "runtimeclasses", "ingressclasses", "storageclasses", "customresourcedefinitions"}
OPTIONAL = {
    "HTTPRoute": ("gateway.networking.k8s.io", "httproutes"),
    "ServiceMonitor": ("monitoring.coreos.com", "servicemonitors"),
}
METRICS = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
]
PORTS = {"ports": [{"port": 80}]}
FIELDS: dict[str, Json] = {
    "Ingress": {"ingress": {"host": "rank.example.com"}},
    "HTTPRoute": {"gateway": {"parentRefs": [{"name": "public"}]}},
    "NetworkPolicy": {"networkPolicy": {"from": [{"podSelector": {"matchLabels": {"app": "search"}}}]}},
    "PodDisruptionBudget": {"disruptionBudget": {"maxUnavailable": 1}},
    "ServiceMonitor": {"monitoring": {"serviceMonitor": {}}},
    "HorizontalPodAutoscaler": {"autoscaling": {"minReplicas": 1, "maxReplicas": 2, "metrics": METRICS}},
    "PersistentVolumeClaim": {"nim": {"cache": {"size": "1Gi", "reclaim": "Delete"}}},
}
"""What makes the operator make an object of a kind."""

BACKEND = {"service": {"name": "other", "port": {"number": 80}}}
TEMPLATE = {"metadata": {"labels": {"app": "other"}}, "spec": {"containers": [{"name": "c", "image": "example/other"}]}}
STRANGERS: dict[str, tuple[str, Json]] = {
    "Service": ("v1", {"spec": PORTS}),
    "ServiceAccount": ("v1", {}),
    "Deployment": (
        "apps/v1",
        {"spec": {"replicas": 0, "selector": {"matchLabels": {"app": "other"}}, "template": TEMPLATE}},
    ),
    "Ingress": ("networking.k8s.io/v1", {"spec": {"defaultBackend": BACKEND}}),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", {}),
    "NetworkPolicy": ("networking.k8s.io/v1", {"spec": {"podSelector": {}}}),
    "PodDisruptionBudget": ("policy/v1", {"spec": {"maxUnavailable": 1}}),
    "ServiceMonitor": ("monitoring.coreos.com/v1", {}),
    "HorizontalPodAutoscaler": (
        "autoscaling/v2",
        {
            "spec": {
                "maxReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"},
            }
        },
    ),
    "PersistentVolumeClaim": (
        "v1",
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    ),
}
"""Objects of somebody else, of each kind that the operator makes."""


def nim(**more: Any) -> Json:
    """A service without pods and without a model Job."""
    image = {"repository": "nvcr.io/nim/nvidia/example", "tag": "1.8.0"}
    return {"model": None, "runtime": "NIM", "image": image, "replicas": 0, **more}


@pytest.fixture
def kinds(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Kinds that a cluster may lack, and a class of each kind; gives the name of the classes."""
    for kind, (group, plural) in OPTIONAL.items():
        cluster.apply(crd(group, kind, plural))
        cluster.wait("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}", established)
    name = f"rights-{uuid.uuid4().hex[:8]}"
    for kind, (version, content) in CLASSES.items():
        cluster.apply({"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content})
    yield dict.fromkeys(CLASSES, name)
    for kind, (version, _) in CLASSES.items():
        cluster.delete(version, kind, name)
    for group, plural in OPTIONAL.values():
        cluster.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}")
        cluster.wait_gone("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}")


class Grant(NamedTuple):
    """A right, and the namespace that it is for: None where it is for every one, and for what is in none."""

    right: Right
    namespace: str | None

    def covers(self, call: Call) -> bool:
        """Whether a request needs it, which one in the operator's own namespace does of no right to every one."""
        return call.right == self.right and (call.namespace == NAMESPACE) == (self.namespace is not None)


def granted(objects: list[Json]) -> set[Grant]:
    """What the roles grant; that some of it is for one name only is not looked at."""
    return {
        Grant(Right(group, resource, verb), each["metadata"].get("namespace"))
        for each in objects
        if each["kind"] in {"Role", "ClusterRole"}
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.long
def test_every_right_is_used_and_none_is_missing(
    operator: OperatorProcess,
    rerankers: Rerankers,
    kinds: dict[str, str],
    kustomize: Callable[[Path], list[Json]],
    repository: Path,
    tell: Callable[[str], None],
) -> None:
    def asked() -> list[Call]:
        return list(calls(rerankers.cluster.control_plane.logs, ACCOUNT, NAMESPACE))

    before = len(asked())
    stand_for_election_anew(operator)
    make_and_remove_everything(rerankers, kinds)
    stand_where_others_stand(rerankers)
    verify_and_verify_again(rerankers)
    repair_and_say_so_twice(operator, rerankers)
    keep_templates(rerankers)
    be_refused_pods(rerankers)

    # That for a few namespaces has a role more in its own.
    rights = granted(kustomize(repository / "deploy")) | granted(kustomize(repository / "deploy/namespaced"))
    assert set(UNUSED) <= {str(each.right) for each in rights}

    def used() -> bool:
        made = asked()
        missing = {str(each.right) for each in rights if not any(map(each.covers, made))} - set(UNUSED)
        assert not missing, f"never used: {', '.join(sorted(missing))}"
        return True

    wait_until("every right to be used", used, timeout=30)
    assert [call for call in asked()[before:] if call.refused] == []
    tell(f"rights of the operator: {len(rights)}, all used but {', '.join(UNUSED)}")


def test_for_a_few_namespaces_the_same_is_granted_but_for_what_is_in_none(
    kustomize: Callable[[Path], list[Json]], repository: Path
) -> None:
    """So that what the scenario shows of the one holds for the other, too."""
    everywhere = {each.right for each in granted(kustomize(repository / "deploy")) if each.namespace is None}
    watched = {each.right for each in granted(kustomize(repository / "deploy/namespaced/watched"))}
    assert watched == {each for each in everywhere if each.resource not in CLUSTER_WIDE}


def stand_for_election_anew(operator: OperatorProcess) -> None:
    """Without a Lease and without the operator's key."""
    operator.stop()
    operator.cluster.delete("coordination.k8s.io/v1", "Lease", "reranker-operator", NAMESPACE)
    operator.cluster.delete("v1", "Secret", "reranker-operator-key", NAMESPACE)
    operator.start()


def make_and_remove_everything(rerankers: Rerankers, kinds: dict[str, str]) -> None:
    """Every object that a service may ask for; then it asks for none of them."""
    cluster, namespace = rerankers.cluster, rerankers.namespace
    for kind in ("ConfigMap", "Secret"):
        metadata = {"name": "variables", "namespace": namespace}
        cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"key": "dmFsdWU="}})
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own", "namespace": namespace}})
    env = [
        {"name": "FIRST", "valueFrom": {"secretKeyRef": {"name": "variables", "key": "key"}}},
        {"name": "SECOND", "valueFrom": {"configMapKeyRef": {"name": "variables", "key": "key"}}},
    ]
    pod = {"priorityClassName": kinds["PriorityClass"], "runtimeClassName": kinds["RuntimeClass"]}
    everything: Json = {}
    for fields in FIELDS.values():
        everything |= fields
    everything["ingress"] = {**everything["ingress"], "className": kinds["IngressClass"]}
    everything["nim"] = {"cache": {**everything["nim"]["cache"], "storageClassName": kinds["StorageClass"]}}
    rerankers.apply("all", **nim(**everything, pod=pod, server={"env": env}))
    for kind in FIELDS:
        cluster.wait(STRANGERS[kind][0], kind, name_of(kind, "all"), bool, namespace=namespace)
    rerankers.wait_condition("all", "ReferencesResolved", "True")
    rerankers.apply("all", **nim(pod={"serviceAccountName": "own"}))
    for kind in (*FIELDS, "ServiceAccount"):
        cluster.wait_gone(STRANGERS[kind][0], kind, name_of(kind, "all"), namespace=namespace)


def stand_where_others_stand(rerankers: Rerankers) -> None:
    """An object of somebody else in each place: it is looked at, and left alone."""
    for kind, (version, content) in STRANGERS.items():
        name = f"of-{kind.lower()}"
        metadata = {"name": name_of(kind, name), "namespace": rerankers.namespace}
        rerankers.cluster.apply({"apiVersion": version, "kind": kind, "metadata": metadata, **content})
        rerankers.apply(name, **nim(**FIELDS.get(kind, {})))
    for kind in STRANGERS:
        said = rerankers.wait_condition(f"of-{kind.lower()}", "Accepted", "False", "ChildRefused")
        assert f"{kind} {name_of(kind, f'of-{kind.lower()}')} exists and belongs to somebody else" in said["message"]
    # A Job's name is made of what it verifies.
    manifest = yaml.safe_dump(rerankers.manifest("of-job", replicas=0))
    render = [Path(sys.executable).with_name("reranker-operator"), "render", "-"]
    made = subprocess.run(render, input=manifest, capture_output=True, text=True, check=True)
    (job,) = [each for each in yaml.safe_load_all(made.stdout) if each["kind"] == "Job"]
    template = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    metadata = {"name": job["metadata"]["name"], "namespace": rerankers.namespace}
    rerankers.cluster.apply(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"suspend": True, "template": template}}
    )
    rerankers.apply("of-job", replicas=0)
    rerankers.wait_condition("of-job", "Accepted", "False", "ChildRefused")


def name_of(kind: str, service: str) -> str:
    """What the operator calls its object of a kind."""
    return f"{service}-model-cache" if kind == "PersistentVolumeClaim" else service


def verify_and_verify_again(rerankers: Rerankers) -> None:
    """A model Job, then another in its place, and a first key for clients."""
    rerankers.apply("docs", replicas=0, authentication={"generate": True})
    rerankers.wait_condition("docs", "ModelVerified", "True")
    first = rerankers.jobs("docs")
    model = {**rerankers.manifest("docs")["spec"]["model"], "digest": rerankers.small_model_digest()}
    made = rerankers.apply("docs", replicas=0, authentication={"generate": True}, model=model)
    rerankers.wait_condition("docs", "ModelVerified", "True", generation=made["metadata"]["generation"])
    for job in first:
        rerankers.cluster.wait_gone("batch/v1", "Job", job, namespace=rerankers.namespace)


def repair_and_say_so_twice(operator: OperatorProcess, rerankers: Rerankers) -> None:
    """The second time by an operator that does not know of the first."""
    shown = f'reranker_operator_service_ready{{name="docs",namespace="{rerankers.namespace}"}}'
    words = "ServiceAccount docs was deleted and is put back"
    for times in (1, 2):
        rerankers.cluster.delete("v1", "ServiceAccount", "docs", rerankers.namespace)
        rerankers.cluster.wait_any(
            "v1",
            "Event",
            lambda event, times=times: event["message"] == words and event["count"] >= times,
            namespace=rerankers.namespace,
        )
        if times == 1:
            operator.restart()
            wait_until("the restarted operator to have looked", lambda: shown in operator.metrics(), timeout=30)


def keep_templates(rerankers: Rerankers) -> None:
    """More of them than are kept."""

    def recorded() -> set[str]:
        labels = {"app.kubernetes.io/instance": "all"}
        found = rerankers.cluster.objects("apps/v1", "ControllerRevision", rerankers.namespace, labels)
        return {each["metadata"]["name"] for each in found}

    ever: set[str] = set()
    for number in range(8):
        made = rerankers.apply("all", **nim(pod={"serviceAccountName": "own", "annotations": {"number": str(number)}}))
        rerankers.wait_status(
            "all", lambda found, made=made: found["observedGeneration"] == made["metadata"]["generation"]
        )
        ever |= recorded()
    wait_until("the oldest template to be forgotten", lambda: bool(ever - recorded()), timeout=30)


def be_refused_pods(rerankers: Rerankers) -> None:
    """A Job has no condition for it, only events."""
    quota = {"name": "nothing", "namespace": rerankers.namespace}
    rerankers.cluster.apply(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": quota, "spec": {"hard": {"pods": "0"}}}
    )
    rerankers.apply("refused", replicas=0)
    rerankers.wait_condition("refused", "ModelVerified", "Unknown")
    rerankers.wait_status("refused", lambda found: "exceeded quota" in str(found))
