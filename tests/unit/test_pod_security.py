"""What the pods of every golden service may do, judged by the rules of the restricted Pod Security Standard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OUTPUTS = sorted((ROOT / "tests/golden/output").glob("*.yaml"))
DEPLOYMENT = ROOT / "deploy/operator/deployment.yaml"
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "image", "persistentVolumeClaim", "projected", "secret"}
"""Of the kinds that the standard allows, those that are in use."""


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def pods(path: Path) -> Iterator[dict[str, Any]]:
    for document in documents(path):
        if document["kind"] in ("Deployment", "Job"):
            yield document["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def meets_the_standard(pod: dict[str, Any]) -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod)
    shared = pod["securityContext"]
    assert shared["runAsNonRoot"] is True
    assert shared.get("runAsUser", 1) != 0
    assert shared["seccompProfile"]["type"] == "RuntimeDefault"
    for container in containers(pod):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not own.get("privileged")
        assert own.get("runAsUser", 1) != 0
        assert not any("hostPort" in port for port in container.get("ports", ()))


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.stem)
def test_every_pod_meets_the_restricted_standard(path: Path) -> None:
    for pod in pods(path):
        meets_the_standard(pod)
        assert pod["automountServiceAccountToken"] is False
        for volume in pod.get("volumes", ()):
            (kind,) = set(volume) - {"name"}
            assert kind in VOLUMES | {"hostPath"}
            assert "serviceAccountToken" not in str(volume)
        if "nim" not in path.stem:  # NVIDIA's images write beside their programs
            assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in containers(pod))


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.stem)
def test_a_hosts_directory_is_read_only_and_the_models(path: Path) -> None:
    for pod in pods(path):
        hosts = {volume["name"] for volume in pod.get("volumes", ()) if "hostPath" in volume}
        assert hosts <= {"model"}
        mounts = [mount for each in containers(pod) for mount in each.get("volumeMounts", ()) if mount["name"] in hosts]
        assert all(mount["readOnly"] for mount in mounts)


def test_hosts_directories_are_among_what_is_judged() -> None:
    assert any("hostPath" in volume for path in OUTPUTS for pod in pods(path) for volume in pod.get("volumes", ()))


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.stem)
def test_everything_that_is_made_is_in_the_services_own_namespace(path: Path) -> None:
    given = documents(ROOT / "tests/golden/input" / path.name)
    (service,) = [each for each in given if each["kind"] == "RerankerService"]
    for document in documents(path):
        assert document["metadata"]["namespace"] == service["metadata"].get("namespace", "default")
        assert document["kind"] not in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Pod")


def test_the_operators_own_pod_meets_it_too() -> None:
    (deployment,) = documents(DEPLOYMENT)
    pod = deployment["spec"]["template"]["spec"]
    meets_the_standard(pod)
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in containers(pod))
    assert "volumes" not in pod
