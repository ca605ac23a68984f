"""A storage provisioner: a folder on the host for each claim of the StorageClass `local`.

Without one, a claim stays Pending and its pod unscheduled. This only makes the volumes; binding is the control plane's.
"""

import asyncio
import shutil
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from localkube.api import Api, ApiError, Json

NAME = "reranking.dev/local"
CLASS = "local"
_RETRY_SECONDS = 1.0
_OURS = "pv.kubernetes.io/provisioned-by"


def storage_class() -> Json:
    """The StorageClass, which is also the default one."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": NAME,
        "volumeBindingMode": "Immediate",
        "reclaimPolicy": "Delete",
    }


class Provisioner:
    """Makes volumes for claims, and takes them away when their claims are gone."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._api = api
        self._folder = folder

    async def run(self) -> None:
        """Provision for ever."""
        await _insist(lambda: self._api.apply(storage_class()))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._provision())
            group.create_task(self._reclaim())

    async def _provision(self) -> None:
        async for kind, claim in self._api.watch("/api/v1/persistentvolumeclaims"):
            if kind not in {"ADDED", "MODIFIED"} or claim["spec"].get("storageClassName") != CLASS:
                continue
            if claim["status"].get("phase") == "Pending" and not claim["spec"].get("volumeName"):
                await self._make(claim)

    async def _make(self, claim: Json) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        name = f"pvc-{metadata['uid']}"
        path = self._folder / f"{metadata['namespace']}-{metadata['name']}-{metadata['uid'][:8]}"
        await asyncio.to_thread(_make_shared, path)
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {_OURS: NAME}},
            "spec": {
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": CLASS,
                "volumeMode": "Filesystem",
                "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": metadata["namespace"],
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                },
            },
        }
        await _insist(lambda: self._api.create("/api/v1/persistentvolumes", volume))

    async def _reclaim(self) -> None:
        async for kind, volume in self._api.watch("/api/v1/persistentvolumes"):
            ours = (volume.get("metadata", {}).get("annotations") or {}).get(_OURS) == NAME
            if kind == "MODIFIED" and ours and volume["status"].get("phase") == "Released":
                path = Path(volume["spec"]["hostPath"]["path"])
                if path.is_relative_to(self._folder):
                    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
                await _insist(partial(self._api.delete, f"/api/v1/persistentvolumes/{volume['metadata']['name']}"))


async def _insist(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Carry out a call until the API server has answered; what it refuses is told, and is no reason to end."""
    while True:
        try:
            await call()
        except ApiError as error:
            if error.reason != "AlreadyExists":
                print(f"storage: {error}", file=sys.stderr)
            if 400 <= error.code < 429:
                return
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def _make_shared(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o777)
