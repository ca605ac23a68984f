"""The check that the fault tests rest on, tested: it sees every way in which things differ from what is asked for."""

from collections.abc import Callable
from typing import Any

from convergence import Convergence
from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from rerankers import Rerankers


def test_every_deviation_is_seen(cluster: Cluster, operator: OperatorProcess, rerankers: Rerankers) -> None:
    namespace = rerankers.namespace
    convergence = Convergence(cluster, namespace)
    rerankers.apply("docs", replicas=0, disruptionBudget={"maxUnavailable": 1}, service={"labels": {"team": "a"}})
    convergence.wait()

    def merge(version: str, kind: str, **patch: Any) -> Callable[[], object]:
        return lambda: cluster.merge(version, kind, "docs", patch, namespace)

    stray = {"name": "stray", "labels": {"app.kubernetes.io/managed-by": "reranker-operator"}}
    deviations: list[tuple[Callable[[], object], str]] = [
        (merge("v1", "Service", metadata={"labels": {"team": "b"}}), 'labels.team should be "a" and is "b"'),
        (merge("v1", "Service", metadata={"labels": {"more": "c"}}), 'labels.more should be null and is "c"'),
        (merge("v1", "Service", spec={"sessionAffinity": "ClientIP"}), 'sessionAffinity should be "None"'),
        (merge("apps/v1", "Deployment", spec={"paused": True}), "Deployment docs.spec.paused should be null"),
        (merge("apps/v1", "Deployment", metadata={"ownerReferences": None}), "Deployment docs should have one owner"),
        (lambda: cluster.delete("v1", "ServiceAccount", "docs", namespace), "ServiceAccount docs does not exist"),
        (
            lambda: cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": stray}, namespace=namespace),
            "ConfigMap stray should have one owner",
        ),
        (
            lambda: rerankers.apply("docs", replicas=0),
            "PodDisruptionBudget docs is not asked for by docs",
        ),
        (lambda: None, "RerankerService docs: its status is of generation 1, its spec is generation 2"),
    ]
    operator.stop()
    try:
        for deviate, said in deviations:
            deviate()
            assert said in "\n".join(convergence.faults())
    finally:
        operator.start()
