"""From `kubectl apply` to the first ranking on a real control plane: `make bench`.

Prints a table: how long each step takes (median and least of the rounds, in seconds), and the memory of the operator,
the API server and a ranking pod (resident, in MiB). Each round is a service of its own in the same cluster.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localkube.cluster import Cluster
from localkube.operator_process import OperatorProcess
from localkube.ranking import rank

ROUNDS = 5
API, KIND = "reranking.dev/v1alpha1", "RerankerService"
NAMESPACE = "bench"
SPEC = {"model": {"source": {"inImage": {"path": "/models/all-minilm-l6-v2"}}}, "gpus": 0}

Figures = dict[str, list[float]]


def resident(pid: int) -> float:
    """MiB that a process holds in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def pid_of(part: str) -> int:
    """The youngest process whose command line holds `part`."""
    found = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if part in _read(path)]
    return max(found)


def _read(path: Path) -> str:
    try:
        return path.read_text().replace("\0", " ")
    except OSError:
        return ""


def one_round(cluster: Cluster, name: str, figures: Figures) -> None:
    """Apply a service, and note when each fact came true."""
    begin = time.monotonic()

    def note(what: str) -> None:
        figures.setdefault(what, []).append(time.monotonic() - begin)

    def condition(kind: str) -> Callable[[dict[str, Any]], bool]:
        def holds(item: dict[str, Any]) -> bool:
            conditions = item.get("status", {}).get("conditions", ())
            return any(each["type"] == kind and each["status"] == "True" for each in conditions)

        return holds

    metadata = {"name": name, "namespace": NAMESPACE}
    cluster.apply({"apiVersion": API, "kind": KIND, "metadata": metadata, "spec": SPEC})
    note("apply answered")
    cluster.wait(API, KIND, name, condition("ModelVerified"), namespace=NAMESPACE, timeout=120)
    note("model verified")
    cluster.wait(API, KIND, name, condition("Ready"), namespace=NAMESPACE, timeout=120)
    note("Ready")
    rank(cluster.service_url(name, NAMESPACE), "all-minilm-l6-v2")
    note("first ranking")
    figures.setdefault("pod MiB", []).append(resident(pid_of("reranker-runtime serve")))
    cluster.delete(API, KIND, name, NAMESPACE)
    cluster.wait_gone("apps/v1", "Deployment", name, namespace=NAMESPACE)
    note("deleted again")


def main() -> None:
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        with Cluster(Path(folder) / "cluster") as cluster:
            figures["control plane and 2 nodes"] = [time.monotonic() - begin]
            with OperatorProcess(cluster, Path(folder) / "operator") as operator:
                cluster.create_namespace(NAMESPACE)
                for number in range(ROUNDS):
                    one_round(cluster, f"round-{number}", figures)
                for _ in range(ROUNDS):
                    begin = time.monotonic()
                    operator.restart()
                    figures.setdefault("operator restart", []).append(time.monotonic() - begin)
                figures["operator MiB"] = [resident(operator.child.process.pid)]
                figures["API server MiB"] = [resident(cluster.control_plane.child("kube-apiserver").process.pid)]
    print(f"{'':28}{'median':>9}{'least':>9}")
    for what, values in figures.items():
        print(f"{what:28}{statistics.median(values):9.2f}{min(values):9.2f}")


if __name__ == "__main__":
    main()
