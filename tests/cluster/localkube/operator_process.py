"""The operator as a process of its own, with its ServiceAccount's token and exactly the rights the project ships."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localkube.api import Json, write_kubeconfig
from localkube.cluster import Cluster
from localkube.faultproxy import FaultProxy
from localkube.loopback import ask
from localkube.processes import PACKAGE_ROOT, Child, ProcessError, free_port, wait_until
from localkube.progress import Say, silent

NAMESPACE = "reranker-system"
ACCOUNT = "reranker-operator"

_PROJECT = PACKAGE_ROOT.parent.parent
_MANIFESTS = (
    "deploy/operator/namespace.yaml",
    "deploy/operator/account.yaml",
    "deploy/rules/rules.yaml",
    "deploy/cluster-wide.yaml",
)
_TOKEN_SECONDS = 24 * 3600
_READY_SECONDS = 60.0


class OperatorProcess:
    """A running operator. `arguments` are added to `reranker-operator run`; `through` stands before the API server.

    `namespace` is its own one: that of its ServiceAccount, its Lease and its key.
    """

    def __init__(
        self,
        cluster: Cluster,
        state: Path,
        *,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        name: str = "operator",
        through: FaultProxy | None = None,
        namespace: str = NAMESPACE,
    ) -> None:
        self.cluster = cluster
        self.name = name
        self.kubeconfig = state / f"{name}.kubeconfig"
        self.metrics_port = 0
        self.health_port = 0
        self._state = state
        self._arguments = list(arguments)
        self._more: list[str] = []
        self._env = dict(env or {})
        self._through = through
        self._namespace = namespace
        self._token = ""
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.install()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def install(self) -> None:
        """Apply the CRDs, the namespace and the RBAC rules, and wait until the CRDs are served."""
        cluster = self.cluster
        for crd in sorted((_PROJECT / "crds").glob("reranking.dev_*.yaml")):
            for applied in cluster.apply_file(crd):
                name = applied["metadata"]["name"]
                cluster.wait("apiextensions.k8s.io/v1", "CustomResourceDefinition", name, established)
        for manifest in _MANIFESTS:
            cluster.apply_file(_PROJECT / manifest)

    def start(self, say: Say = silent, *, wait: bool = True) -> None:
        """Start the process, and wait until its /readyz says yes. Raises ProcessError."""
        if self._child and self._child.running:
            raise ProcessError(f"{self.name} runs already")
        say("starting the operator with the token of its ServiceAccount")
        self._state.mkdir(parents=True, exist_ok=True)
        plane = self.cluster.control_plane
        server = self._through.url if self._through else plane.url
        self._token = self._token or self.token()  # as in a pod, where it outlives the process
        write_kubeconfig(self.kubeconfig, server, plane.authority.certificate, self._token)
        self.metrics_port, self.health_port = free_port(), free_port()
        command = [str(Path(sys.executable).with_name("reranker-operator")), "run"]
        command += ["--metrics-port", str(self.metrics_port), "--health-port", str(self.health_port)]
        command += ["--lease-namespace", self._namespace, *self._arguments, *self._more]
        environment = {"KUBECONFIG": str(self.kubeconfig), **self._env}
        self._child = Child(self.name, command, self.log, tethered=self.cluster.tethered, env=environment)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until /readyz says yes. Raises ProcessError."""
        wait_until("the operator to be ready", self.ready, timeout=_READY_SECONDS, watch=[self.child])

    def token(self) -> str:
        """A fresh token of the operator's ServiceAccount."""
        portal = self.cluster.portal
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _TOKEN_SECONDS},
        }
        answer: Json = portal.call(
            portal.api.create(f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{ACCOUNT}/token", request)
        )
        return str(answer["status"]["token"])

    @property
    def log(self) -> Path:
        """The file with what it printed."""
        return self._state / f"{self.name}.log"

    @property
    def child(self) -> Child:
        """The process."""
        if self._child is None:
            raise ProcessError(f"{self.name} is not started")
        return self._child

    def ready(self) -> bool:
        """Whether /readyz answers 200."""
        with ask(f"http://127.0.0.1:{self.health_port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)

    def metrics(self) -> str:
        """The text of /metrics."""
        with ask(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def leads(self) -> bool:
        """Whether this process says that it leads."""
        return "reranker_operator_leader 1.0" in self.metrics()

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._child:
            self._child.stop()

    def kill(self) -> None:
        """SIGKILL, as when a node loses its power."""
        self.child.kill()
        self.child.process.wait()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    @contextmanager
    def started_with(self, *more: str) -> Iterator[None]:
        """`restart_with` for a block, and back to what it was."""
        self.restart_with(*more)
        try:
            yield
        finally:
            self.restart_with()

    def restart_with(self, *more: str) -> None:
        """Stop, and start with `more` arguments than it was made with; without any, as it was made."""
        self.stop()
        self._more = list(more)
        self.start()


def established(crd: Json) -> Any:
    """Whether the API server serves what a CustomResourceDefinition defines."""
    return any(
        condition["type"] == "Established" and condition["status"] == "True"
        for condition in crd.get("status", {}).get("conditions", [])
    )
