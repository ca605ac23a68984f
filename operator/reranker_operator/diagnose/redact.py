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
from typing import Any, TypeVar, cast
from urllib.parse import quote

from reranker_operator import contract

REDACTED = "[redacted]"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

LONG = 8
"""Values of so many characters are found in the middle of words too; shorter ones only where nothing alphanumeric
touches them, or `1234` would eat every number."""
SHORTEST = 4
"""Values of fewer characters are left: guessing them is easier than reading this report."""
_COMMON = frozenset({"true", "false", "none", "null", "auto", "default"})
"""Settings that only their names make secret; without these words a report says nothing."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|AUTHORIZATION", re.IGNORECASE)
_LIMIT_NAME = re.compile(r"TOKENS|TOKENIZER", re.IGNORECASE)
_SECRET_ENTRY = re.compile(r"auth|password|token|secret", re.IGNORECASE)
"""Entries of a registry's `.dockerconfigjson` and of other JSON in a Secret."""
_URL_PASSWORD = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s/:@\"'<>]*:([^\s/\"'<>]+)@")
# Repetitions are bounded: a log may hold a megabyte without a space.
_CREDENTIALS = (
    (re.compile(r"-----BEGIN ([A-Z ]{0,40})PRIVATE KEY-----.*?(-----END \1PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]{0,30}://)[^\s/\"'<>]+@"), rf"\1{REDACTED}@"),
    (
        re.compile(r"(?i)((?:authorization|x-api-key)[\"']?\s*[:=]\s*[\"']?)((?:bearer|basic)\s+)?[^\s\"',}]+"),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?i)\b(bearer)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]+"), REDACTED),  # a JSON web token
)
_ASSIGNMENT = re.compile(r"(\b[A-Z][A-Z0-9_]*|--[a-z][a-z0-9-]{0,60})=([\"']?)([^\s\"',;]+)")

T = TypeVar("T")


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable of this name holds a secret. The operator's own hold none: they say where to find them."""
    if name in contract.OPERATOR_VARIABLES:
        return False
    # RERANKER_BATCH_TOKENS=8192 is a limit, and limits are half of what a report is read for.
    return bool(_SECRET_NAME.search(name)) and not (value.isdigit() and _LIMIT_NAME.search(name))


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
    """Secrets that stand in an object itself: variables whose names say so, and passwords in URLs."""
    found: set[str] = set()
    for field, entry in _fields(value):
        if isinstance(entry, str):
            found |= set(_URL_PASSWORD.findall(entry))
            if field.isupper() and looks_secret(field, entry):
                found.add(entry)
        elif isinstance(entry, list):
            found |= {each["value"] for each in entry if _is_secret_variable(each)}
    return found


def values_of(secret: dict[str, Any]) -> set[str]:
    """What a Secret holds: each value, its lines, and the credentials in it where it is JSON."""
    found: set[str] = set()
    for encoded in (secret.get("data") or {}).values():
        try:
            text = base64.b64decode(encoded).decode()
        except ValueError:  # no text: nothing that could stand in a report but as the base64 it is
            found.add(encoded)
            continue
        found |= {text, text.strip(), *(line.strip() for line in text.splitlines())}
        try:
            document = json.loads(text)
        except ValueError:
            continue
        found |= {str(entry) for field, entry in _fields(document) if _SECRET_ENTRY.search(field)}
    return found


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
        usable = sorted((each for each in written if len(each) >= SHORTEST and each.lower() not in _COMMON), key=len)
        self._long = frozenset(each for each in usable if len(each) >= LONG)
        lengths: dict[str, set[int]] = defaultdict(set)
        for each in self._long:
            lengths[each[:LONG]].add(len(each))
        self._lengths = {beginning: sorted(found, reverse=True) for beginning, found in lengths.items()}
        """By how a value begins, the longest first: one value may begin with another."""
        short = [re.escape(each) for each in reversed(usable) if len(each) < LONG]
        self._short = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(short)})(?![A-Za-z0-9])") if short else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        text = self._without_long(text) if self._long and len(text) >= LONG else text
        if self._short is not None:
            text = self._short.sub(REDACTED, text)
        for pattern, instead in _CREDENTIALS:
            text = pattern.sub(instead, text)
        return _ASSIGNMENT.sub(self._assigned, text)

    def clean(self, value: T) -> T:
        """A copy of JSON, or of dataclasses and lists of it, without secrets."""
        return cast("T", self._clean(value))

    def _clean(self, value: Any) -> Any:
        if type(value) is str:
            return self.text(value)
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._clean(each) for each in value)
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
            elif field == LAST_APPLIED:
                cleaned[field] = self._last_applied(entry)
            elif isinstance(entry, str) and str(field).isupper() and looks_secret(str(field), entry):
                cleaned[field] = REDACTED
            else:
                cleaned[field] = self._clean(entry)
        if _is_secret_variable(value):
            cleaned["value"] = REDACTED
        return cleaned

    def _last_applied(self, text: Any) -> str:
        """What `kubectl apply` keeps of a manifest is a manifest: that of a Secret is its values."""
        try:
            return json.dumps(self._clean(json.loads(text)))
        except (ValueError, TypeError):
            return REDACTED

    def _assigned(self, match: re.Match[str]) -> str:
        name, mark, value = match.groups()
        secret = name in self._variables or looks_secret(name, value)
        return f"{name}={mark}{REDACTED}" if secret else match.group()

    def _without_long(self, text: str) -> str:
        """A Secret may hold thousands of lines (a bundle of certificates): one pass, whatever their number."""
        parts, kept, place = [], 0, 0
        while place <= len(text) - LONG:
            lengths = self._lengths.get(text[place : place + LONG], ())
            length = next((each for each in lengths if text[place : place + each] in self._long), 0)
            if not length:
                place += 1
                continue
            parts += [text[kept:place], REDACTED]
            kept = place = place + length
        return "".join([*parts, text[kept:]])


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Every field of every object in it, however deep."""
    if isinstance(value, dict):
        for field, entry in value.items():
            yield str(field), entry
            yield from _fields(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _fields(entry)


def _is_secret_variable(value: Any) -> bool:
    """Whether it is an entry of `env` (or a header) with a secret written out in it."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("value"), str)
        and looks_secret(value["name"], value["value"])
    )


def _forms(value: str) -> set[str]:
    """How a value may be written: as it is, in JSON, in a URL, in base64."""
    return {value, json.dumps(value)[1:-1], quote(value, safe=""), base64.b64encode(value.encode()).decode()}
