"""What the tests of `diagnose` share: the command, its report by sections, and a front to an API server."""

import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import yaml

from localkube.api import write_kubeconfig
from localkube.cluster import Cluster
from rerankers import Rerankers

OPERATOR = Path(sys.executable).with_name("reranker-operator")

Completed = subprocess.CompletedProcess[str]


def run(kubeconfig: Path | str, *arguments: str | Path, **variables: str) -> Completed:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), **variables}
    return subprocess.run(
        [OPERATOR, "diagnose", *arguments], capture_output=True, text=True, env=environment, timeout=120
    )


def report_of(rerankers: Rerankers, name: str, *arguments: str | Path, kubeconfig: Path | None = None) -> "Report":
    made = run(kubeconfig or rerankers.cluster.kubeconfig, f"{rerankers.namespace}/{name}", *arguments)
    assert made.returncode == 0, made.stderr
    assert "Traceback" not in made.stderr
    return Report(made.stdout)


class Report:
    """A report by its sections; lines that were wrapped are put together again."""

    def __init__(self, text: str) -> None:
        self.text = text
        head, *parts = re.split(r"\n\n(?=[A-Z])", text)
        self.verdict = " ".join(head.split())
        self.titles = [part.splitlines()[0] for part in parts]
        self._sections = {part.splitlines()[0].split(" (")[0]: part for part in parts}

    def __getitem__(self, title: str) -> str:
        return " ".join(self._sections[title].split())


@contextmanager
def front(cluster: Cluster, folder: Path, answer: Callable[[str], tuple[int, bytes] | None]) -> Iterator[Path]:
    """A kubeconfig for something in front of the API server that gives an `answer` of its own to some paths."""
    plane, user = cluster.control_plane, yaml.safe_load(cluster.kubeconfig.read_text())["users"][0]["user"]
    trusted = ssl.create_default_context(cafile=str(plane.authority.certificate))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            own = answer(self.path)
            if own is None:
                passed = behind.get(self.path, headers={"Authorization": self.headers["Authorization"]})
                own = passed.status_code, passed.content
            self.send_response(own[0])
            self.send_header("Content-Length", str(len(own[1])))
            self.end_headers()
            self.wfile.write(own[1])

        def log_message(self, *_: object) -> None:
            pass

    with (
        httpx.Client(base_url=plane.url, verify=trusted, trust_env=False, timeout=60) as behind,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening,
    ):
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{listening.server_port}"
            yield write_kubeconfig(folder / "front.kubeconfig", address, plane.authority.certificate, user["token"])
        finally:
            listening.shutdown()
            thread.join()
