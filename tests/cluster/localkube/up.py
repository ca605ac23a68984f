"""`cluster-up` and `cluster-down`: a cluster with the operator that stays until it is taken down."""

import fcntl
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localkube.client import Client
from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from localkube.processes import PACKAGE_ROOT, Identity, PidFile, ProcessError
from localkube.progress import Say

DEFAULT_STATE = PACKAGE_ROOT.parent.parent / ".cache" / "cluster"


class Standing:
    """The cluster that is kept in a folder: whether it is up, bringing it up, taking it down."""

    def __init__(self, folder: Path = DEFAULT_STATE) -> None:
        self.folder = folder.absolute()
        self.kubeconfig = self.folder / "kubeconfig"
        self._pids = PidFile(self.folder / "processes.json")
        self._facts = self.folder / "facts.json"

    def client(self) -> Client | None:
        """The cluster, if all of it runs."""
        try:
            facts = json.loads(self._facts.read_text())
        except (OSError, ValueError):
            return None
        if len(self._pids.living()) != facts["processes"]:
            return None
        return Client(self.kubeconfig, Path(facts["binary"]))

    def living(self) -> list[Identity]:
        """Those of its processes that run."""
        return self._pids.living()

    def up(self, say: Say) -> Client:
        """Bring it up, if it is not; leftovers of an earlier one are ended first."""
        with self._alone():
            if client := self.client():
                return client
            for identity in self._pids.end_all():
                say(f"ended {identity.name}, left over from an earlier run")
            cluster = Cluster(self.folder / "state", tethered=False, pid_file=self._pids)
            try:
                cluster.start(say)
                operator = OperatorProcess(cluster, self.folder / "state" / "operator")
                say("applying the CRD and the operator's rights")
                operator.install()
                operator.start(say, wait=False)
                processes = [*cluster.processes(), operator.child]
                self._pids.write(processes)
                operator.wait_ready()
            except BaseException:
                cluster.stop()
                self._pids.end_all()
                raise
            self._note(cluster, len(processes))
            return cluster

    def down(self) -> list[Identity]:
        """Take it down; returns the processes that were ended."""
        with self._alone():
            self._facts.unlink(missing_ok=True)
            return self._pids.end_all()

    def usage(self) -> str:
        """What to type to use it."""
        return (
            f"export KUBECONFIG={shlex.quote(str(self.kubeconfig))}\n"
            f"export PATH={shlex.quote(str(self.folder / 'bin'))}:$PATH   # its own kubectl and helm, if you have none"
        )

    def _note(self, cluster: Cluster, processes: int) -> None:
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(cluster.kubeconfig.read_text())
        cluster.write_tools(self.folder / "bin")
        self._facts.write_text(json.dumps({"binary": str(cluster.binary), "processes": processes}))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProcessError(f"another command is bringing the cluster in {self.folder} up or down") from None
            yield
