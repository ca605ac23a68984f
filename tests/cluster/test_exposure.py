"""Objects that only some services ask for: made, repaired, removed; kinds that come with their CRDs."""

from __future__ import annotations

from typing import Any

import pytest

from foreignkinds import crd
from rerankers import Rerankers

EXPOSED: dict[str, Any] = {
    "ingress": {"host": "rank.example.com"},
    "networkPolicy": {"from": [{"podSelector": {"matchLabels": {"app": "search"}}}]},
    "disruptionBudget": {"maxUnavailable": "50%"},
}
PLACES = {
    "ingress": ("networking.k8s.io/v1", "Ingress"),
    "networkPolicy": ("networking.k8s.io/v1", "NetworkPolicy"),
    "disruptionBudget": ("policy/v1", "PodDisruptionBudget"),
}


def test_they_are_made_repaired_and_removed(rerankers: Rerankers) -> None:
    cluster, namespace = rerankers.cluster, rerankers.namespace
    rerankers.apply("docs", **EXPOSED)
    rerankers.wait_ready("docs")
    for version, kind in PLACES.values():
        made = cluster.get(version, kind, "docs", namespace)
        assert made is not None, kind
        assert made["metadata"]["ownerReferences"][0]["name"] == "docs"
    cluster.delete("policy/v1", "PodDisruptionBudget", "docs", namespace)
    cluster.wait("policy/v1", "PodDisruptionBudget", "docs", lambda _: True, namespace=namespace)
    patch = '{"spec": {"rules": [{"host": "elsewhere.example.com"}]}}'
    cluster.kubectl("-n", namespace, "patch", "ingress", "docs", "--type=merge", "-p", patch)
    cluster.wait(
        "networking.k8s.io/v1",
        "Ingress",
        "docs",
        lambda live: live["spec"]["rules"][0]["host"] == "rank.example.com",
        namespace=namespace,
    )
    made = rerankers.apply("docs")
    for version, kind in PLACES.values():
        cluster.wait_gone(version, kind, "docs", namespace=namespace)
    status = rerankers.wait_ready("docs", generation=made["metadata"]["generation"])
    assert status["readyReplicas"] == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("field", "value", "group", "kind", "plural"),
    [
        ("gateway", {"parentRefs": [{"name": "public"}]}, "gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
        ("monitoring", {"serviceMonitor": {}}, "monitoring.coreos.com", "ServiceMonitor", "servicemonitors"),
    ],
)
def test_a_kind_without_its_crd_is_said_and_comes_when_the_crd_does(
    rerankers: Rerankers, field: str, value: dict[str, Any], group: str, kind: str, plural: str
) -> None:
    cluster, namespace = rerankers.cluster, rerankers.namespace
    rerankers.apply("docs", **{field: value})
    condition = rerankers.wait_condition("docs", "ReferencesResolved", "False", "KindNotServed")
    assert f"the cluster serves no {kind}, which spec.{field} asks for" in condition["message"]
    rerankers.wait_condition("docs", "Available", "True")  # nothing waits for it
    cluster.apply(crd(group, kind, plural))
    try:
        rerankers.wait_ready("docs")
        made = cluster.get(f"{group}/v1", kind, "docs", namespace)
        assert made is not None
        rerankers.apply("docs")
        cluster.wait_gone(f"{group}/v1", kind, "docs", namespace=namespace)
    finally:
        cluster.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{plural}.{group}")


def test_an_object_of_somebody_else_is_not_taken_over(rerankers: Rerankers) -> None:
    theirs = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "docs", "namespace": rerankers.namespace},
        "spec": {"maxUnavailable": 3, "selector": {"matchLabels": {"app": "other"}}},
    }
    rerankers.cluster.apply(theirs)
    rerankers.apply("docs", disruptionBudget={"maxUnavailable": 1})
    refused = rerankers.wait_condition("docs", "Accepted", "False", "ChildRefused")
    assert "PodDisruptionBudget docs exists and belongs to somebody else" in refused["message"]
    live = rerankers.cluster.get("policy/v1", "PodDisruptionBudget", "docs", rerankers.namespace)
    assert live is not None
    assert live["spec"]["maxUnavailable"] == 3
