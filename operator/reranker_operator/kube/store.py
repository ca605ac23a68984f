"""Objects of one kind as a watch last told them, found by name or by the service that they belong to.

They are kept as bytes: a thousand services have ten thousand objects, and as Python dictionaries those would take
hundreds of megabytes. What reads one gets a copy of its own.

Versions decide which word is the last one. The server's resource versions grow with each write to a kind, so an answer
to a write of our own and an event of the watch can be told apart by age, in whichever order they come.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name of a service."""
Place = tuple[str, str]
"""Namespace (empty for what has none) and name of an object."""


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    owner: Key | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to an object."""

    place: Place
    owners: tuple[Key, ...]
    """The services it belongs to, before and after."""


class Store:
    """What one kind has, in the namespaces that are watched."""

    def __init__(self, owner_of: Callable[[Json], Key | None], trim: Callable[[Json], Json]) -> None:
        self._owner_of, self.trim = owner_of, trim
        self._entries: dict[Place, _Entry] = {}
        self._by_owner: dict[Key, set[Place]] = {}
        self._told = 0
        """The newest version that the watch has told of: about anything older, it has told all there is."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, namespace: str, name: str) -> Json | None:
        """A copy of the object, or None."""
        entry = self._entries.get((namespace, name))
        return json.loads(entry.raw) if entry is not None else None

    def owned(self, owner: Key) -> list[Json]:
        """Copies of the objects that belong to a service."""
        return [json.loads(self._entries[place].raw) for place in sorted(self._by_owner.get(owner, ()))]

    def owners(self) -> Iterator[Key]:
        """Every service that something belongs to."""
        return iter(tuple(self._by_owner))

    def replace(self, documents: Iterable[Json], version: str, namespace: str | None) -> list[Change]:
        """Take a list of `version` for all there is in a namespace (None: anywhere), but for what was written since."""
        listed = {_place(each): each for each in documents}
        changes = [change for each in listed.values() if (change := self._put(each)) is not None]
        limit = int(version or 0)
        gone = [
            place
            for place, entry in self._entries.items()
            if place not in listed and entry.version <= limit and namespace in (None, place[0])
        ]
        changes += [self._drop(place) for place in gone]
        self._told = max(self._told, limit)
        return changes

    def clear(self) -> list[Change]:
        """The kind itself is gone."""
        return [self._drop(place) for place in list(self._entries)]

    def tell(self, event: str, document: Json) -> Change | None:
        """Take up an event of the watch; returns what changed, if anything did."""
        version = _version(document)
        self._told = max(self._told, version)
        if event == "BOOKMARK":
            return None
        if event != "DELETED":
            return self._put(document)
        place = _place(document)
        entry = self._entries.get(place)
        # A newer one of the same name may have been made meanwhile.
        return self._drop(place) if entry is not None and entry.version <= version else None

    def learn(self, document: Json) -> None:
        """Take up the answer to a write or a read of our own, unless the watch has told more already."""
        if _version(document) > self._told:
            self._put(document)

    def _put(self, document: Json) -> Change | None:
        place, version = _place(document), _version(document)
        before = self._entries.get(place)
        if before is not None and before.version >= version:
            return None
        owner = self._owner_of(document)
        raw = json.dumps(self.trim(document), separators=(",", ":")).encode()
        self._unlink(place, before)
        self._entries[place] = _Entry(version, owner, raw)
        if owner is not None:
            self._by_owner.setdefault(owner, set()).add(place)
        return Change(place, _owners(before.owner if before is not None else None, owner))

    def _drop(self, place: Place) -> Change:
        entry = self._entries.pop(place)
        self._unlink(place, entry)
        return Change(place, _owners(entry.owner))

    def _unlink(self, place: Place, entry: _Entry | None) -> None:
        if entry is None or entry.owner is None:
            return
        places = self._by_owner[entry.owner]
        places.discard(place)
        if not places:
            del self._by_owner[entry.owner]


def _place(document: Json) -> Place:
    metadata = document["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])


def _version(document: Json) -> int:
    return int(document["metadata"].get("resourceVersion") or 0)


def _owners(*owners: Key | None) -> tuple[Key, ...]:
    return tuple(dict.fromkeys(owner for owner in owners if owner is not None))
