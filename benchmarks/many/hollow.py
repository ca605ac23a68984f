"""A hollow kubelet: says of pods what a kubelet would, and runs nothing.

Each model Job's pod is reported as Succeeded, with the report of a verified model as its termination message. A ranking
pod, where there are any, is reported as ready once it is bound to the hollow node.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from localkube.api import Api, ApiError
from localkube.node import Capacity, keep_alive, register
from many import documents

Json = dict[str, Any]

WORKERS = 8
NODE = "hollow"
_CAPACITY = Capacity(cpu="10000", memory="100Ti", pods=10000)
_RETRY_SECONDS = 1.0
_NODES = 64  # the first addresses of the range are the nodes'
_REPORT = {
    "ok": True,
    "digest": "sha256:" + "5f" * 32,
    "architecture": "BertModel",
    "parameters": 22713216,
    "dtype": "float32",
    "maxTokens": 512,
}


@asynccontextmanager
async def hollow_node(api: Api, address: str) -> AsyncIterator[None]:
    """A node with room for everything, while the block runs."""
    await register(api, NODE, address, _CAPACITY, log_port=0)
    renewing = asyncio.create_task(keep_alive(api, NODE))
    try:
        yield
    finally:
        renewing.cancel()


@asynccontextmanager
async def hollow_kubelet(api: Api, namespace: str, network: ipaddress.IPv4Network) -> AsyncIterator[None]:
    """Look after the pods of a namespace while the block runs; their addresses come out of `network`."""
    pods = documents.PODS.format(namespace)
    addresses = itertools.cycle(str(each) for each in network.hosts() if int(each) - int(network[0]) >= _NODES)
    waiting: asyncio.Queue[Json] = asyncio.Queue()

    async def follow() -> None:
        async for event, pod in api.watch(pods):
            if event in {"ADDED", "MODIFIED"} and _has_work(pod):
                waiting.put_nowait(pod)

    async def work() -> None:
        while True:
            pod = await waiting.get()
            try:
                await _attend(api, f"{pods}/{pod['metadata']['name']}", pod, addresses)
            except ApiError as error:
                if error.code != 404:  # noqa: PLR2004 - it was deleted meanwhile
                    await asyncio.sleep(_RETRY_SECONDS)
                    waiting.put_nowait(pod)

    tasks = [asyncio.create_task(follow()), *(asyncio.create_task(work()) for _ in range(WORKERS))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def _has_work(pod: Json) -> bool:
    bound = "nodeName" in pod["spec"]
    if "deletionTimestamp" in pod["metadata"]:
        return bound
    return pod["status"].get("phase") == "Pending" and (bound or _verifies(pod))


def _verifies(pod: Json) -> bool:
    return (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/component") == "model"


async def _attend(api: Api, path: str, pod: Json, addresses: Iterator[str]) -> None:
    """Patching twice what was seen twice does no harm."""
    if "deletionTimestamp" in pod["metadata"]:
        await api.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}})
    elif _verifies(pod):
        await api.patch_status(path, _succeeded(pod))
    else:
        await api.patch_status(path, _ready(pod, next(addresses)))


def _succeeded(pod: Json) -> Json:
    stamp = _now()
    terminated = {
        "exitCode": 0,
        "reason": "Completed",
        "message": json.dumps(_REPORT),
        "startedAt": stamp,
        "finishedAt": stamp,
    }
    return {"phase": "Succeeded", "containerStatuses": [_container(pod, ready=False, state={"terminated": terminated})]}


def _ready(pod: Json, address: str) -> Json:
    stamp = _now()
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "phase": "Running",
        "startTime": stamp,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": stamp} for kind in kinds],
        "containerStatuses": [_container(pod, ready=True, state={"running": {"startedAt": stamp}})],
    }


def _container(pod: Json, *, ready: bool, state: Json) -> Json:
    container = pod["spec"]["containers"][0]
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
