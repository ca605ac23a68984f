"""Operators killed and frozen at any moment, while specs change."""

from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from threading import Event

import pytest

from faults import LEASE, Faulty, Scene
from localkube.cluster import Cluster
from localkube.keeper import Keeper
from localkube.operator_process import OperatorProcess
from localkube.processes import wait_until

pytestmark = pytest.mark.long

KILLS, EDITS = 20, 50


def a_moment(scene: Scene, longest: float) -> None:
    """Let some time pass, so that what follows falls at any moment of what goes on."""
    Event().wait(scene.random.uniform(0, longest))


@pytest.mark.parametrize("half", [0, 1])
def test_it_is_killed_at_random_moments(faulty: Faulty, scene: Scene, half: int) -> None:
    """20 kills during 50 changes, in two halves: most while it works, some while it starts."""
    scene.random.seed(f"{scene.seed}/{half}")
    edits = EDITS // 2
    with scene.rolling():
        for kill in range(KILLS // 2):
            if scene.random.random() < 0.75:
                wait_until("the operator to lead", faulty.operator.leads, timeout=60)
            for _ in range(edits * (kill + 1) // (KILLS // 2) - edits * kill // (KILLS // 2)):
                scene.edit()
            a_moment(scene, 1)
            faulty.operator.kill()


@pytest.fixture
def second(cluster: Cluster, faulty: Faulty, tmp_path: Path) -> Iterator[Keeper]:
    """Another operator beside the first, kept running like it."""
    other = OperatorProcess(cluster, tmp_path, name="second", arguments=LEASE)
    other.start()
    with Keeper(other) as keeper:
        yield keeper
    other.stop()


@pytest.mark.parametrize("end", ["killed", "woken"])
def test_a_leader_is_frozen(faulty: Faulty, second: Keeper, scene: Scene, end: str) -> None:
    """The other one takes over; a leader that wakes up afterwards steps down, whatever it was about to write."""
    with scene.rolling():
        for leader, other in ((faulty.keeper, second), (second, faulty.keeper)) * 3:
            freeze(leader.operator, other.operator, scene, end)


def freeze(leader: OperatorProcess, other: OperatorProcess, scene: Scene, end: str) -> None:
    wait_until("the first operator to lead", leader.leads, timeout=60)
    for _ in range(4):
        scene.edit()
    a_moment(scene, 0.5)
    frozen = leader.child
    frozen.kill(SIGSTOP)
    try:
        scene.edit()
        wait_until("the other operator to take over", other.leads, timeout=60)
        scene.edit()
        if end == "killed":
            leader.kill()
    finally:
        frozen.kill(SIGCONT)
    if end == "killed":
        wait_until("the first operator to end", lambda: not frozen.running, timeout=60)
    else:
        wait_until("the first operator to step down", lambda: not leader.leads(), timeout=60)
        assert "reranker_operator_service_ready{" not in leader.metrics()  # it knows of them no longer
    scene.edit()
    scene.converged()
