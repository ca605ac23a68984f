"""Starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes on loopback addresses."""

import secrets
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from localkube.addresses import AddressPart
from localkube.api import write_kubeconfig
from localkube.audit import AUDIT_LOG, write_policy
from localkube.loopback import ask
from localkube.pki import Authority, write_key, write_private
from localkube.processes import Child, ProcessError, free_port, stop_all, wait_until
from localkube.progress import Say, silent

_HOST = "127.0.0.1"
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_UNTHROTTLED = ("--kube-api-qps=500", "--kube-api-burst=1000")  # the defaults cost seconds at every start
_START_SECONDS = 90.0
_CLIENTS = ("kube-controller-manager", "kube-scheduler")
_TRIES = 3  # a port found free may be taken by somebody else before it is listened on


class ControlPlane:
    """A running control plane in a folder; `admin` is a kubeconfig that may do everything.

    With `audit` the API server writes down what ServiceAccounts ask of it (`localkube.audit`).
    """

    def __init__(
        self,
        binary: Path,
        state: Path,
        *,
        addresses: AddressPart,
        tethered: bool = True,
        audit: bool = False,
        started: Callable[[], None] | None = None,
    ) -> None:
        self.binary = binary
        self.state = state
        self.addresses = addresses
        self.tethered = tethered
        self.audit = audit
        self._started = started
        self.admin = state / "admin.kubeconfig"
        self.children: list[Child] = []
        self.port = 0
        self._commands: dict[str, list[str]] = {}
        self._ports: dict[str, list[int]] = {}
        self._reserved: list[socket.socket] = []
        self._admin_token = ""
        self._certificates = state / "pki"
        self.authority = Authority(self._certificates)
        self._account_key = write_key(self._certificates / "service-accounts.key")

    @property
    def logs(self) -> Path:
        """The folder of its programs' logs."""
        return self.state / "logs"

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://{_HOST}:{self.port}"

    def start(self, say: Say = silent) -> None:
        """Start everything and wait until the API server says that it is ready. Raises ProcessError."""
        for attempt in range(_TRIES):
            try:
                self._start(say)
            except ProcessError as error:
                self.stop()
                if "address already in use" not in str(error) or attempt + 1 == _TRIES:
                    raise
                say("a port was taken meanwhile; starting the control plane again")
            else:
                return

    def stop(self) -> None:
        """End everything; etcd last."""
        stop_all(self.children[1:])
        stop_all(self.children[:1])
        self.children = []

    def child(self, name: str) -> Child:
        """The process of a name such as `kube-scheduler`."""
        return next(child for child in self.children if child.name == name)

    def kill(self, name: str) -> None:
        """SIGKILL a program, as when its machine loses its power; it stays away until `revive`."""
        child = self.child(name)
        child.kill()
        child.process.wait()
        # A client that calls on, from a port that the system chooses, would now and then be given this very one.
        self._reserved = [_reserve(port) for port in self._ports.get(name, ())]

    def revive(self, name: str) -> None:
        """Start what was killed, on the same ports and data, and wait for the API server. Raises ProcessError.

        So are the API server's clients where they have ended meanwhile: a real one's kubelet would have seen to it.
        """
        for reserved in self._reserved:
            reserved.close()
        for index, child in enumerate(self.children):
            if not child.running and child.name in (name, *_CLIENTS):
                self.children[index] = self._launch(child.name)
                self._tell()
        self._wait_ready()

    def restart(self, name: str) -> None:
        """`kill` and `revive`."""
        self.kill(name)
        self.revive(name)

    def _start(self, say: Say) -> None:
        self.port, client, peer = (free_port() for _ in range(3))
        self._ports = {"kube-apiserver": [self.port], "etcd": [client, peer]}
        etcd = f"http://{_HOST}:{client}"
        tokens = {
            "admin": ("system:masters", secrets.token_hex(24)),
            "system:kube-controller-manager": ("", secrets.token_hex(24)),
            "system:kube-scheduler": ("", secrets.token_hex(24)),
        }
        lines = [f"{token},{user},{user}{f',{group}' if group else ''}\n" for user, (group, token) in tokens.items()]
        token_file = write_private(self._certificates / "tokens.csv", "".join(lines))
        configs = {
            user: write_kubeconfig(
                self.state / f"{user.rpartition(':')[2]}.kubeconfig", self.url, self.authority.certificate, token
            )
            for user, (_, token) in tokens.items()
        }
        say("starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler")
        self._run("etcd", *self._etcd_flags(etcd, f"http://{_HOST}:{peer}"))
        self._run("kube-apiserver", *self._apiserver_flags(etcd, token_file))
        self._admin_token = tokens["admin"][1]
        self._wait_ready()
        self._run(
            "kube-controller-manager",
            f"--kubeconfig={configs['system:kube-controller-manager']}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._account_key}",
            f"--root-ca-file={self.authority.certificate}",
            f"--bind-address={_HOST}",
            "--secure-port=0",
            "--leader-elect=false",
            *_UNTHROTTLED,
            "--controllers=*,-endpointslice-controller,-endpoints-controller",
            "--horizontal-pod-autoscaler-sync-period=2s",
        )
        self._run(
            "kube-scheduler",
            f"--kubeconfig={configs['system:kube-scheduler']}",
            f"--bind-address={_HOST}",
            "--secure-port=0",
            "--leader-elect=false",
            *_UNTHROTTLED,
        )

    def _run(self, program: str, *flags: str) -> None:
        self._commands[program] = [str(self.binary), program, *flags]
        self.children.append(self._launch(program))
        self._tell()

    def _launch(self, program: str) -> Child:
        log = self.logs / f"{program}.log"
        return Child(program, self._commands[program], log, tethered=self.tethered)

    def _tell(self) -> None:
        if self._started:
            self._started()

    def _etcd_flags(self, client: str, peer: str) -> list[str]:
        return [
            "--name=localkube",
            f"--data-dir={self.state / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=localkube={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _apiserver_flags(self, etcd: str, tokens: Path) -> list[str]:
        hosts = ["localhost", _HOST, self.addresses.first, "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        certificate, key = self.authority.issue("kube-apiserver", hosts)
        client_certificate, client_key = self.authority.issue("kubelet-client", [])
        return [
            f"--bind-address={_HOST}",
            f"--external-hostname={_HOST}",
            f"--secure-port={self.port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            f"--kubelet-client-certificate={client_certificate}",
            f"--kubelet-client-key={client_key}",
            f"--etcd-servers={etcd}",
            f"--service-cluster-ip-range={self.addresses.network}",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            f"--token-auth-file={tokens}",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={self._account_key}",
            f"--service-account-signing-key-file={self._account_key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
            *self._audit_flags(),
        ]

    def _audit_flags(self) -> list[str]:
        if not self.audit:
            return []
        policy = write_policy(self.state / "audit-policy.json")
        return [f"--audit-policy-file={policy}", f"--audit-log-path={self.logs / AUDIT_LOG}"]

    def _wait_ready(self) -> None:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        headers = {"Authorization": f"Bearer {self._admin_token}"}
        request = urllib.request.Request(f"{self.url}/readyz", headers=headers)

        def ready() -> bool:
            try:
                with ask(request, timeout=2, context=context) as answer:
                    return bool(answer.status == 200)
            except urllib.error.HTTPError as error:
                failing = [line for line in error.read().decode().splitlines() if line.startswith("[-]")]
                raise RuntimeError("; ".join(failing) or str(error)) from None

        wait_until("the API server to be ready", ready, timeout=_START_SECONDS, watch=self.children)


def _reserve(port: int) -> socket.socket:
    """Keep a port from being given to anybody, without listening on it: who calls is refused."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((_HOST, port))
    return reserved
