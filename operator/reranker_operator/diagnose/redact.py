"""Take secrets out of whatever a person may paste into a bug report.

Two nets. Values that are known to be secret (what Secrets hold, variables whose names say so, passwords in URLs) are
looked for everywhere, in each way they may be written. And what looks like a credential is taken out wherever it
stands, whether anybody knew of it or not.
"""

import base64
import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus, unquote

from reranker_operator.diagnose.credentials import (
    COMMON,
    REDACTED,
    URL_PASSWORD,
    assigned,
    follows_flag,
    is_secret_field,
    looks_secret,
    without,
    without_credentials,
)
from reranker_operator.diagnose.reader import printable

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

LONG = 8
"""Values of so many characters are found in the middle of words too; shorter ones only where nothing alphanumeric
touches them, or `1234` would eat every number."""
SHORTEST = 4
"""Values of fewer characters are left: guessing them is easier than reading this report."""
_SECRET_ENTRY = re.compile(r"auth|pass|token|secret|key|credential", re.IGNORECASE)
"""Entries of a registry's `.dockerconfigjson` and of other JSON in a Secret."""
_LINE = re.compile(r"(?:export |- )?[\"']?([\w.-]{1,100})[\"']?[ \t]{0,8}(?:=|:(?!//))(.+)")
"""A line of a file of settings."""
_URL_SAFE = str.maketrans("+/", "-_")

T = TypeVar("T")


def named_secrets(value: Any) -> set[str]:
    """Names of the Secrets that an object speaks of, in Kubernetes' words for it and in ours.

    By the ends of fields' names, so that a field which is new, or unknown to this version, is not missed.
    """
    found: set[str] = set()
    for field, entry in _fields(value):
        word = field.lower()
        if word.endswith("secretname"):
            found.add(str(entry))
        elif word.endswith(("secret", "secretref", "secretkeyref")) and isinstance(entry, dict):
            found.add(str(entry.get("name", "")))
        elif word.endswith("secrets") and isinstance(entry, list):
            found |= {str(each.get("name", "")) for each in entry if isinstance(each, dict)}
    return found - {""}


def secret_literals(value: Any) -> set[str]:
    """Secrets that stand in an object itself: variables and flags whose names say so, and passwords in URLs."""
    found: set[str] = set()
    for field, entry in _fields(value):
        if isinstance(entry, str):
            found |= {*URL_PASSWORD.findall(entry), *URL_PASSWORD.findall(f"{field}={entry}")}
            if field.isupper() and looks_secret(field, entry):
                found.add(entry)
        elif isinstance(entry, list):
            variables = [each for each in entry if _is_variable(each)]
            found |= {each["value"] for each in variables if looks_secret(each["name"], each["value"])}
            found |= {
                password for each in variables for password in URL_PASSWORD.findall("{name}={value}".format(**each))
            }
            found |= {item for before, item in pairwise(entry) if follows_flag(before, item)}
            found |= {each[start:end] for each in entry if isinstance(each, str) for start, end in assigned(each)}
    return found


def values_of(secret: dict[str, Any]) -> set[str]:
    """What a Secret holds: each value, its lines, what they assign, and the credentials in it where it is JSON."""
    found: set[str] = set()
    for encoded in (secret.get("data") or {}).values():
        try:
            text = base64.b64decode(encoded).decode()
        except ValueError:  # no text: nothing that could stand in a report but as the base64 it is
            found.add(encoded)
            continue
        lines = [line.strip() for line in text.splitlines()]
        found |= {text, text.strip(), *lines, *filter(None, map(_right_side, lines)), *URL_PASSWORD.findall(text)}
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            continue
        entries = [entry for field, entry in _fields(document) if _SECRET_ENTRY.search(field)]
        lists = [entry if isinstance(entry, list) else [entry] for entry in entries]
        found |= {each for entry in lists for each in entry if isinstance(each, str)}
    return found


def _right_side(line: str) -> str | None:
    """The value in `NAME=value` or `name: "value"`. A short one (a port, a level) only if its name says so."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    value = match[2].strip().rstrip(",")
    value = value[1:-1] if value[:1] in ("'", '"') and value.endswith(value[0]) else value
    return value if len(value) >= LONG or looks_secret(match[1], value) else None


def secret_variables(value: Any) -> set[str]:
    """Names of variables that a container reads from Secrets: their values are known by their names alone."""
    lists = (entry for _, entry in _fields(value) if isinstance(entry, list))
    variables = (each for entry in lists for each in entry if isinstance(each, dict))
    return {str(each.get("name")) for each in variables if "secretKeyRef" in (each.get("valueFrom") or {})}


class Redactor:
    """Takes `values` out of texts and objects, what is assigned to `variables`, and what looks like a credential."""

    def __init__(self, values: Iterable[str], variables: Iterable[str] = ()) -> None:
        self._variables = frozenset(variables)
        written = {form for value in values for form in _forms(value)}
        usable = sorted((each for each in written if len(each) >= SHORTEST and each.lower() not in COMMON), key=len)
        self._long = frozenset(each for each in usable if len(each) >= LONG)
        lengths: dict[str, set[int]] = defaultdict(set)
        for each in self._long:
            lengths[each[:LONG]].add(len(each))
        self._lengths = {beginning: sorted(found, reverse=True) for beginning, found in lengths.items()}
        """By how a value begins, the longest first: one value may begin with another."""
        short = [re.escape(each) for each in reversed(usable) if len(each) < LONG]
        self._short = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(short)})(?![A-Za-z0-9])") if short else None

    def text(self, text: str) -> str:
        """The text without secrets, and printable first: a colour in the middle of a secret must not hide it."""
        text = printable(text)
        text = without(text, self._long_values(text)) if self._long and len(text) >= LONG else text
        if self._short is not None:
            text = self._short.sub(REDACTED, text)
        return without_credentials(text, self._variables)

    def clean(self, value: T) -> T:
        """A copy of JSON, or of dataclasses and lists of it, without secrets."""
        return cast("T", self._clean(value))

    def _clean(self, value: Any) -> Any:
        if type(value) is str:
            return self.text(value)
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, (list, tuple)):
            before = [None, *value]
            return type(value)(
                REDACTED if follows_flag(flag, each) else self._clean(each)
                for flag, each in zip(before, value, strict=False)
            )
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            parts = {field.name: self._clean(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return dataclasses.replace(value, **parts)
        return value

    def _object(self, value: dict[Any, Any]) -> dict[Any, Any]:
        secret = value.get("kind") == "Secret"
        cleaned: dict[Any, Any] = {}
        for field, entry in value.items():
            if secret and field in ("data", "stringData") and isinstance(entry, dict):
                cleaned[field] = dict.fromkeys(entry, REDACTED)
            elif field == "annotations" and isinstance(entry, dict):
                cleaned[field] = {name: self._annotation(name, each) for name, each in entry.items()}
            elif isinstance(entry, str):
                cleaned[field] = self._assigned(str(field), entry)
            else:
                cleaned[field] = self._clean(entry)
        if _is_variable(value):
            name, entry = value["name"], value["value"]
            cleaned["value"] = REDACTED if looks_secret(name, entry) else self._assigned(name, entry)
        return cleaned

    def _assigned(self, name: str, value: str) -> str:
        """The value with regard to its name, as if both stood in a log."""
        if value and is_secret_field(name, value):
            return REDACTED
        return self.text(f"{name}={value}").removeprefix(f"{name}=")

    def _annotation(self, name: str, text: Any) -> Any:
        """Tools keep manifests in annotations, as `kubectl apply` does: that of a Secret is its values."""
        if name != LAST_APPLIED and not str(text).lstrip().startswith("{"):
            return self._assigned(name, text) if isinstance(text, str) else text
        try:
            return json.dumps(self._clean(json.loads(text)))
        except (ValueError, TypeError, RecursionError):
            return REDACTED if name == LAST_APPLIED else self._clean(text)

    def _long_values(self, text: str) -> Iterator[tuple[int, int]]:
        """A Secret may hold thousands of lines (a bundle of certificates): one pass, whatever their number."""
        place = 0
        while place <= len(text) - LONG:
            lengths = self._lengths.get(text[place : place + LONG], ())
            length = next((each for each in lengths if text[place : place + each] in self._long), 0)
            if length:
                yield place, place + length
            place += length or 1


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Every field of every object in it, however deep."""
    if isinstance(value, dict):
        for field, entry in value.items():
            yield str(field), entry
            yield from _fields(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _fields(entry)


def _is_variable(value: Any) -> bool:
    """Whether it is an entry of `env` (or a header) with its value written out in it."""
    return isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("value"), str)


def _forms(value: str) -> set[str]:
    """How a value may be written: as it is, in JSON (Go writes some signs its own way), in a URL, in base64."""
    value = value.encode(errors="replace").decode()
    plain = json.dumps(value, ensure_ascii=False)[1:-1]
    of_go = plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    written = {value, printable(value), plain, of_go, json.dumps(value)[1:-1], repr(value)[1:-1]}
    urls = {quote(value, safe=""), quote(value), quote(value, safe="/:"), quote_plus(value), unquote(value)}
    return written | urls | _in_base64(value.encode())


def _in_base64(value: bytes) -> set[str]:
    """The value alone, and the middles that it leaves in the base64 of something longer, such as `user:value`.

    Short middles are left: they stand in other base64 by chance.
    """
    alone = base64.b64encode(value).decode()
    found = {alone, alone.rstrip("=")}
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        middle = base64.b64encode(bytes(before) + value)[first:last].decode()
        found |= {middle} if len(middle) >= LONG else set()
    return found | {each.translate(_URL_SAFE) for each in found}
