"""Fixtures of the cluster tests: one cluster for the whole run, a namespace for each test, the operator."""

import json
import os
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import Helm
from faults import LEASE, Faulty, Scene
from foreignkinds import crd
from localkube.build import ControlPlaneUnavailableError, control_plane
from localkube.cluster import Cluster
from localkube.faultproxy import FaultProxy
from localkube.images import Image
from localkube.keeper import Keeper
from localkube.node import Capacity
from localkube.operator_process import OperatorProcess, established
from nim import nim_image
from rerankers import Rerankers
from standin import StandIn

OPERATOR_IMAGE = f"ghcr.io/reranker-operator/reranker-operator:{version('reranker-operator')}"
NOT_RUN = pytest.StashKey[str]()
FIGURES = pytest.StashKey[list[str]]()
SEED = int(os.environ.get("FAULTS_SEED", "1"))
"""Of whatever the fault tests choose at random."""


@pytest.fixture(scope="session")
def binary(request: pytest.FixtureRequest) -> Path:
    """The control plane's program, which is kubectl and helm, too.

    Where none can be had the tier is skipped, and the run's last lines say so and why; in CI it fails.
    """
    try:
        return control_plane()
    except ControlPlaneUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the cluster tier cannot run: {error}")
        request.config.stash[NOT_RUN] = str(error)
        pytest.skip(f"the cluster tier did not run: {error}")


@pytest.fixture(scope="session")
def cluster(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane and two nodes: node-a with 2 GPUs, node-b with 1."""
    with Cluster(tmp_path_factory.mktemp("cluster") / "state", audit=True) as running:
        yield running


@pytest.fixture(scope="module")
def helm(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm, without anything of the machine's own."""
    return Helm(binary, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def blank(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of the module's own, on which nothing was installed yet."""
    nodes = {"node-a": Capacity()}
    with Cluster(tmp_path_factory.mktemp("blank") / "state", nodes) as running:
        running.add_image(Image(OPERATOR_IMAGE, entrypoint=["reranker-operator"], user=65532))
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Nobody should have to look for a tier that did not run."""
    if NOT_RUN in config.stash:
        terminalreporter.section("THE CLUSTER TIER DID NOT RUN", red=True)
        terminalreporter.write_line(config.stash[NOT_RUN])
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have a figure that a test came by stand among the run's last lines."""
    return request.config.stash.setdefault(FIGURES, []).append


@pytest.fixture(autouse=True)
def _since(request: pytest.FixtureRequest) -> None:
    """Skip what the control plane of an older Kubernetes lacks."""
    if marker := request.node.get_closest_marker("since"):
        minor, what = marker.args
        server = json.loads(request.getfixturevalue("cluster").kubectl("version", "--output=json"))["serverVersion"]
        if int(re.sub(r"\D", "", server["minor"])) < minor:
            pytest.skip(f"{server['gitVersion']} lacks {what}")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own; its deletion is not waited for."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.create_namespace(name)
    yield name
    cluster.delete("v1", "Namespace", name)


@pytest.fixture(scope="session")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator as a process of its own, with exactly the rights that the project ships.

    Directories of the host are allowed below the folder that the tests write into.
    """
    # A short lease: tests that kill a leader wait for it to run out. Queues are looked at often for the same reason.
    arguments = ["--allow-host-path", str(tmp_path_factory.getbasetemp()), "--lease-seconds", "8"]
    arguments += ["--scaling-seconds", "1"]
    with OperatorProcess(cluster, tmp_path_factory.mktemp("operator"), arguments=arguments) as running:
        yield running


@pytest.fixture
def rerankers(cluster: Cluster, operator: OperatorProcess, namespace: str) -> Rerankers:
    """The services of the test's own namespace, with an operator to see to them."""
    return Rerankers(cluster, namespace)


@pytest.fixture
def stand_in(rerankers: Rerankers, tmp_path: Path) -> StandIn:
    """Pods that cost nothing, and say what the test lets them."""
    folder = tmp_path / "stand-in"
    folder.mkdir()
    return StandIn(rerankers.cluster, folder)


@pytest.fixture
def nvidias_image(cluster: Cluster) -> Iterator[None]:
    """What stands in for it."""
    image = nim_image()
    cluster.add_image(image)
    yield
    cluster.remove_image(image.reference)


@pytest.fixture(scope="module")
def optional_kinds(cluster: Cluster) -> Iterator[None]:
    """Definitions of the kinds that a cluster may lack."""
    made = [
        crd("gateway.networking.k8s.io", "HTTPRoute", "httproutes"),
        crd("monitoring.coreos.com", "ServiceMonitor", "servicemonitors"),
    ]
    cluster.apply(*made)
    for each in made:
        cluster.wait(each["apiVersion"], each["kind"], each["metadata"]["name"], established)
    yield
    for each in made:
        cluster.delete(each["apiVersion"], each["kind"], each["metadata"]["name"])
        cluster.wait_gone(each["apiVersion"], each["kind"], each["metadata"]["name"])


@pytest.fixture(scope="module")
def faulty(cluster: Cluster, operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """An operator behind a proxy that fails on demand, in the place of the session's, which stands aside."""
    operator.stop()
    try:
        with FaultProxy(cluster.control_plane, seed=SEED) as proxy:
            state = tmp_path_factory.mktemp("faulty")
            own = OperatorProcess(cluster, state, name="faulty", arguments=LEASE, through=proxy)
            own.start()
            with Keeper(own) as keeper:
                yield Faulty(proxy, own, keeper)
            own.stop()
    finally:
        operator.start()


@pytest.fixture(scope="module")
def stage(faulty: Faulty, cluster: Cluster) -> Iterator[Scene]:
    """What is shared by a file's scenes: a pod takes seconds to start."""
    name = f"faults-{uuid.uuid4().hex[:8]}"
    cluster.create_namespace(name)
    yield Scene(Rerankers(cluster, name), [faulty.operator], SEED)
    cluster.delete("v1", "Namespace", name)


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """Services that all is well with, before the faults begin."""
    stage.stand()
    return stage


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's root folder."""
    return Path(__file__).parents[2]


@pytest.fixture
def kustomize(binary: Path) -> Callable[[Path], list[dict[str, Any]]]:
    """The objects of a kustomize base."""

    def build(folder: Path) -> list[dict[str, Any]]:
        command = [binary, "kubectl", "kustomize", folder]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        return [each for each in yaml.safe_load_all(made.stdout) if each]

    return build
