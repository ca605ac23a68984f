"""The process kubelet: `python -m localkube.kubelet --node NAME ...` makes this machine a node of a cluster.

It watches the pods that the scheduler gives to its node and keeps one worker for each. When it ends, however it ends,
all its containers end with it, as when a node loses its power.
"""

import argparse
import asyncio
import ipaddress
import signal
import sys
from pathlib import Path

from localkube.api import Api, Json
from localkube.host import ApiHost, Node
from localkube.images import Images
from localkube.logs import serve_logs
from localkube.node import Capacity, keep_alive, register
from localkube.pod import PodWorker
from localkube.tasks import until_one_ends


class Kubelet:
    """The pods of one node."""

    def __init__(self, api: Api, node: Node) -> None:
        self._api = api
        self._node = node
        self._host = ApiHost(api, node.name)
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """The pod of a name that is here, or was last."""
        found = [
            worker
            for worker in self._workers.values()
            if (worker.context.manifest["metadata"]["namespace"], worker.context.manifest["metadata"]["name"])
            == (namespace, name)
        ]
        return found[-1] if found else None

    async def run(self) -> None:
        """Follow the node's pods for ever."""
        field = f"spec.nodeName={self._node.name}"
        async for kind, pod in self._api.watch("/api/v1/pods", field=field):
            if kind != "SYNCED":
                self._on_event(kind, pod)

    def _on_event(self, kind: str, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if kind == "DELETED":
            if worker:
                worker.gone()
            return
        if worker:
            worker.update(pod)
            return
        worker = PodWorker(self._host, self._node, pod)
        worker.update(pod)
        self._workers[uid] = worker
        task = asyncio.create_task(worker.run(), name=pod["metadata"]["name"])
        self._tasks[uid] = task
        task.add_done_callback(lambda task: self._on_end(uid, task))

    def _on_end(self, uid: str, task: asyncio.Task[None]) -> None:
        self._workers.pop(uid, None)
        self._tasks.pop(uid, None)
        if not task.cancelled() and (error := task.exception()):
            print(f"the worker of {task.get_name()} failed: {error!r}", file=sys.stderr)


async def serve(arguments: argparse.Namespace) -> None:
    """Join the cluster and run its pods until SIGTERM."""
    address = arguments.address
    node = Node(
        name=arguments.node,
        address=address,
        state=arguments.state / arguments.node,
        images=Images(arguments.images),
        pods=ipaddress.IPv4Network(arguments.pods),
        gpus=arguments.gpus,
        service_host=arguments.service_host,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Api(arguments.kubeconfig) as api:
        kubelet = Kubelet(api, node)
        log_port = await serve_logs(address, arguments.certificates, arguments.node, kubelet.find)
        capacity = Capacity(arguments.cpu, arguments.memory, arguments.gpus)
        await register(api, node.name, address, capacity, log_port)
        print(f"node {node.name} at {address} is ready", flush=True)
        await until_one_ends(keep_alive(api, node.name), kubelet.run(), stop.wait())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="localkube.kubelet", description=__doc__)
    result.add_argument("--kubeconfig", type=Path, required=True)
    result.add_argument("--node", required=True, help="name of the node")
    result.add_argument("--address", required=True, help="the node's own loopback address")
    result.add_argument("--gpus", type=int, default=0, help="how many nvidia.com/gpu the node has")
    result.add_argument("--cpu", default="32")
    result.add_argument("--memory", default="128Gi")
    result.add_argument("--images", type=Path, required=True, help="the images file")
    result.add_argument("--state", type=Path, required=True, help="folder for the pods' files")
    result.add_argument("--certificates", type=Path, required=True, help="folder with ca.crt, NODE.crt and NODE.key")
    result.add_argument("--pods", default="127.64.0.0/20", help="addresses for the pods")
    result.add_argument("--service-host", default="", help="address of the Service `kubernetes`")
    return result


if __name__ == "__main__":
    asyncio.run(serve(parser().parse_args()))
