"""Apply: carry out a plan, quietly when there is nothing to do, and notice what had to be put back.

An apply that changes nothing costs a request and its echo a reconcile, so it is left out when the same object was
applied before and what lives still holds every field of it. After a restart nothing is remembered and each object is
applied once: the server writes nothing then, since nothing differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reranker_operator.desired.metadata import digest
from reranker_operator.kube import ConflictError, Kind, Kube, RefusedError
from reranker_operator.reconcile.foreign import removals

_MAX_REMEMBERED = 100_000
_ATOMIC = ("selector", "nodeSelector")
"""Maps that the server takes whole: one more key in them is a change."""


@dataclass
class Applied:
    """What applying did."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The objects as they are now, by kind."""
    repaired: list[str] = field(default_factory=list)
    """What somebody else had changed or deleted, in words."""


class Applier:
    """Applies objects and remembers what it applied."""

    def __init__(self, kube: Kube, exempt_managers: Sequence[str]) -> None:
        self._kube = kube
        self._exempt = exempt_managers
        self._applied: dict[tuple[str, str, str], tuple[str, str]] = {}

    async def apply(self, wanted: dict[str, Any], live: dict[str, Any] | None, into: Applied) -> None:
        """Make `wanted` so; `live` is what was observed in its place."""
        kind, namespace, name = wanted["kind"], wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        key, stamp = (kind, namespace, name), digest(wanted)
        remembered = self._applied.get(key)
        same = remembered is not None and remembered[1] == stamp
        current = live
        if live is None or not same or remembered is None or remembered[0] != _uid(live) or not holds(live, wanted):
            if same:
                into.repaired.append(f"{kind} {name} was {'deleted' if live is None else 'changed'} and is put back")
            current = {"kind": kind, **await self._kube.apply(wanted)}
        if current is None:
            raise AssertionError("an applied object is there")
        if operations := removals(current, wanted, self._exempt):
            into.repaired.append(f"{kind} {name}: removed {', '.join(each['path'] for each in operations[1:])}")
            current = await self._remove(Kind.of(wanted), namespace, name, operations)
        if len(self._applied) >= _MAX_REMEMBERED:
            self._applied.clear()
        self._applied[key] = (_uid(current), stamp)
        into.objects[kind] = current

    async def delete(self, live: dict[str, Any]) -> None:
        """Remove an object that is no longer asked for."""
        metadata = live["metadata"]
        await self._kube.delete(Kind.of(live), metadata["namespace"], metadata["name"], uid=metadata["uid"])
        self._applied.pop((live["kind"], metadata["namespace"], metadata["name"]), None)

    async def _remove(self, kind: Kind, namespace: str, name: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            return {"kind": kind.title, **await self._kube.json_patch(kind, namespace, name, operations)}
        except RefusedError as error:
            # A failed test operation is a 422: the object moved on since it was read.
            raise ConflictError(str(error), status=error.status) from error


def holds(live: Any, wanted: Any) -> bool:
    """Whether every field of `wanted` stands in `live`. Lists of named entries may hold more; others must be equal."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            key in live and (live[key] == value if key in _ATOMIC else holds(live[key], value))
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(live, list):
            return False
        if wanted and all(isinstance(entry, dict) and "name" in entry for entry in wanted):
            by_name = {entry.get("name"): entry for entry in live if isinstance(entry, dict)}
            return all(holds(by_name.get(entry["name"]), entry) for entry in wanted)
        return len(live) == len(wanted) and all(map(holds, live, wanted))
    return bool(live == wanted) or str(live) == str(wanted)


def _uid(document: dict[str, Any]) -> str:
    return str(document["metadata"]["uid"])
