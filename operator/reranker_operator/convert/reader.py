"""Manifests of others, read field by field: a value of the wrong type has a path, and what nobody read is told."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
_DNS_LABEL = re.compile("[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


class ConvertError(Exception):
    """A manifest that cannot be converted; the message begins with the path of what is wrong, where it has one."""


@dataclass
class Notes:
    """What is told of one document, and which of its fields were read."""

    told: list[str] = field(default_factory=list)
    """Each `path: words`."""
    read: set[str] = field(default_factory=set)
    """Paths that are known, with `[]` for every entry of a list."""

    def tell(self, path: str, words: str) -> None:
        """Say something about a field."""
        self.told.append(f"{path}: {words}")


class Fields:
    """A mapping, and its place in the document. Every method that reads a field returns None or nothing if it is unset.

    Raises `ConvertError` where a value is not of the type that is asked for.
    """

    def __init__(self, value: Any, path: str, notes: Notes) -> None:
        if not isinstance(value, dict):
            raise ConvertError(f"{path or 'the document'} must be a mapping, not {shown(value)}")
        self.path, self.notes = path, notes
        self._value: Json = value
        self._known: set[str] = set()
        self._below: dict[str, list[Fields]] = {}

    def __bool__(self) -> bool:
        return any(each not in (None, "", [], {}) for each in self._value.values())

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def tell(self, name: str, words: str) -> None:
        """Say something about a field."""
        self.notes.tell(self.at(name), words)

    def raw(self, name: str) -> Any:
        """A field as it is."""
        self._known.add(name)
        self.notes.read.add(re.sub(r"\[\d+\]", "[]", self.at(name)))
        return self._value.get(name)

    def text(self, name: str) -> str | None:
        """A string; an empty one is none."""
        return self._of(name, str, "a string") or None

    def integer(self, name: str) -> int | None:
        """A whole number."""
        found: int | None = self._of(name, int, "a whole number")
        if isinstance(found, bool):
            raise ConvertError(f"{self.at(name)} must be a whole number, not {shown(found)}")
        return found

    def flag(self, name: str) -> bool | None:
        """True or false."""
        found: bool | None = self._of(name, bool, "true or false")
        return found

    def mapping(self, name: str) -> Json:
        """A mapping that is handed on as it is."""
        return self._of(name, dict, "a mapping") or {}

    def strings(self, name: str) -> dict[str, str]:
        """A mapping of strings."""
        found = self.mapping(name)
        for key, value in found.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise ConvertError(f"{self.at(name)}.{key} must be a string, not {shown(value)}; write it in quotes")
        return found

    def entries(self, name: str) -> list[Any]:
        """A list that is handed on as it is."""
        return self._of(name, list, "a list") or []

    def names(self, name: str) -> list[str]:
        """A list of strings."""
        found = self.entries(name)
        for n, each in enumerate(found):
            if not isinstance(each, str) or not each:
                raise ConvertError(f"{self.at(name)}[{n}] must be a string, not {shown(each)}")
        return found

    def child(self, name: str) -> "Fields":
        """A mapping that is read field by field; an empty one where it is unset."""
        if name not in self._below:
            found = self.raw(name)
            self._below[name] = [Fields({} if found is None else found, self.at(name), self.notes)]
        return self._below[name][0]

    def children(self, name: str) -> list["Fields"]:
        """A list of such."""
        if name not in self._below:
            given = self.entries(name)
            self._below[name] = [Fields(each, f"{self.at(name)}[{n}]", self.notes) for n, each in enumerate(given)]
        return self._below[name]

    def leave(self, name: str, why: str) -> None:
        """A field that becomes nothing, and why."""
        if self.raw(name) not in (None, "", [], {}, False):
            self.tell(name, f"left out: {why}")

    def finish(self) -> None:
        """Tell of all that nobody read."""
        for name, value in self._value.items():
            if name not in self._known and value is not None:
                self.tell(str(name), "left out: not a field that this converter knows")
        for each in self._below.values():
            for below in each:
                below.finish()

    def _of(self, name: str, kind: type, words: str) -> Any:
        found = self.raw(name)
        if found is not None and not isinstance(found, kind):
            raise ConvertError(f"{self.at(name)} must be {words}, not {shown(found)}")
        return found


def read_namespace(metadata: Fields) -> str | None:
    """`metadata.namespace`. It becomes part of a file's name and of hosts: nothing but a DNS label is let through."""
    namespace = metadata.text("namespace")
    if namespace is not None and _DNS_LABEL.fullmatch(namespace) is None:
        words = "must be the name of a namespace (lower-case letters, digits and '-', at most 63 characters)"
        raise ConvertError(f"{metadata.at('namespace')} {words}, not {shown(namespace)}")
    return namespace


def shown(value: Any) -> str:
    """A value, short enough for a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 half a line
