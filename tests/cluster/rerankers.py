"""RerankerServices of one namespace, as a user handles them: what the cluster tests are written in."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from localkube.cluster import Cluster, small_model

API = "reranking.dev/v1alpha1"
KIND = "RerankerService"
RANKING_LABELS = {"app.kubernetes.io/name": "reranker", "app.kubernetes.io/component": "ranking"}
READY_SECONDS = 120.0
UNSEEN = {"observedGeneration": -1}
"""The status of a service that no operator has looked at."""

Json = dict[str, Any]


def spec_of(**changes: Any) -> Json:
    """A spec that runs on this machine: the small model of the image, no GPU; `changes` are its other fields."""
    return {
        "model": {"name": "all-minilm-l6-v2", "source": {"inImage": {"path": "/models/all-minilm-l6-v2"}}},
        "gpus": 0,
        **changes,
    }


@dataclass
class Rerankers:
    """The services of `namespace`."""

    cluster: Cluster
    namespace: str

    def at(self, namespace: str) -> "Rerankers":
        """The services of another namespace."""
        return Rerankers(self.cluster, namespace)

    # What a user does

    def apply(self, name: str, **changes: Any) -> Json:
        """`kubectl apply` a service."""
        (made,) = self.cluster.apply(self.manifest(name, **changes))
        return made

    def manifest(self, name: str, **changes: Any) -> Json:
        """What `apply` applies."""
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": API, "kind": KIND, "metadata": metadata, "spec": spec_of(**changes)}

    def delete(self, name: str) -> None:
        """`kubectl delete` a service."""
        self.cluster.delete(API, KIND, name, self.namespace)

    def rank(self, name: str, query: str, passages: list[str], model: str | None = None) -> Json:
        """POST a ranking through the Service's address."""
        body = {"query": {"text": query}, "passages": [{"text": each} for each in passages], "model": model}
        answer = self.post(name, body)
        assert answer.status_code == 200, answer.text
        ranked: Json = answer.json()
        return ranked

    def post(self, name: str, body: Json) -> httpx.Response:
        """POST to /v1/ranking through the Service's address."""
        url = self.cluster.service_url(name, self.namespace)
        return httpx.post(f"{url}/v1/ranking", json=body, timeout=60, trust_env=False)

    # What a user sees

    def status(self, name: str) -> Json:
        """The status as it is now."""
        found = self.cluster.get(API, KIND, name, self.namespace)
        assert found is not None, f"no {KIND} {name} in {self.namespace}"
        status: Json = found.get("status", {})
        return status

    def condition(self, name: str, kind: str) -> Json:
        """One condition as it is now."""
        return next(each for each in self.status(name)["conditions"] if each["type"] == kind)

    def wait_status(self, name: str, holds: Callable[[Json], Any], timeout: float = READY_SECONDS) -> Any:
        """Watch until `holds` of the status is true; returns what it gave."""
        return self.cluster.wait(
            API, KIND, name, lambda item: holds(item.get("status", {})), namespace=self.namespace, timeout=timeout
        )

    def wait_condition(
        self, name: str, kind: str, status: str, reason: str | None = None, *, generation: int = 1
    ) -> Json:
        """Watch until a condition has this status (and reason) for this generation or a later one."""

        def holds(found: Json) -> Any:
            for each in found.get("conditions", ()):
                matches = each["type"] == kind and each["status"] == status and reason in (None, each["reason"])
                if matches and each.get("observedGeneration", 0) >= generation:
                    return each
            return None

        condition: Json = self.wait_status(name, holds)
        return condition

    def wait_ready(self, name: str, *, generation: int = 1) -> Json:
        """Watch until Ready; returns the status."""
        self.wait_condition(name, "Ready", "True", generation=generation)
        return self.status(name)

    # What it made

    def deployment(self, name: str) -> Json:
        """Its Deployment."""
        return self._child("apps/v1", "Deployment", name)

    def service(self, name: str) -> Json:
        """Its Service."""
        return self._child("v1", "Service", name)

    def pods(self, name: str) -> list[Json]:
        """Its ranking pods that are not on their way out."""
        labels = {**RANKING_LABELS, "app.kubernetes.io/instance": name}
        found = self.cluster.objects("v1", "Pod", self.namespace, labels)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def jobs(self, name: str) -> list[str]:
        """The names of its model Jobs."""
        found = self.cluster.objects("batch/v1", "Job", self.namespace, {"app.kubernetes.io/instance": name})
        return [job["metadata"]["name"] for job in found]

    def wait_job(self, name: str) -> str:
        """The name of its model Job, once there is one."""

        def of_service(job: Json) -> Any:
            return job["metadata"]["labels"].get("app.kubernetes.io/instance") == name and job["metadata"]["name"]

        return str(self.cluster.wait_any("batch/v1", "Job", of_service, namespace=self.namespace))

    def job_template(self, name: str) -> Json:
        """The pod template of its model Job."""
        template: Json = self._child("batch/v1", "Job", self.wait_job(name))["spec"]["template"]
        return template

    def wait_deployment(self, name: str, holds: Callable[[Json], Any]) -> Any:
        """Watch its Deployment until `holds` of it is true."""
        return self.cluster.wait("apps/v1", "Deployment", name, holds, namespace=self.namespace)

    def wait_pod_gone(self, pod: str) -> None:
        """Watch until a pod is no more."""
        self.cluster.wait_gone("v1", "Pod", pod, namespace=self.namespace, timeout=READY_SECONDS)

    def wait_event(self, reason: str, part: str = "") -> Json:
        """The event about one of the services with this reason and this in its message."""

        def matches(event: Json) -> Any:
            ours = event["involvedObject"]["kind"] == KIND
            return ours and event["reason"] == reason and part in event["message"] and event

        event: Json = self.cluster.wait_any("v1", "Event", matches, namespace=self.namespace)
        return event

    # Models

    def small_model_digest(self) -> str:
        """The digest that the command line prints for the small model."""
        command = [Path(sys.executable).with_name("reranker-runtime"), "verify", small_model()]
        verified = subprocess.run(command, capture_output=True, text=True, check=True)
        return str(json.loads(verified.stdout)["digest"])

    def put_model(self, folder: Path) -> None:
        """Copy the small model into `folder`, appearing there at once."""
        staged = folder.with_name(f".{folder.name}.staged")
        shutil.copytree(small_model(), staged)
        for path in (staged, *staged.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        staged.replace(folder)

    def recheck_until_verified(self, name: str) -> None:
        """What the condition tells a user to do who has put the model right: delete the failed Job."""

        def decided(found: Json) -> Any:
            return next(
                (
                    each["status"]
                    for each in found.get("conditions", ())
                    if each["type"] == "ModelVerified" and each["status"] != "Unknown"
                ),
                None,
            )

        if self.wait_status(name, decided) == "False":
            self.cluster.delete("batch/v1", "Job", self.wait_job(name), self.namespace)
        self.wait_condition(name, "ModelVerified", "True")

    def _child(self, version: str, kind: str, name: str) -> Json:
        found = self.cluster.get(version, kind, name, self.namespace)
        assert found is not None, f"no {kind} {name} in {self.namespace}"
        return dict(found)
