"""Uses a running cluster: objects, waiting for facts, kubectl, Services, claims. Synchronous, for tests and people."""

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from localkube.api import ApiError, Json
from localkube.portal import Portal
from localkube.processes import ProcessError, wait_until


class Client:
    """A cluster that a kubeconfig names; `binary` is the control plane's, for its kubectl and helm."""

    def __init__(self, kubeconfig: Path, binary: Path | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.binary = binary
        self._portal: Portal | None = None

    @property
    def portal(self) -> Portal:
        """The API server; connected to when first used."""
        if self._portal is None:
            self._portal = Portal(self.kubeconfig)
        return self._portal

    def close(self) -> None:
        """Let go of the connections."""
        if self._portal:
            self._portal.close()
            self._portal = None

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the administrator; returns its output. Raises ProcessError with what it said."""
        command = [str(self.binary), "kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and result.returncode:
            raise ProcessError(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip()}")
        return result.stdout

    def helm(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run helm as the administrator; returns its output. Raises ProcessError with what it said."""
        command = [str(self.binary), "helm", *arguments]
        # Its caches and settings are the machine's own otherwise.
        home = self.kubeconfig.parent / "helm"
        own = {f"HELM_{part}_HOME": str(home / part.lower()) for part in ("CACHE", "CONFIG", "DATA")}
        variables = {**os.environ, **own, "KUBECONFIG": str(self.kubeconfig)}
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=variables)
        if check and result.returncode:
            raise ProcessError(f"helm {' '.join(arguments)} failed: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout

    def write_tools(self, folder: Path) -> None:
        """Put programs named kubectl and helm into a folder, for PATH."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("kubectl", "helm"):
            program = folder / name
            program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(self.binary))} {name} "$@"\n')
            program.chmod(0o755)

    def apply(self, *objects: Json, namespace: str | None = None) -> list[Json]:
        """Server-side apply objects; `namespace` is for those that name none."""
        results = []
        for item in objects:
            metadata = dict(item["metadata"])
            if namespace:
                metadata.setdefault("namespace", namespace)
            results.append(self.portal.call(self.portal.api.apply({**item, "metadata": metadata})))
        return results

    def apply_file(self, path: Path, namespace: str | None = None) -> list[Json]:
        """Server-side apply all objects of a YAML file."""
        return self.apply(*(item for item in yaml.safe_load_all(path.read_text()) if item), namespace=namespace)

    def path(self, version: str, kind: str, name: str = "", namespace: str | None = None) -> str:
        """Where an object (or, without a name, a collection) lives in the API."""
        collection = self.portal.call(self.portal.api.collection(version, kind, namespace))
        return f"{collection}/{name}" if name else collection

    def get(self, version: str, kind: str, name: str, namespace: str | None = None) -> Json | None:
        """An object, or None."""
        return self.portal.call(self.portal.api.find(self.path(version, kind, name, namespace)))

    def objects(
        self, version: str, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Json]:
        """The objects of a kind in a namespace, or those of them with all these labels."""
        items = self.portal.call(self.portal.api.get(self.path(version, kind, "", namespace)))["items"]
        wanted = (labels or {}).items()
        return [item for item in items if wanted <= (item["metadata"].get("labels") or {}).items()]

    def merge(self, version: str, kind: str, name: str, patch: Json, namespace: str | None = None) -> Json:
        """JSON merge patch an object."""
        return self.portal.call(self.portal.api.merge(self.path(version, kind, name, namespace), patch))

    def delete(self, version: str, kind: str, name: str, namespace: str | None = None) -> None:
        """Delete an object; what is not there is no error."""
        self.portal.call(self.portal.api.delete(self.path(version, kind, name, namespace)))

    def wait(
        self,
        version: str,
        kind: str,
        name: str,
        condition: Callable[[Json], Any],
        *,
        namespace: str | None = None,
        timeout: float = 60,
    ) -> Any:
        """Watch an object until `condition` of it is true; returns what `condition` gave. Raises TimeoutError."""
        path = self.path(version, kind, name, namespace)
        what = f"{kind} {name}"
        return self.portal.wait(path, lambda item: item and condition(item), timeout=timeout, what=what)

    def wait_gone(
        self, version: str, kind: str, name: str, *, namespace: str | None = None, timeout: float = 60
    ) -> None:
        """Watch until an object is no more. Raises TimeoutError."""
        path = self.path(version, kind, name, namespace)
        self.portal.wait(path, lambda item: item is None, timeout=timeout, what=f"{kind} {name} to be gone")

    def wait_any(
        self,
        version: str,
        kind: str,
        condition: Callable[[Json], Any],
        *,
        namespace: str | None = None,
        timeout: float = 60,
    ) -> Any:
        """Watch all objects of a kind in a namespace until `condition` of one is true; returns what it gave."""
        return self.portal.wait_any(self.path(version, kind, "", namespace), condition, timeout=timeout, what=kind)

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Make a namespace and wait until pods can be made in it."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}})
        self.wait("v1", "ServiceAccount", "default", bool, namespace=name)
        self.wait("v1", "ConfigMap", "kube-root-ca.crt", bool, namespace=name)

    def claim_folder(self, name: str, namespace: str, timeout: float = 30) -> Path:
        """The host folder behind a claim, once it is bound; what is put there is in the volume."""

        def bound(claim: Json) -> Any:
            return claim["status"]["phase"] == "Bound" and claim["spec"]["volumeName"]

        volume_name = self.wait("v1", "PersistentVolumeClaim", name, bound, namespace=namespace, timeout=timeout)
        volume = self.get("v1", "PersistentVolume", volume_name)
        assert volume is not None
        return Path(volume["spec"]["hostPath"]["path"])

    def service_url(self, name: str, namespace: str, port: int | None = None) -> str:
        """Base URL of a Service: its cluster address and its first port, or the one given."""
        service = self.get("v1", "Service", name, namespace)
        if service is None:
            raise ApiError(404, "NotFound", f"no Service {name} in {namespace}")
        spec = service["spec"]
        return f"http://{spec['clusterIP']}:{port or spec['ports'][0]['port']}"

    def wait_service(self, name: str, namespace: str, port: int | None = None, timeout: float = 60) -> str:
        """`service_url`, once a ready pod is behind it. Raises ProcessError."""
        url = self.service_url(name, namespace, port)
        host, _, number = url.removeprefix("http://").partition(":")

        def accepts() -> bool:
            with socket.create_connection((host, int(number)), timeout=2):
                return True

        wait_until(f"the Service {name} to have a ready pod", accepts, timeout=timeout, interval=0.1)
        return url

    def logs(self, pod: str, namespace: str, container: str = "") -> str:
        """The log of a pod's container."""
        arguments = ["-c", container] if container else []
        return self.kubectl("logs", "-n", namespace, pod, *arguments)


def ready(item: Json) -> bool:
    """Whether an object's condition Ready is true."""
    conditions = item.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
