"""Runs one pod without any control plane: what the demo falls back to where none can be had."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml

from localkube.addresses import reserve_range
from localkube.api import Json
from localkube.cluster import default_images
from localkube.host import Node, NoHost, now
from localkube.images import Images, write_images
from localkube.pod import PodWorker
from localkube.processes import ProcessError
from localkube.progress import Say
from localkube.status import FINAL_PHASES

T = TypeVar("T")

_READY_SECONDS = 300.0


def rendered_pod(manifest: Path) -> Json:
    """The ranking pod that the operator would make of a file, by `reranker-operator render`."""
    program = str(Path(sys.executable).with_name("reranker-operator"))
    result = subprocess.run([program, "render", str(manifest)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ProcessError(f"reranker-operator render {manifest} failed: {result.stderr.strip()}")
    objects = [item for item in yaml.safe_load_all(result.stdout) if item]
    deployment = next(item for item in objects if item["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    name = deployment["metadata"]["name"]
    metadata = {**template["metadata"], "name": f"{name}-static", "namespace": "default", "uid": f"static-{name}"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def with_static_pod(pod: Json, state: Path, say: Say, use: Callable[[str], T]) -> T:
    """Run a pod, call `use` with its address once it is ready, end the pod, return what `use` gave."""
    return asyncio.run(_with_static_pod(pod, state, say, use))


async def _with_static_pod(pod: Json, state: Path, say: Say, use: Callable[[str], T]) -> T:
    addresses, holder = reserve_range()
    await asyncio.to_thread(state.mkdir, parents=True, exist_ok=True)
    images = state / "images.json"
    write_images(images, default_images())
    with holder:
        node = Node("static", addresses.node(0), state, Images(images), addresses.pods)
        host = NoHost()
        worker = PodWorker(host, node, pod)
        task = asyncio.create_task(worker.run())
        try:
            await _until_ready(worker, host, say)
            return await asyncio.to_thread(use, worker.address)
        finally:
            worker.update({**pod, "metadata": {**pod["metadata"], "deletionTimestamp": now()}})
            await task


async def _until_ready(worker: PodWorker, host: NoHost, say: Say) -> None:
    async with asyncio.timeout(_READY_SECONDS):
        while True:
            status = worker.status()
            say(f"the pod is {status['phase']}: {describe(status)}")
            if status["phase"] in FINAL_PHASES:
                raise ProcessError(f"the pod ended: {describe(status)}\n{_log_ends(worker)}")
            if any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"]):
                return
            await host.changed.wait()
            host.changed.clear()


def describe(status: Json) -> str:
    """The states of a pod's containers in a few words."""
    entries = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return ", ".join(f"{entry['name']} {_state(entry)}" for entry in entries)


def _state(entry: Json) -> str:
    for kind, detail in entry["state"].items():
        if kind == "running":
            return "ready" if entry["ready"] else "running"
        return str(detail.get("reason", kind))
    return "unknown"


def _log_ends(worker: PodWorker) -> str:
    ends = []
    for container in [*worker.inits, *worker.mains]:
        path = container.log_path()
        if path.exists():
            ends.append(f"{container.name}: {path.read_text(errors='replace')[-1500:]}")
    return "\n".join(ends)
