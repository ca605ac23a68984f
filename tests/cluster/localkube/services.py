"""Forwards each Service's cluster address to its ready pods, as kube-proxy does.

A Service's port is open exactly while a pod is ready for it; otherwise connections are refused, as they are by the real
one. Existing connections live on when a pod becomes unready.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator
from functools import partial

from localkube.api import Api, Json
from localkube.forward import Target, forward, listener

_HEADLESS = "None"


class Services:
    """All Services of a cluster."""

    def __init__(self, api: Api, api_server: Target) -> None:
        self._api = api
        self._api_server = api_server
        self._services: dict[str, Json] = {}
        self._pods: dict[str, Json] = {}
        self._servers: dict[Target, asyncio.Server] = {}
        self._targets: dict[Target, Iterator[Target]] = {}
        self._chosen: dict[Target, list[Target]] = {}
        self._refused: set[Target] = set()
        self._dirty = asyncio.Event()

    async def run(self) -> None:
        """Forward for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow("/api/v1/services", self._services))
            group.create_task(self._follow("/api/v1/pods", self._pods))
            group.create_task(self._keep())

    async def _follow(self, path: str, known: dict[str, Json]) -> None:
        async for kind, item in self._api.watch(path):
            if kind == "DELETED":
                known.pop(item["metadata"]["uid"], None)
            elif kind != "SYNCED":
                known[item["metadata"]["uid"]] = item
            self._dirty.set()

    async def _keep(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._adjust()

    async def _adjust(self) -> None:
        wanted: dict[Target, list[Target]] = {}
        for service in self._services.values():
            wanted |= self._wanted(service)
        for address in [address for address in self._servers if not wanted.get(address)]:
            self._servers.pop(address).close()
        for address, targets in wanted.items():
            if self._chosen.get(address) != targets:
                self._chosen[address] = targets
                self._targets[address] = itertools.cycle(targets)
            if targets and address not in self._servers:
                await self._open(address)
        self._chosen = {address: targets for address, targets in self._chosen.items() if address in wanted}

    async def _open(self, address: Target) -> None:
        try:
            self._servers[address] = await forward(listener(*address), partial(self._choose, address))
        except OSError as error:
            if address not in self._refused:
                print(f"the Service address {address[0]}:{address[1]} cannot be opened: {error}", file=sys.stderr)
                self._refused.add(address)

    def _choose(self, address: Target) -> Target | None:
        return next(self._targets[address], None) if self._chosen.get(address) else None

    def _wanted(self, service: Json) -> dict[Target, list[Target]]:
        """For each address of a Service, the pods' addresses behind it."""
        spec, metadata = service["spec"], service["metadata"]
        cluster_address = spec.get("clusterIP")
        if not cluster_address or cluster_address == _HEADLESS:
            return {}
        ports = [port for port in spec.get("ports", []) if port.get("protocol", "TCP") == "TCP"]
        if (metadata["namespace"], metadata["name"]) == ("default", "kubernetes"):
            return {(cluster_address, port["port"]): [self._api_server] for port in ports}
        selector = spec.get("selector")
        if not selector:
            return {}
        unready_too = spec.get("publishNotReadyAddresses", False)
        pods = [
            pod
            for pod in self._pods.values()
            if pod["metadata"]["namespace"] == metadata["namespace"]
            and selector.items() <= (pod["metadata"].get("labels") or {}).items()
            and (unready_too or is_ready(pod))
            and pod.get("status", {}).get("podIP")
        ]
        result: dict[Target, list[Target]] = {}
        for port in ports:
            goal = port.get("targetPort", port["port"])
            numbers = [(pod["status"]["podIP"], pod_port(pod, goal)) for pod in pods]
            result[cluster_address, port["port"]] = sorted(
                (address, number) for address, number in numbers if number is not None
            )
        return result


def is_ready(pod: Json) -> bool:
    """Whether a pod may get new connections."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def pod_port(pod: Json, goal: int | str) -> int | None:
    """The number of a port that may be given by its name in the pod."""
    if isinstance(goal, int):
        return goal
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            if port.get("name") == goal:
                return int(port["containerPort"])
    return None
