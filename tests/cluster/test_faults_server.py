"""The API server and its database killed and started again, while specs change and children are deleted."""

import pytest

from faults import CHEAP, REAL, Faulty, Scene
from localkube.controlplane import ControlPlane
from localkube.processes import wait_until

pytestmark = pytest.mark.long


@pytest.fixture
def plane(scene: Scene) -> ControlPlane:
    """The control plane, every program of which runs when the test begins."""
    return scene.rerankers.cluster.control_plane


@pytest.mark.parametrize("program", ["kube-apiserver", "etcd"])
def test_a_program_is_killed_and_started_again(scene: Scene, plane: ControlPlane, program: str) -> None:
    cluster, namespace = scene.rerankers.cluster, scene.rerankers.namespace
    for _ in range(3):
        # At any moment of what these changes set going.
        for _ in range(3):
            scene.edit()
        cluster.delete("v1", "Service", REAL, namespace)
        plane.restart(program)
        scene.edit()
        cluster.delete("v1", "ServiceAccount", CHEAP[0], namespace)
    scene.converged()


@pytest.mark.parametrize("program", ["kube-apiserver", "etcd"])
def test_the_operator_starts_while_there_is_no_server(
    faulty: Faulty, scene: Scene, plane: ControlPlane, program: str
) -> None:
    scene.edit()
    plane.kill(program)
    try:
        faulty.operator.kill()
        seen = faulty.proxy.counted()
        wait_until("the operator to ask again", lambda: faulty.proxy.counted() > seen, timeout=60)
    finally:
        plane.revive(program)
    scene.edit()
    scene.converged()
