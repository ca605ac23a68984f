"""`make demo`: from nothing to ranked passages, with every step told."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from localkube.api import Json
from localkube.build import ControlPlaneUnavailableError
from localkube.client import Client
from localkube.processes import PACKAGE_ROOT, ProcessError
from localkube.progress import Progress
from localkube.ranking import curl, rank, table
from localkube.static import describe, rendered_pod, with_static_pod
from localkube.up import Standing

QUICKSTART = PACKAGE_ROOT.parent.parent / "examples" / "quickstart.yaml"

_VERSION = "reranking.dev/v1alpha1"
_KIND = "RerankerService"
_READY_SECONDS = 600.0


def demo(standing: Standing, progress: Progress) -> None:
    """The whole demo. Raises ProcessError, OSError and TimeoutError with what went wrong."""
    was_up = standing.client() is not None
    keep = was_up or os.environ.get("DEMO_KEEP") == "1"
    try:
        client = standing.up(progress)
    except ControlPlaneUnavailableError as error:
        _without_control_plane(str(error), progress)
        return
    try:
        _in_cluster(client, progress, keep=keep)
    finally:
        client.close()
        if not keep:
            progress("taking the cluster down (DEMO_KEEP=1 make demo leaves it running)")
            standing.down()
    if keep:
        print(f"\nThe cluster is still running; `make cluster-down` ends it. To use it:\n\n{standing.usage()}")


def _in_cluster(client: Client, progress: Progress, *, keep: bool) -> None:
    progress(f"kubectl apply -f {QUICKSTART.relative_to(QUICKSTART.parent.parent)}")
    client.kubectl("apply", "-f", str(QUICKSTART))
    service = _quickstart()
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]

    def ready(item: Json) -> Any:
        conditions = {condition["type"]: condition for condition in item.get("status", {}).get("conditions", [])}
        condition = conditions.get("Ready")
        if condition and condition.get("observedGeneration") == item["metadata"]["generation"]:
            progress(f"{name}: Ready is {condition['status']}, {condition['reason']}: {condition['message']}")
        if conditions.get("Stalled", {}).get("status") == "True":
            raise ProcessError(f"{name} will not become Ready: {conditions['Stalled']['message']}")
        return condition and condition["status"] == "True"

    try:
        client.wait(_VERSION, _KIND, name, ready, namespace=namespace, timeout=_READY_SECONDS)
    except TimeoutError as error:
        raise ProcessError(f"{error}\n{_pods(client, namespace)}") from None
    url = client.wait_service(name, namespace)
    _show(url, service["spec"]["model"]["name"], progress, reachable=keep)


def _without_control_plane(reason: str, progress: Progress) -> None:
    print(
        f"\nA Kubernetes control plane cannot be had on this machine: {reason}\n"
        "So this demo leaves Kubernetes out: it takes the very pod that the operator would make (what "
        f"`reranker-operator render {QUICKSTART.relative_to(QUICKSTART.parent.parent)}` prints) and runs it as a "
        "static pod of the process kubelet, with the same containers, probes and isolation.\n"
    )
    service = _quickstart()
    pod = rendered_pod(QUICKSTART)
    port = next(port["containerPort"] for port in pod["spec"]["containers"][0]["ports"] if port["name"] == "api")
    state = Path(tempfile.mkdtemp(prefix="localkube-"))
    try:
        with_static_pod(
            pod,
            state,
            progress,
            lambda address: _show(
                f"http://{address}:{port}", service["spec"]["model"]["name"], progress, reachable=False
            ),
        )
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _show(url: str, model: str, progress: Progress, *, reachable: bool) -> None:
    progress(f"ranking four passages at {url}/v1/ranking")
    ranked = rank(url, model)
    progress("done")
    print(f"\n{table(ranked)}\n")
    when = "The same by hand:" if reachable else "The same by hand, while it runs:"
    print(f"{when}\n\n{curl(url, model)}\n")
    print(f"{'To try it in a browser:' if reachable else 'In a browser, while it runs:'} {url}/\n", flush=True)


def _quickstart() -> Json:
    documents = yaml.safe_load_all(QUICKSTART.read_text())
    found: Json = next(document for document in documents if document and document["kind"] == _KIND)
    return found


def _pods(client: Client, namespace: str) -> str:
    pods = client.objects("v1", "Pod", namespace)
    lines = [f"{pod['metadata']['name']}: {pod['status']['phase']}, {describe(pod['status'])}" for pod in pods]
    return "\n".join(lines) or "no pods were made"
