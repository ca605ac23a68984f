"""Whether everything is as the specs ask for, no more and no less: what the tests look at after every fault."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from golden import Golden, differences
from localkube.api import Api, ApiError
from localkube.cluster import Cluster
from rerankers import API, KIND, RANKING_LABELS, Json

SECONDS = 90.0
"""Convergence is waited for this long: well below the operator's own slow beat, which would hide what it has missed."""

_MANAGED = "app.kubernetes.io/managed-by=reranker-operator"
_TEMPLATE_HASH = "reranking.dev/template-hash"
_KEPT_SECRET = "{}-api-keys"
"""A generated key is never taken away while its service lives, whatever a later spec says."""

_KEPT_REVISIONS = 5

Template = tuple[str, str]
"""Name of a service, and the hash of a pod template of its."""
Pods = dict[Template, set[str]]
"""Uids of ranking pods."""


class NotConvergedError(AssertionError):
    """Things are not as they should be; the message names each."""


@dataclass
class Convergence:
    """Looks at all services of `namespace`; `flags` are those of `reranker-operator render`."""

    cluster: Cluster
    namespace: str
    flags: Sequence[str] = ()

    def __post_init__(self) -> None:
        self._golden = Golden(self.cluster, self.namespace, self.flags)

    def wait(self, kept: Pods | None = None, timeout: float = SECONDS) -> None:
        """Wait until nothing differs. Of the pods in `kept` none may have gone whose template is still asked for.

        Raises NotConvergedError.
        """
        deadline = time.monotonic() + timeout
        while found := self.faults():
            if time.monotonic() > deadline:
                raise NotConvergedError(f"after {timeout:.0f} s, in {self.namespace}:\n" + "\n".join(found))
            time.sleep(0.25)
        if lost := list(self._lost(kept or {})):
            raise NotConvergedError(f"in {self.namespace}:\n" + "\n".join(lost))

    def faults(self) -> list[str]:
        """What is not (yet) as it should be, a line for each; empty: all is well."""
        try:
            return list(self._faults())
        except ApiError as error:
            return [f"the API server does not answer as it should: {error}"]

    def pods(self) -> Pods:
        """The ranking pods that are not on their way out, by service and template."""
        found: Pods = {}
        for pod in self.cluster.objects("v1", "Pod", self.namespace, RANKING_LABELS):
            labels = pod["metadata"]["labels"]
            if "deletionTimestamp" not in pod["metadata"]:
                template = (labels["app.kubernetes.io/instance"], labels[_TEMPLATE_HASH])
                found.setdefault(template, set()).add(pod["metadata"]["uid"])
        return found

    def _faults(self) -> Iterator[str]:
        services = self.cluster.objects(API, KIND, self.namespace)
        live = self.cluster.portal.call(_labelled(self.cluster.portal.api, self.namespace))
        by_name = {(item["kind"], item["metadata"]["name"]): item for item in live}
        asked_for: set[tuple[str, str]] = set()
        for service in services:
            name = service["metadata"]["name"]
            asked_for.add(("Secret", _KEPT_SECRET.format(name)))
            for made in self._golden.of(service):
                key = (made["kind"], made["metadata"]["name"])
                asked_for.add(key)
                yield from differences(made, by_name.get(key))
            yield from (f"{KIND} {name}: {words}" for words in _status(service))
            if (deployment := by_name.get(("Deployment", name))) is not None:
                yield from (f"Deployment {name}: {words}" for words in _rollout(deployment))
                yield from (f"ControllerRevisions of {name}: {words}" for words in _history(deployment, service, live))
        living = {service["metadata"]["uid"]: service["metadata"]["name"] for service in services}
        yield from _orphans(live, living, asked_for)
        yield from _restarts(live)

    def _lost(self, kept: Pods) -> Iterator[str]:
        after = self.pods()
        deployments = self.cluster.objects("apps/v1", "Deployment", self.namespace)
        wanted = {
            (item["metadata"]["name"], item["spec"]["template"]["metadata"]["labels"].get(_TEMPLATE_HASH)): item
            for item in deployments
        }
        for template, uids in kept.items():
            if template in wanted:
                lost = uids - after.get(template, set())
                fewer = max(0, len(uids) - wanted[template]["spec"]["replicas"])
                if len(lost) > fewer:
                    yield f"of {template[0]} {len(lost)} pod(s) of template {template[1]} went without a reason"


async def _labelled(api: Api, namespace: str) -> list[Json]:
    """Every object of the namespace that carries the operator's label, of whatever kind."""
    groups = (await api.get("/apis"))["groups"]
    roots = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]

    async def collection(root: str, resource: Json) -> list[Json]:
        path = f"{root}/namespaces/{namespace}/{resource['name']}"
        version = root.removeprefix("/apis/").removeprefix("/api/")
        try:
            listing = await api.request("GET", path, params={"labelSelector": _MANAGED})
        except ApiError as error:
            if error.code == 404:  # a kind whose definition has just gone
                return []
            raise
        return [{"apiVersion": version, "kind": resource["kind"], **item} for item in listing["items"]]

    async def group(root: str) -> list[Json]:
        resources = [
            each for each in (await api.get(root))["resources"] if each["namespaced"] and "list" in each["verbs"]
        ]
        return [
            item for items in await asyncio.gather(*(collection(root, each) for each in resources)) for item in items
        ]

    return [item for items in await asyncio.gather(*map(group, roots)) for item in items]


def _status(service: Json) -> Iterator[str]:
    """A status that is not of this spec, or that says that something is under way or amiss."""
    generation, status = service["metadata"]["generation"], service.get("status", {})
    if status.get("observedGeneration") != generation:
        yield f"its status is of generation {status.get('observedGeneration')}, its spec is generation {generation}"
        return
    said = {each["type"]: each for each in status["conditions"]}
    yield from (
        f"{kind} is of generation {each['observedGeneration']}"
        for kind, each in said.items()
        if each["observedGeneration"] != generation
    )
    expected = ("True", "Ready") if service["spec"]["replicas"] else ("False", "Paused")
    if (said["Ready"]["status"], said["Ready"]["reason"]) != expected:
        yield f"Ready should be {' '.join(expected)} and is {_condition(said['Ready'])}"
    for kind, wanted in (("Accepted", "True"), ("Progressing", "False"), ("Stalled", "False")):
        if said[kind]["status"] != wanted:
            yield f"{kind} should be {wanted} and is {_condition(said[kind])}"


def _condition(condition: Json) -> str:
    return f"{condition['status']} {condition['reason']} ({condition['message']})"


def _rollout(deployment: Json) -> Iterator[str]:
    """A rollout that is not over."""
    status, replicas = deployment.get("status", {}), deployment["spec"]["replicas"]
    if status.get("observedGeneration") != deployment["metadata"]["generation"]:
        yield "its controller has not seen it"
    for count in ("replicas", "updatedReplicas", "readyReplicas"):
        if status.get(count, 0) != replicas:
            yield f"{count} should be {replicas} and is {status.get(count, 0)}"


def _history(deployment: Json, service: Json, live: list[Json]) -> Iterator[str]:
    """The templates that are kept: not too many, and the present one among them."""
    uid = service["metadata"]["uid"]
    of_service = [item for item in live if uid in [each["uid"] for each in item["metadata"].get("ownerReferences", ())]]
    kept = [item["data"]["spec"]["template"] for item in of_service if item["kind"] == "ControllerRevision"]
    if len(kept) > _KEPT_REVISIONS:
        yield f"there should be at most {_KEPT_REVISIONS} and are {len(kept)}"
    present = deployment["spec"]["template"]["metadata"]["labels"][_TEMPLATE_HASH]
    if present not in [each["metadata"]["labels"][_TEMPLATE_HASH] for each in kept]:
        yield f"none holds the present template {present}"


def _orphans(live: list[Json], living: dict[str, str], asked_for: set[tuple[str, str]]) -> Iterator[str]:
    """Objects that no service owns, or that its owner does not ask for."""
    uids = {item["metadata"]["uid"] for item in live}
    for item in live:
        key = (item["kind"], item["metadata"]["name"])
        owners = item["metadata"].get("ownerReferences", [])
        name = " ".join(key)
        if "deletionTimestamp" in item["metadata"]:
            yield f"{name} is still being removed"
        elif len(owners) != 1 or not owners[0].get("controller"):
            yield f"{name} should have one owner and has {owners}"
        elif owners[0]["uid"] in living:
            if key not in asked_for and item["kind"] != "ControllerRevision":
                yield f"{name} is not asked for by {living[owners[0]['uid']]}"
        elif owners[0]["uid"] not in uids:
            yield f"{name} has outlived its owner, {owners[0]['kind']} {owners[0]['name']}"


def _restarts(live: list[Json]) -> Iterator[str]:
    """Containers that were restarted, and templates that changed under one hash."""
    sets: dict[tuple[Any, Any], str] = {}
    for item in live:
        name = item["metadata"]["name"]
        if item["kind"] == "Pod":
            statuses = item.get("status", {})
            for each in (*statuses.get("initContainerStatuses", ()), *statuses.get("containerStatuses", ())):
                if each["restartCount"]:
                    yield f"container {each['name']} of Pod {name} was restarted {each['restartCount']} time(s)"
        if item["kind"] == "ReplicaSet":
            key = (item["metadata"]["ownerReferences"][0]["uid"], item["metadata"]["labels"].get(_TEMPLATE_HASH))
            if key in sets:
                yield f"ReplicaSets {sets[key]} and {name} carry the same template hash {key[1]}"
            sets[key] = name
