"""Apply: carry out a plan, quietly when there is nothing to do, and notice what had to be put back.

An apply that changes nothing costs a request, so it is left out when the same object was applied before and its fields
live on as the server answered then. What the server makes of a value (1024Mi becomes 1Gi, an empty string vanishes) is
never predicted, only remembered. A restarted operator remembers nothing: it goes by the stamp of what was applied,
which each child carries, and by whether the fields are there as they were sent. Neither would do alone: the stamp says
nothing of what somebody changed since, and the fields say nothing of those that are to go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reranker_operator.desired.metadata import APPLIED, annotation, digest
from reranker_operator.kube import ConflictError, Kind, Kube, RefusedError
from reranker_operator.reconcile.cache import Cache
from reranker_operator.reconcile.foreign import removals, replacement

Json = dict[str, Any]

_MAX_REMEMBERED = 100_000
_OF_NOTHING = "1"
"""A resource version that no object has: with it, an apply makes an object, and never changes one."""
_ATOMIC = ("selector", "nodeSelector")
"""Maps that the server takes whole: one more key in them is a change."""
_LIST_KEYS = ("mountPath", "containerPort", "port", "name")
"""What tells the entries of the server's lists apart; a list of other things is compared whole."""


@dataclass
class Applied:
    """What applying did."""

    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """The objects as they are now, by kind and name."""
    repaired: list[str] = field(default_factory=list)
    """What somebody else had changed or deleted, in words."""


class StrangerError(Exception):
    """Somebody else's object stands where one of ours should."""

    def __init__(self, document: Json) -> None:
        super().__init__(f"{document['kind']} {document['metadata']['name']} is not ours")
        self.document = document


class Applier:
    """Applies objects and remembers what it applied."""

    def __init__(self, kube: Kube, cache: Cache, exempt_managers: Sequence[str]) -> None:
        self._kube, self._cache = kube, cache
        self._exempt = exempt_managers
        self._applied: dict[tuple[str, str, str], _Memory] = {}

    async def apply(
        self, wanted: dict[str, Any], live: dict[str, Any] | None, into: Applied, is_ours: Callable[[Json], bool]
    ) -> None:
        """Make `wanted` so; `live` is what was observed in its place. Raises `StrangerError`."""
        kind, namespace, name = wanted["kind"], wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        key, stamp = (kind, namespace, name), digest(wanted)
        remembered = self._applied.get(key)
        if live is not None and _is_in_place(live, wanted, stamp, remembered):
            current = live
        else:
            current = await self._apply(_stamped(wanted, stamp), live, is_ours)
            # Only what was ours before, and is not as it was before, has been put back.
            if remembered is not None and remembered.stamp == stamp and _version(live) != _version(current):
                lost = current["metadata"]["uid"] != remembered.uid
                into.repaired.append(f"{kind} {name} was {'deleted' if lost else 'changed'} and is put back")
        if operations := await self._removals(current, wanted):
            into.repaired.append(f"{kind} {name}: removed {', '.join(each['path'] for each in operations[1:])}")
            current = await self._patch(Kind.of(wanted), namespace, name, operations)
        if current is not live:
            self._cache.learn(current)
        if len(self._applied) >= _MAX_REMEMBERED:
            self._applied.clear()
        self._applied[key] = _Memory.of(current, wanted, stamp)
        into.objects[kind, name] = current

    async def delete(self, live: dict[str, Any]) -> None:
        """Remove an object that is no longer asked for."""
        metadata = live["metadata"]
        await self._kube.delete(Kind.of(live), metadata["namespace"], metadata["name"], uid=metadata["uid"])
        self._applied.pop((live["kind"], metadata["namespace"], metadata["name"]), None)

    async def _apply(self, wanted: Json, live: Json | None, is_ours: Callable[[Json], bool]) -> Json:
        metadata = wanted["metadata"]
        if live is None:
            try:
                return await self._kube.apply({**wanted, "metadata": {**metadata, "resourceVersion": _OF_NOTHING}})
            except ConflictError:
                live = await self._kube.get(Kind.of(wanted), metadata["namespace"], metadata["name"])
                if live is None:
                    raise  # it is gone again
                if not is_ours(live):
                    raise StrangerError(live) from None
        try:
            return await self._kube.apply(wanted)
        except RefusedError:
            # Only where the server took the same before can what somebody else did since be the cause. Else it is
            # `wanted` that is refused, and part of it must not get in by another way.
            operations = replacement(live, wanted) if annotation(live, APPLIED) == annotation(wanted, APPLIED) else []
            if not operations:
                raise
            await self._kube.json_patch(Kind.of(wanted), metadata["namespace"], metadata["name"], operations)
            return await self._kube.apply(wanted)

    async def _removals(self, current: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
        operations = removals(current, wanted, self._exempt)
        if not operations or not self._exempt or "managedFields" in current["metadata"]:
            return operations
        # Who owns a foreign entry is kept by the server alone.
        metadata = current["metadata"]
        whole = await self._kube.get(Kind.of(wanted), metadata["namespace"], metadata["name"])
        return removals(whole, wanted, self._exempt) if whole is not None else []

    async def _patch(self, kind: Kind, namespace: str, name: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            return await self._kube.json_patch(kind, namespace, name, operations)
        except RefusedError as error:
            # A failed test operation is a 422: the object moved on since it was read.
            raise ConflictError(str(error), status=error.status) from error


def owned(live: Any, wanted: Any) -> Any:
    """The part of `live` that stands where `wanted` has something to say."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        return {key: live.get(key) if key in _ATOMIC else owned(live.get(key), value) for key, value in wanted.items()}
    if isinstance(wanted, list) and isinstance(live, list):
        for name in _LIST_KEYS:
            if wanted and all(isinstance(entry, dict) and name in entry for entry in wanted):
                by_name = {entry.get(name): entry for entry in live if isinstance(entry, dict)}
                return [owned(by_name.get(entry[name]), entry) for entry in wanted]
    return live


def _is_in_place(live: dict[str, Any], wanted: dict[str, Any], stamp: str, remembered: "_Memory | None") -> bool:
    if remembered is not None:
        return remembered == _Memory.of(live, wanted, stamp)
    return annotation(live, APPLIED) == stamp and owned(live, wanted) == wanted


def _stamped(wanted: dict[str, Any], stamp: str) -> dict[str, Any]:
    metadata = wanted["metadata"]
    return {**wanted, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), APPLIED: stamp}}}


@dataclass(frozen=True, slots=True)
class _Memory:
    """What was applied to which object, and what the server made of it."""

    uid: str
    stamp: str
    as_answered: str

    @classmethod
    def of(cls, live: dict[str, Any], wanted: dict[str, Any], stamp: str) -> "_Memory":
        return cls(str(live["metadata"]["uid"]), stamp, digest(owned(live, wanted)))


def _version(document: dict[str, Any] | None) -> str | None:
    return document["metadata"]["resourceVersion"] if document is not None else None
