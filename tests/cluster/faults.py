"""What the fault tests share: an operator that things are done to, and changes that cost little."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from convergence import Convergence, NotConvergedError, Pods
from localkube.faultproxy import FaultProxy
from localkube.keeper import Keeper
from localkube.operator_process import OperatorProcess
from rerankers import API, KIND, Rerankers

REAL = "real"
"""The service that has a pod: nothing that is done to it gives a reason to replace that."""
CHEAP = ("first", "second")
"""Services without pods: whatever their specs ask for is made, and nothing is run but the check of the model."""


LEASE = ("--lease-seconds", "4")
"""For operators that are killed all the time: the shortest there is."""


@dataclass(frozen=True)
class Faulty:
    """An operator whose way to the API server can be made to fail, and that is started again whenever it ends."""

    proxy: FaultProxy
    operator: OperatorProcess
    keeper: Keeper


@dataclass
class Scene:
    """A few services that stand before the faults begin; `edit` changes one of them, each time in another way.

    What is random goes by `seed`, which a failure tells beside the end of the operator's log.
    """

    rerankers: Rerankers
    operators: Sequence[OperatorProcess]
    seed: int
    kept: Pods = field(default_factory=dict)
    changes: int = 0

    @property
    def convergence(self) -> Convergence:
        """Whether all is as it should be."""
        return Convergence(self.rerankers.cluster, self.rerankers.namespace)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def stand(self) -> None:
        """Make the services as they are at first, and wait until all is well."""
        rerankers = self.rerankers
        for left in rerankers.cluster.objects(API, KIND, rerankers.namespace):
            if left["metadata"]["name"] not in (REAL, *CHEAP):
                rerankers.delete(left["metadata"]["name"])
        rerankers.apply(REAL)
        for name in CHEAP:
            rerankers.apply(name, replicas=0)
        self.kept = {}
        self.converged()
        self.kept = self.convergence.pods()
        assert sum(map(len, self.kept.values())) == 1

    def edit(self, name: str | None = None) -> None:
        """`kubectl apply` another spec for a service."""
        chosen = name or self.random.choice((REAL, *CHEAP))
        self.changes += 1
        spec: dict[str, Any] = {}
        for change in self.random.sample(OUTSIDE_PODS, k=2):
            spec |= change(self.changes)
        if chosen != REAL:
            spec |= {"replicas": 0, **self.random.choice(IN_PODS)(self.changes)}
        self.rerankers.apply(chosen, **spec)

    def converged(self) -> None:
        """Wait until all is as it should be, and see that the pod there was is there still."""
        try:
            self.convergence.wait(self.kept)
        except NotConvergedError as error:
            error.add_note(f"FAULTS_SEED={self.seed}")
            for operator in self.operators:
                error.add_note(operator.child.tail())
                operator.kill()  # to be started again: what it has lost is not the next test's matter
            raise


def _service(number: int) -> dict[str, Any]:
    return {"service": {"labels": {"change": str(number)}, "port": 8000 + number}}


def _budget(number: int) -> dict[str, Any]:
    return {"disruptionBudget": {"maxUnavailable": number}}


def _ingress(number: int) -> dict[str, Any]:
    return {"ingress": {"host": f"rank-{number}.example.com"}}


def _policy(number: int) -> dict[str, Any]:
    return {"networkPolicy": {"from": [{"podSelector": {"matchLabels": {"change": str(number)}}}]}}


def _server(number: int) -> dict[str, Any]:
    return {"server": {"maxPassages": number, "env": [{"name": "CHANGE", "value": str(number)}]}}


def _grace(number: int) -> dict[str, Any]:
    return {"pod": {"terminationGracePeriodSeconds": number}}


OUTSIDE_PODS = (_service, _budget, _ingress, _policy)
IN_PODS = (_server, _grace, lambda _number: {})
