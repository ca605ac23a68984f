"""What the fault tests share: an operator that things are done to, and changes that cost little."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from convergence import Convergence, NotConvergedError, Pods
from localkube.faultproxy import FaultProxy
from localkube.keeper import Keeper
from localkube.operator_process import OperatorProcess
from rerankers import API, KIND, Rerankers

REAL = "real"
"""The service that has a pod: nothing that is done to it gives a reason to replace that, but where a test is `rolling`
it."""
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
    asked: list[str] | None = None
    """The changes that asked for another template of REAL, where a test is `rolling` it."""
    worn: dict[str, Any] = field(default_factory=dict)
    """What its pods are asked to be."""

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
        self.worn = {}
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
        elif self.asked is not None and self.random.random() < 0.5:
            self.worn = _server(self.changes)
            self.asked.append(str(self.changes))
        if chosen == REAL:
            spec |= self.worn
        self.rerankers.apply(chosen, **spec)

    @contextmanager
    def rolling(self) -> Iterator[None]:
        """Within the block edits change the template of REAL as well, never back to an earlier one. When all is as it
        should be again, every one that was rolled out was asked for, and made a pod once.
        """
        before, made = self._sets(), self._made()
        self.asked = asked = []
        try:
            yield
        finally:
            self.asked = None
        self.converged()
        new = {name: change for name, change in self._sets().items() if name not in before}
        assert asked, f"nothing was rolled out: FAULTS_SEED={self.seed}"
        assert sorted(new.values()) == sorted(set(new.values()) & set(asked)), f"{new} of {asked}"
        assert asked[-1] in new.values()
        # Of the ReplicaSets that are gone again, too; none of earlier ones, as their templates were asked for no more.
        pods = self._made() - made
        assert set(pods.values()) == {1}, pods
        assert not pods.keys() & before.keys(), pods
        assert len(pods) <= len(asked), f"{pods} of {asked}"

    def _sets(self) -> dict[str, str]:
        """The ReplicaSets of REAL, and the change that asked for their template."""
        found = self.rerankers.cluster.objects(
            "apps/v1", "ReplicaSet", self.rerankers.namespace, {"app.kubernetes.io/instance": REAL}
        )
        containers = {item["metadata"]["name"]: item["spec"]["template"]["spec"]["containers"] for item in found}
        return {
            name: next((each["value"] for each in ranking["env"] if each["name"] == "CHANGE"), "")
            for name, (ranking,) in containers.items()
        }

    def _made(self) -> Counter[str]:
        """How many pods each ReplicaSet has made, as its events tell."""
        made: Counter[str] = Counter()
        for event in self.rerankers.cluster.objects("v1", "Event", self.rerankers.namespace):
            about = event["involvedObject"]
            ours = about["kind"] == "ReplicaSet" and about["name"].startswith(f"{REAL}-")
            if ours and event["reason"] == "SuccessfulCreate":
                made[about["name"]] += event["count"]
        return made

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
