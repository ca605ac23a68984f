"""The golden form of what a service's spec asks for, and how a live object differs from it.

It is what `reranker-operator render` prints for the stored spec, as the API server itself completes it: each object is
created for show (`dryRun`), so that defaults and spellings (1024Mi is stored as 1Gi) are the server's own. A live one
must then hold exactly the same fields; what the server writes anew for each object is left out on both sides.
"""

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from localkube.api import ApiError
from localkube.cluster import Cluster
from rerankers import API, KIND, Json

_RENDER = [Path(sys.executable).with_name("reranker-operator"), "render", "-"]
_SHOWN = "golden-form"
_INPUTS = "reranking.dev/inputs"
_TEMPLATE_HASH = "reranking.dev/template-hash"
_ALLOWED_ANNOTATIONS = {
    "reranking.dev/applied",
    "reranking.dev/ready",  # which templates were: history, and no part of what the spec asks for
    "deployment.kubernetes.io/revision",
}
"""What an object may have beside what was rendered: the operator's own note, and the Deployment controller's."""
_OF_ONE_OBJECT = (
    "creationTimestamp", "generation", "managedFields", "name", "ownerReferences", "resourceVersion", "uid",
)  # fmt: skip
_OF_ONE_JOB = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")
_OF_ONE_SERVICE = ("clusterIP", "clusterIPs", "healthCheckNodePort")


class Golden:
    """Golden forms of services in one namespace, each made once; `flags` are those of `reranker-operator render`."""

    def __init__(self, cluster: Cluster, namespace: str, flags: Sequence[str] = ()) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._flags = flags
        self._known: dict[str, list[Json]] = {}

    def of(self, service: Json) -> list[Json]:
        """Every object that there should be, but those of kinds that the cluster does not serve."""
        metadata = {"name": service["metadata"]["name"], "namespace": self._namespace}
        manifest = {"apiVersion": API, "kind": KIND, "metadata": metadata, "spec": service["spec"]}
        key = json.dumps(manifest, sort_keys=True)
        if key not in self._known:
            rendered = subprocess.run(
                [*_RENDER, *self._flags], input=yaml.safe_dump(manifest), capture_output=True, text=True
            )
            assert rendered.returncode == 0, rendered.stderr
            self._known[key] = [made for made in yaml.safe_load_all(rendered.stdout) if self._complete(made)]
        return self._known[key]

    def _complete(self, made: Json) -> bool:
        """Put what the server would make of it in its place; False where the server does not know its kind."""
        portal, name = self._cluster.portal, made["metadata"]["name"]
        shown = {**made, "metadata": {**made["metadata"], "name": _SHOWN}}
        try:
            path = self._cluster.path(made["apiVersion"], made["kind"], "", self._namespace)
            answer = portal.call(portal.api.request("POST", path, body=shown, params={"dryRun": "All"}))
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        scaled_by_others = made["kind"] == "Deployment" and "replicas" not in made["spec"]
        made.clear()
        made |= answer
        made["metadata"]["name"] = name
        if scaled_by_others:
            del made["spec"]["replicas"]
        return True


def differences(made: Json, live: Json | None) -> Iterator[str]:
    """How a live object differs from its golden form, a line for each field."""
    name = f"{made['kind']} {made['metadata']['name']}"
    if live is None:
        yield f"{name} does not exist"
        return
    expected, found = _comparable(made), _comparable(live)
    if made["kind"] == "Deployment" and "replicas" not in expected["spec"]:
        found["spec"].pop("replicas", None)
    if made["kind"] == "Deployment":
        _without_inputs(expected, found)
    yield from _unequal(name, expected, found)


def _without_inputs(expected: Json, found: Json) -> None:
    """Leave out what a template says of the Secrets and ConfigMaps it reads, which `render` knows nothing of."""
    made, live = (each["spec"]["template"]["metadata"] for each in (expected, found))
    if (live.get("annotations") or {}).pop(_INPUTS, None) is None:
        return
    if not live["annotations"]:
        del live["annotations"]
    for each in (made, live):
        del each["labels"][_TEMPLATE_HASH]


def _unequal(path: str, expected: Any, found: Any) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from _unequal(f"{path}.{key}", expected.get(key), found.get(key))
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, pair in enumerate(zip(expected, found, strict=True)):
            yield from _unequal(f"{path}[{index}]", *pair)
    elif expected != found:
        yield f"{path} should be {json.dumps(expected)} and is {json.dumps(found)}"


def _comparable(item: Json) -> Json:
    """Without what the server writes anew for each object of the kind."""
    result = copy.deepcopy(item)
    result.pop("status", None)
    metadata = result["metadata"]
    for key in _OF_ONE_OBJECT:
        metadata.pop(key, None)
    annotations = metadata.pop("annotations", {})
    metadata["annotations"] = {key: value for key, value in annotations.items() if key not in _ALLOWED_ANNOTATIONS}
    if item["kind"] == "Job":
        result["spec"].pop("selector", None)
        for key in _OF_ONE_JOB:
            result["spec"]["template"]["metadata"]["labels"].pop(key, None)
    if item["kind"] == "Service":
        if result["spec"].get("clusterIP") != "None":
            for key in _OF_ONE_SERVICE:
                result["spec"].pop(key, None)
        for port in result["spec"]["ports"]:
            port.pop("nodePort", None)
    return result
