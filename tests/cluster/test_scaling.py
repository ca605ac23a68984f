"""The number of pods by load: who owns it, and what decides it, the operator's own scaler or a real autoscaler."""

from __future__ import annotations

import concurrent.futures
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from localkube.operator_process import OperatorProcess
from localkube.processes import wait_until
from rerankers import API, KIND, Json, Rerankers
from standin import StandIn

SCALED = "reranking.dev/scaled"
HPA = ("autoscaling/v2", "HorizontalPodAutoscaler", "docs")
AT_ONCE = {"scaleDown": {"stabilizationWindowSeconds": 0}}
CPU = [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]


def replicas(deployment: Json) -> int:
    return int(deployment["spec"]["replicas"])


def is_scaled(deployment: Json) -> bool:
    return SCALED in deployment["metadata"].get("annotations", {})


def owners(deployment: Json) -> set[str]:
    """The field managers of the number of pods."""
    return {
        record["manager"]
        for record in deployment["metadata"]["managedFields"]
        if "f:replicas" in record["fieldsV1"].get("f:spec", {})
    }


def is_at(number: int, *, scaled: bool) -> Callable[[Json], bool]:
    return lambda item: replicas(item) == number and is_scaled(item) is scaled


def test_turning_it_on_and_off_leaves_the_number_to_whom_it_belongs(
    rerankers: Rerankers, operator: OperatorProcess, stand_in: StandIn
) -> None:
    rerankers.apply("docs", replicas=5, **stand_in.spec)
    rerankers.wait_status("docs", lambda found: found.get("readyReplicas") == 5)
    assert owners(rerankers.deployment("docs")) == {"reranker-operator"}
    pods = {pod["metadata"]["uid"] for pod in rerankers.pods("docs")}

    # On: as many as there are, though a new service would begin with fewer; no pod comes or goes.
    stand_in.say(0.5)
    scaling = {"minReplicas": 1, "maxReplicas": 6, "targetQueueSeconds": 0.5}
    made = rerankers.apply("docs", replicas=1, autoscaling=scaling, **stand_in.spec)
    rerankers.wait_deployment("docs", is_at(5, scaled=True))
    rerankers.wait_condition("docs", "Ready", "True", generation=made["metadata"]["generation"])
    assert owners(rerankers.deployment("docs")) == {"reranker-operator-scaler"}
    assert {pod["metadata"]["uid"] for pod in rerankers.pods("docs")} == pods

    # Another operator finds it so, and has nothing to do.
    there = rerankers.deployment("docs")["metadata"]["resourceVersion"]
    operator.restart()
    looked = f'desired_replicas{{name="docs",namespace="{rerankers.namespace}"}} 5.0'
    wait_until("the next operator to have looked at the queue", lambda: looked in operator.metrics(), timeout=60)
    assert rerankers.deployment("docs")["metadata"]["resourceVersion"] == there

    # Somebody scales the service: that says with how many it would begin, and nothing else.
    kubectl, where = rerankers.cluster.kubectl, ("-n", rerankers.namespace)
    kubectl(*where, "scale", "rrs/docs", "--replicas=2")
    rerankers.wait_condition("docs", "Ready", "True", generation=made["metadata"]["generation"] + 1)
    assert replicas(rerankers.deployment("docs")) == 5

    # Paused, and woken with as many as the spec says.
    kubectl(*where, "scale", "rrs/docs", "--replicas=0")
    rerankers.wait_condition("docs", "Ready", "False", "Paused")
    rerankers.wait_deployment("docs", is_at(0, scaled=False))
    kubectl(*where, "scale", "rrs/docs", "--replicas=2")
    rerankers.wait_deployment("docs", is_at(2, scaled=True))
    assert owners(rerankers.deployment("docs")) == {"reranker-operator-scaler"}

    # Off: the spec's own number again.
    rerankers.apply("docs", replicas=1, **stand_in.spec)
    rerankers.wait_deployment("docs", is_at(1, scaled=False))
    assert owners(rerankers.deployment("docs")) == {"reranker-operator"}


def test_it_scales_by_seconds_in_the_queue(rerankers: Rerankers, operator: OperatorProcess, stand_in: StandIn) -> None:
    stand_in.say(2.0)
    scaling = {"maxReplicas": 3, "targetQueueSeconds": 0.5, "behavior": AT_ONCE}
    rerankers.apply("docs", autoscaling=scaling, **stand_in.spec)
    rerankers.wait_event("Scaled", "from 1 to 3: 2 s in the queue, 0.5 s asked for")
    rerankers.wait_status("docs", lambda found: found.get("readyReplicas") == 3)
    rerankers.wait_ready("docs")
    place = f'{{name="docs",namespace="{rerankers.namespace}"}}'
    wait_until("the queue in the metrics", lambda: f"queue_seconds{place} 2.0" in operator.metrics(), timeout=30)
    assert f"reranker_operator_desired_replicas{place} 3.0" in operator.metrics()

    # Nobody waits, yet two pods are needed for what there is to do.
    stand_in.say(0.0, busy=0.4)
    rerankers.wait_event("Scaled", "from 3 to 2: 0 s in the queue, 0.5 s asked for")
    stand_in.say(0.0)
    rerankers.wait_event("Scaled", "from 2 to 1")
    rerankers.wait_status("docs", lambda found: found.get("replicas") == found.get("readyReplicas") == 1)
    rerankers.wait_ready("docs")
    service = rerankers.cluster.get(API, KIND, "docs", rerankers.namespace)
    assert service is not None
    assert service["spec"]["replicas"] == 1  # the user's own, and never written
    assert rerankers.condition("docs", "Progressing")["reason"] == "Complete"

    # New bounds hold at once, whatever the windows say.
    stand_in.say(0.5)
    slow = {
        "minReplicas": 2,
        "maxReplicas": 3,
        "targetQueueSeconds": 0.5,
        "behavior": {"scaleUp": {"selectPolicy": "Disabled"}},
    }
    rerankers.apply("docs", autoscaling=slow, **stand_in.spec)
    rerankers.wait_event("Scaled", "from 1 to 2: 2 to 3 are asked for")

    rerankers.delete("docs")
    wait_until(
        "the metrics to forget the service", lambda: f"queue_seconds{place}" not in operator.metrics(), timeout=30
    )


@pytest.mark.long
def test_a_pod_whose_queue_cannot_be_read_is_told_of_and_decides_nothing(
    rerankers: Rerankers, stand_in: StandIn
) -> None:
    stand_in.say_nothing_of_queues()
    scaling = {"maxReplicas": 3, "targetQueueSeconds": 0.5, "behavior": AT_ONCE}
    rerankers.apply("docs", replicas=2, autoscaling=scaling, **stand_in.spec)
    said = rerankers.wait_event("QueueUnreadable", "has no reranker_queue_seconds_sum")
    assert said["type"] == "Warning"
    names = [pod["metadata"]["name"] for pod in rerankers.pods("docs")]
    assert any(f"the queue of pod {name} cannot be read: http://" in said["message"] for name in names)
    assert replicas(rerankers.deployment("docs")) == 2
    # As soon as they can be read, it goes on.
    stand_in.say(0.0)
    rerankers.wait_deployment("docs", is_at(1, scaled=True))


def test_an_overloaded_runtime_gets_a_second_pod(rerankers: Rerankers) -> None:
    """The real one's own metrics, under real load."""
    scaling = {"maxReplicas": 2, "targetQueueSeconds": 0.001}
    rerankers.apply("docs", autoscaling=scaling, server={"maxQueueSeconds": 60})
    rerankers.wait_ready("docs")
    enough = threading.Event()

    def load() -> None:
        while not enough.is_set():
            rerankers.rank("docs", "which way?", ["two roads diverged in a yellow wood " * 8] * 32)

    with concurrent.futures.ThreadPoolExecutor(4) as callers:
        loads = [callers.submit(load) for _ in range(4)]
        try:
            event = rerankers.wait_event("Scaled", "from 1 to 2: ")
        finally:
            enough.set()
    for each in loads:
        each.result()
    assert event["message"].endswith(" s in the queue, 0.001 s asked for")
    rerankers.wait_deployment("docs", is_at(2, scaled=True))


def test_a_horizontal_pod_autoscaler_is_made_repaired_and_removed(rerankers: Rerankers, stand_in: StandIn) -> None:
    cluster, namespace = rerankers.cluster, rerankers.namespace
    behavior = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    scaling: Json = {"minReplicas": 3, "maxReplicas": 4, "metrics": CPU, "behavior": behavior}
    rerankers.apply("docs", autoscaling=scaling, **stand_in.spec)
    # A new service begins with as many as are asked for at least.
    rerankers.wait_deployment("docs", is_at(3, scaled=True))
    made = cluster.get(*HPA, namespace)
    assert made is not None
    assert made["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "docs"}
    assert made["spec"]["behavior"]["scaleDown"]["policies"] == behavior["scaleDown"]["policies"]
    assert made["metadata"]["ownerReferences"][0]["name"] == "docs"

    cluster.delete(*HPA, namespace)
    cluster.wait(*HPA, lambda item: item["metadata"]["uid"] != made["metadata"]["uid"], namespace=namespace)
    cluster.merge(*HPA, {"spec": {"maxReplicas": 9}}, namespace)
    cluster.wait(*HPA, lambda item: item["spec"]["maxReplicas"] == 4, namespace=namespace)
    rerankers.wait_event("Repaired", "HorizontalPodAutoscaler docs was changed")

    # The controller's own decision stands: of three pods two are left, which the spec's one does not change.
    rerankers.apply("docs", autoscaling={**scaling, "minReplicas": 1, "maxReplicas": 2}, **stand_in.spec)
    rerankers.wait_deployment("docs", is_at(2, scaled=True))
    rerankers.wait_status("docs", lambda found: found.get("readyReplicas") == found.get("replicas") == 2)
    changed = rerankers.apply(
        "docs",
        autoscaling={**scaling, "minReplicas": 1, "maxReplicas": 2},
        service={"labels": {"a": "b"}},
        **stand_in.spec,
    )
    rerankers.wait_condition("docs", "Ready", "True", generation=changed["metadata"]["generation"])
    assert replicas(rerankers.deployment("docs")) == 2
    assert owners(rerankers.deployment("docs")) == {"kube-controller-manager"}

    rerankers.apply("docs", **stand_in.spec)
    cluster.wait_gone(*HPA, namespace=namespace)
    rerankers.wait_deployment("docs", is_at(1, scaled=False))


def scaled_object_crd() -> Json:
    """KEDA's, as far as the guide uses it."""

    def fields(required: str, **properties: Json) -> Json:
        return {"type": "object", "required": required.split(), "properties": properties}

    text, count = {"type": "string"}, {"type": "integer", "minimum": 0}
    trigger = fields(
        "type metadata",
        type=text,
        metadata={"type": "object", "additionalProperties": text},
        metricType={"type": "string", "enum": ["AverageValue", "Value", "Utilization"]},
    )
    spec = fields(
        "scaleTargetRef triggers",
        scaleTargetRef=fields("name", apiVersion=text, kind=text, name=text),
        minReplicaCount=count,
        maxReplicaCount=count,
        triggers={"type": "array", "items": trigger},
    )
    names = {
        "kind": "ScaledObject",
        "listKind": "ScaledObjectList",
        "plural": "scaledobjects",
        "singular": "scaledobject",
    }
    schema = {"openAPIV3Schema": fields("spec", spec=spec)}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def test_the_guides_manifests_are_taken(rerankers: Rerankers, repository: Path) -> None:
    cluster, namespace = rerankers.cluster, rerankers.namespace
    blocks = re.findall(r"```yaml\n(.*?)```", (repository / "docs/guides/scale.md").read_text(), re.DOTALL)
    manifests = [document for block in blocks for document in yaml.safe_load_all(block)]
    crd = "scaledobjects.keda.sh"
    cluster.apply(scaled_object_crd())
    try:
        cluster.wait(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            crd,
            lambda item: any(
                each["type"] == "Established" and each["status"] == "True" for each in item["status"]["conditions"]
            ),
        )
        for manifest in manifests:
            text = json.dumps(manifest)
            cluster.kubectl("-n", namespace, "apply", "--validate=strict", "-f", "-", stdin=text)
        services = [each["metadata"]["name"] for each in manifests if each["kind"] == KIND]
        assert services == ["docs", "docs-hpa", "docs-keda"]
        for name in services:
            rerankers.wait_condition(name, "Accepted", "True")
        cluster.wait(*HPA[:2], "docs-hpa", bool, namespace=namespace)

        # What KEDA's own autoscaler finds at the end of scaleTargetRef, and does there.
        (target,) = [each["spec"]["scaleTargetRef"] for each in manifests if each["kind"] == "ScaledObject"]
        assert (target["apiVersion"], target["kind"]) == (API, KIND)
        path = f"/apis/{API}/namespaces/{namespace}/rerankerservices/{target['name']}/scale"
        scale = json.loads(cluster.kubectl("get", "--raw", path))
        assert scale["spec"]["replicas"] == 1
        assert "app.kubernetes.io/instance=docs-keda" in scale["status"]["selector"]
    finally:
        cluster.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", crd)
