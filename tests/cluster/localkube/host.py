"""What a pod's worker needs from the world outside its node: a seam with two sides.

In a cluster this is the API server; for a static pod (the demo where no control plane can be had) there is none, and
pods may use only what needs none.
"""

import asyncio
import datetime
import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol

from localkube.api import Api, ApiError, Json
from localkube.images import Images


class ConfigError(Exception):
    """The pod asks for something that is not there (yet), or that cannot be; tried again later."""


class Host(Protocol):
    """Everything outside the node."""

    async def secret(self, namespace: str, name: str) -> Json | None:
        """A Secret, or None."""

    async def config_map(self, namespace: str, name: str) -> Json | None:
        """A ConfigMap, or None."""

    async def claim_folder(self, namespace: str, name: str) -> str:
        """The host folder behind a claim. Raises ConfigError."""

    async def token(self, pod: Json, audience: str, seconds: int) -> str:
        """A token of the pod's ServiceAccount."""

    async def services(self, namespace: str) -> list[Json]:
        """The Services of a namespace, for the variables that pods get of them."""

    async def publish(self, pod: Json, status: Json) -> None:
        """Make a pod's status known."""

    async def finalize(self, pod: Json) -> None:
        """Say that nothing of a deleted pod runs any more."""

    async def event(self, pod: Json, kind: str, reason: str, message: str) -> None:
        """Tell people what happened; `kind` is Normal or Warning."""


@dataclass
class Node:
    """The node that pods run on: its identity, its folders and what it has."""

    name: str
    address: str
    state: Path
    images: Images
    pods: IPv4Network
    gpus: int = 0
    service_host: str = ""
    taken_gpus: dict[str, set[int]] = field(default_factory=dict)

    def take_gpus(self, owner: str, count: int) -> list[int]:
        """Numbers of GPUs that no other container has."""
        taken = {number for numbers in self.taken_gpus.values() for number in numbers}
        free = [number for number in range(self.gpus) if number not in taken][:count]
        self.taken_gpus[owner] = set(free)
        return free


def now() -> str:
    """The time, as Kubernetes writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ApiHost:
    """The seam's side with an API server."""

    def __init__(self, api: Api, node: str) -> None:
        self._api = api
        self._node = node
        self._events = 0

    async def secret(self, namespace: str, name: str) -> Json | None:
        return await self._api.find(f"/api/v1/namespaces/{namespace}/secrets/{name}")

    async def config_map(self, namespace: str, name: str) -> Json | None:
        return await self._api.find(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    async def claim_folder(self, namespace: str, name: str) -> str:
        claim = await self._api.find(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
        if claim is None:
            raise ConfigError(f'persistentvolumeclaim "{name}" not found')
        volume_name = claim["spec"].get("volumeName")
        if not volume_name or claim["status"].get("phase") != "Bound":
            raise ConfigError(f'persistentvolumeclaim "{name}" is not bound')
        volume = await self._api.find(f"/api/v1/persistentvolumes/{volume_name}")
        path = ((volume or {}).get("spec", {}).get("hostPath") or {}).get("path")
        if not path:
            raise ConfigError(
                f'persistentvolume "{volume_name}" is not a hostPath, the only kind that this kubelet has'
            )
        await asyncio.to_thread(Path(path).mkdir, parents=True, exist_ok=True)
        return str(path)

    async def token(self, pod: Json, audience: str, seconds: int) -> str:
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName", "default")
        reference = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        spec: Json = {"expirationSeconds": seconds, "boundObjectRef": reference}
        if audience:
            spec["audiences"] = [audience]
        answer = await self._api.create(
            f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        )
        return str(answer["status"]["token"])

    async def services(self, namespace: str) -> list[Json]:
        listing = await self._api.get(f"/api/v1/namespaces/{namespace}/services")
        return list(listing["items"])

    async def publish(self, pod: Json, status: Json) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        body = {"metadata": {"uid": metadata["uid"]}, "status": dict(status)}
        for key in {"podIPs", "hostIPs"} & status.keys():  # a merge would keep the addresses of an earlier life
            body["status"][key] = [*status[key], {"$patch": "replace"}]
        kind = "application/strategic-merge-patch+json"
        try:
            await self._api.request("PATCH", f"{path}/status", body=body, content_type=kind)
        except ApiError as error:
            if error.code not in {404, 409}:  # gone, or another pod of the same name
                raise

    async def finalize(self, pod: Json) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        try:
            await self._api.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}})
        except ApiError as error:
            if error.code != 409:
                raise

    async def event(self, pod: Json, kind: str, reason: str, message: str) -> None:
        metadata = pod["metadata"]
        self._events += 1
        stamp = now()
        body = {
            "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:1000],
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        try:
            await self._api.create(f"/api/v1/namespaces/{metadata['namespace']}/events", body)
        except ApiError as error:  # only told: a namespace that goes away takes none
            print(f"event {reason} not recorded: {error}", file=sys.stderr)


class NoHost:
    """The seam's side without an API server, for static pods; `changed` is set with every new status."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def secret(self, namespace: str, name: str) -> Json | None:
        return None

    async def config_map(self, namespace: str, name: str) -> Json | None:
        return None

    async def claim_folder(self, namespace: str, name: str) -> str:
        raise ConfigError(f"a static pod cannot use the claim {name}")

    async def token(self, pod: Json, audience: str, seconds: int) -> str:
        raise ConfigError("a static pod has no service account")

    async def services(self, namespace: str) -> list[Json]:
        return []

    async def publish(self, pod: Json, status: Json) -> None:
        self.changed.set()

    async def finalize(self, pod: Json) -> None:
        return

    async def event(self, pod: Json, kind: str, reason: str, message: str) -> None:
        if kind == "Warning" and reason != "Unhealthy":  # a probe that fails while the server starts is no news
            print(f"{pod['metadata']['name']}: {reason}: {message}", file=sys.stderr, flush=True)
