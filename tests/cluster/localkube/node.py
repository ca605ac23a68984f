"""The node's own objects: the Node with its capacity, and the Lease by which the control plane knows that it lives."""

import asyncio
import datetime
import platform
import sys
from dataclasses import dataclass

from localkube.api import Api, ApiError, Json
from localkube.host import now

LEASE_SECONDS = 40
_RENEW_SECONDS = 10.0
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@dataclass(frozen=True)
class Capacity:
    """What a node has to give."""

    cpu: str = "32"
    memory: str = "128Gi"
    gpus: int = 0
    pods: int = 110

    def to_json(self) -> Json:
        """As in a Node's status."""
        resources: Json = {
            "cpu": self.cpu,
            "memory": self.memory,
            "pods": str(self.pods),
            "ephemeral-storage": "200Gi",
        }
        if self.gpus:
            resources["nvidia.com/gpu"] = str(self.gpus)
        return resources


async def register(api: Api, name: str, address: str, capacity: Capacity, log_port: int) -> None:
    """Create the Node (or take over the one of this name) and report it ready."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
    }
    if capacity.gpus:
        labels["nvidia.com/gpu.present"] = "true"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    try:
        await api.create("/api/v1/nodes", node)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    await renew(api, name)
    await api.patch_status(f"/api/v1/nodes/{name}", _status(name, address, capacity, log_port))


async def renew(api: Api, name: str) -> None:
    """Renew the Lease once."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": stamp}
    try:
        await api.merge(f"{_LEASES}/{name}", {"spec": spec})
    except ApiError as error:
        if error.code != 404:
            raise
        metadata = {"name": name, "namespace": "kube-node-lease"}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        await api.create(_LEASES, body)


async def keep_alive(api: Api, name: str) -> None:
    """Renew the Lease for ever."""
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        try:
            await renew(api, name)
        except ApiError as error:
            print(f"lease of {name} not renewed: {error}", file=sys.stderr)


def _status(name: str, address: str, capacity: Capacity, log_port: int) -> Json:
    stamp = now()
    facts = {
        "Ready": ("True", "KubeletReady", "the process kubelet is ready"),
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", ""),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", ""),
        "PIDPressure": ("False", "KubeletHasSufficientPID", ""),
    }
    return {
        "capacity": capacity.to_json(),
        "allocatable": capacity.to_json(),
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": log_port}},
        "conditions": [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": stamp,
            }
            for kind, (status, reason, message) in facts.items()
        ],
        "nodeInfo": {
            "machineID": name,
            "systemUUID": name,
            "bootID": name,
            "kernelVersion": platform.release(),
            "osImage": "the host's",
            "containerRuntimeVersion": "localkube://0",
            "kubeletVersion": "v0.0.0-localkube",
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": _architecture(),
        },
    }


def _architecture() -> str:
    """The machine's architecture in Kubernetes' words."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
