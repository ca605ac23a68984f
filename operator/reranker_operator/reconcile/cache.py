"""What the cluster holds of our services, as watches tell it: rounds read here and send nothing.

Two sorts of watches: of services and our own children, whole, by their label; and of what specs refer to (Secrets,
claims, classes), by name and version only, and only of the kinds that some spec does refer to.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from reranker_operator.api import GROUP, KIND
from reranker_operator.kube import Kind, Kube
from reranker_operator.kube.reflector import Knowledge, Reflector
from reranker_operator.kube.store import Change, Json, Key, Place, Store

OURS: Final = "app.kubernetes.io/managed-by=reranker-operator"
CHILDREN: Final = (
    Kind.SERVICE_ACCOUNT,
    Kind.SERVICE,
    Kind.DEPLOYMENT,
    Kind.JOB,
    Kind.POD,
    Kind.CONTROLLER_REVISION,
    Kind.CLAIM,
    Kind.INGRESS,
    Kind.NETWORK_POLICY,
    Kind.DISRUPTION_BUDGET,
    Kind.AUTOSCALER,
)
OPTIONAL: Final = (Kind.HTTP_ROUTE, Kind.SERVICE_MONITOR)
"""Children of kinds that a cluster may not have."""


_LISTING: Final = 2
"""Kinds that are listed at the same time."""


class Cache:
    """Stores and the reflectors that keep them. `namespaces` empty means all."""

    def __init__(self, kube: Kube, namespaces: Sequence[str], wake: Callable[[Key], None]) -> None:
        self.services = Store(_itself, _plain)
        self._listing = asyncio.Semaphore(_LISTING)
        self._kube, self._namespaces, self._wake = kube, tuple(namespaces), wake
        self._children = {kind: Store(owner_of, _TRIMS.get(kind, _plain)) for kind in (*CHILDREN, *OPTIONAL)}
        self._named: dict[Kind, Store] = {}
        self._reflectors: dict[Kind, list[Reflector]] = {
            kind: self._reflect(kind, store, self._children_changed, selector=OURS)
            for kind, store in self._children.items()
        }
        self._reflectors[Kind.RERANKER_SERVICE] = self._reflect(
            Kind.RERANKER_SERVICE, self.services, self._children_changed
        )
        self._named_reflectors: dict[Kind, list[Reflector]] = {}
        self._referrers: dict[tuple[Kind, Place], set[Key]] = {}
        self._references: dict[Key, frozenset[tuple[Kind, Place]]] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for reflectors in (*self._reflectors.values(), *self._named_reflectors.values()):
                self._start(reflectors)

    async def complete(self, say: Callable[[str], None]) -> None:
        """Wait until every service and child is known, or all that may be; `say` is told what is waited for.

        One namespace whose rights are missing, as its Role was never made or went with it, holds up no other.
        """
        for kind, reflectors in self._reflectors.items():
            say(f"listing {kind.plural}")
            for each in reflectors:
                await each.known.wait()
        places = self._namespaces or (None,)
        while all(lacking := [self.lacks(place) for place in places]):
            say(f"waiting for the right to watch {lacking[0]}: apply the RBAC rules of this release")
            await asyncio.sleep(1)

    def lacks(self, namespace: str | None) -> str | None:
        """What of a namespace is not known whole (a plural), if anything: who acts on less takes it for missing."""
        for kind, reflectors in self._reflectors.items():
            watching = [each for each in reflectors if each.namespace in (None, namespace)]
            if kind not in OPTIONAL and any(each.knowledge is not Knowledge.WHOLE for each in watching):
                return kind.plural
        return None

    # Children

    def child(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """One of our objects, or None."""
        return self._children[kind].get(namespace, name)

    def children(self, kind: Kind, key: Key) -> list[Json]:
        """A service's objects of a kind."""
        return self._children[kind].owned(key)

    def learn(self, document: Json) -> None:
        """Take up the server's answer to a write."""
        if document["kind"] == KIND:
            self.services.learn(document)
        elif (store := self._children.get(Kind.of(document))) is not None:
            store.learn(document)

    def served(self, kind: Kind) -> bool:
        """Whether the server knows the kind."""
        return all(each.knowledge is not Knowledge.UNSERVED for each in self._reflectors.get(kind, ()))

    # What specs refer to

    async def named(self, kind: Kind, namespace: str, name: str) -> tuple[Knowledge, Json | None]:
        """What is known of a kind, and identity and version of one of its objects, or None where there is none.

        Raises `NotListedError` or `UnreachableError` where nothing is known of the kind in good time.
        """
        if kind not in self._named:
            self._named[kind] = store = Store(lambda _document: None, _identity)
            self._named_reflectors[kind] = self._reflect(kind, store, self._named_changed, metadata_only=True)
            self._start(self._named_reflectors[kind])
        place = namespace if kind.namespaced else ""
        for each in self._named_reflectors[kind]:
            if each.namespace in (None, place):
                await each.come_to_know()
                if each.knowledge is not Knowledge.WHOLE:
                    return each.knowledge, None
        return Knowledge.WHOLE, self._named[kind].get(place, name)

    def refer(self, key: Key, references: Iterable[tuple[Kind, str]]) -> list[tuple[Kind, Place]]:
        """From now on a change of any of these (kind and name) wakes the service.

        Returns what nobody refers to any more.
        """
        places = frozenset((kind, (key[0] if kind.namespaced else "", name)) for kind, name in references)
        before = self._references.get(key, frozenset())
        if places == before:
            return []
        left = []
        for gone in before - places:
            self._referrers[gone].discard(key)
            if not self._referrers[gone]:
                del self._referrers[gone]
                left.append(gone)
        for new in places - before:
            self._referrers.setdefault(new, set()).add(key)
        if places:
            self._references[key] = places
        else:
            self._references.pop(key, None)
        return left

    # The watches

    def _reflect(
        self,
        kind: Kind,
        store: Store,
        on_change: Callable[[Kind, list[Change]], None],
        *,
        selector: str | None = None,
        metadata_only: bool = False,
    ) -> list[Reflector]:
        # Cluster-wide objects are one list, whatever namespaces are watched.
        places: Sequence[str | None] = self._namespaces if self._namespaces and kind.namespaced else (None,)
        return [
            Reflector(
                kube=self._kube,
                kind=kind,
                namespace=namespace,
                store=store,
                on_change=on_change,
                on_knowledge=self._known,
                selector=selector,
                metadata_only=metadata_only,
                listing=self._listing,
            )
            for namespace in places
        ]

    def _start(self, reflectors: list[Reflector]) -> None:
        if self._group is not None:
            for each in reflectors:
                self._group.create_task(each.run())

    def _children_changed(self, _kind: Kind, changes: list[Change]) -> None:
        for change in changes:
            for owner in change.owners:
                self._wake(owner)

    def _named_changed(self, kind: Kind, changes: list[Change]) -> None:
        for change in changes:
            for key in self._referrers.get((kind, change.place), ()):
                self._wake(key)

    def _known(self, kind: Kind) -> None:
        """A kind begins or ceases to be served or readable: whoever asks for it is looked at again."""
        if kind in OPTIONAL:
            for key in self.services.owners():
                self._wake(key)
        for (other, _place), keys in self._referrers.items():
            if other is kind:
                for key in keys:
                    self._wake(key)


def owner_of(document: Json) -> Key | None:
    """The service that a child belongs to: by its owner reference or, where somebody took that off, by its labels."""
    metadata = document["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == KIND and str(owner.get("apiVersion", "")).startswith(f"{GROUP}/"):
            return str(metadata["namespace"]), str(owner["name"])
    name = (metadata.get("labels") or {}).get("app.kubernetes.io/instance")
    return (str(metadata["namespace"]), str(name)) if name else None


def _itself(document: Json) -> Key:
    return str(document["metadata"]["namespace"]), str(document["metadata"]["name"])


def _plain(document: Json) -> Json:
    """Without the record of who owns which field: half of an object, and seldom read."""
    return {**document, "metadata": _without(document["metadata"], "managedFields")}


def _pod(document: Json) -> Json:
    """What conditions are decided from; a thousand pods' specs are megabytes that nobody reads."""
    spec = {key: document["spec"][key] for key in ("serviceAccountName", "nodeName") if key in document["spec"]}
    spec["volumes"] = [each for each in document["spec"].get("volumes", ()) if "persistentVolumeClaim" in each]
    return {**_plain(document), "spec": spec, "status": _discreet(document)}


def _discreet(pod: Json) -> Json:
    """The status, without values of Secrets: a setting that is refused is told with its value, in a container's last
    words, and conditions repeat those to more people than may read Secrets."""
    spec, status = pod["spec"], pod.get("status", {})
    containers = [*spec.get("initContainers", ()), *spec.get("containers", ())]
    variables = [variable for each in containers for variable in each.get("env") or ()]
    names = [re.escape(each["name"]) for each in variables if "secretKeyRef" in (each.get("valueFrom") or {})]
    if not names:
        return dict(status)
    assigned = re.compile(rf"""\b({"|".join(names)})=('[^']*'|"[^"]*"|\S+)""")

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [cleaned(entry) for entry in value]
        return assigned.sub(r"\1=[redacted]", value) if isinstance(value, str) else value

    return dict(cleaned(status))


def _identity(document: Json) -> Json:
    kept = ("name", "namespace", "uid", "resourceVersion")
    return {"metadata": {key: document["metadata"][key] for key in kept if key in document["metadata"]}}


def _without(mapping: Json, *keys: str) -> Json:
    return {key: value for key, value in mapping.items() if key not in keys}


_TRIMS: dict[Kind, Callable[[Any], Any]] = {Kind.POD: _pod}
