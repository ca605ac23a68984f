"""What Secrets, ConfigMaps and claims hold, as keyed digests: enough to tell that a value changed, and never the value.

A plain hash on a pod template would let whoever may read pods guess a weak secret. The key is the operator's own, in a
Secret of its namespace, so that a restarted operator, or another one, finds nothing changed.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from reranker_operator.kube import ForbiddenError, Kind, Kube, KubeError
from reranker_operator.kube.reflector import Knowledge
from reranker_operator.kube.store import Json, Place
from reranker_operator.reconcile.cache import Cache

KEY_SECRET: Final = "reranker-operator-key"  # noqa: S105 a name, not a key
"""Name of the Secret with the operator's key. Without it, a new one is made, and pods that read Secrets roll once."""
_ENTRY: Final = "key"

Entries = dict[str, str]
"""Entry -> keyed digest of its value."""
UNREADABLE: Final[Entries] = {"(not": "readable)"}
"""Stands for what the operator may not read."""


@dataclass(frozen=True)
class _Known:
    uid: str
    version: int
    entries: Entries


class Contents:
    """Reads what is named, one object at a time, again only when the watch of its metadata tells of a new version."""

    def __init__(self, kube: Kube, cache: Cache, namespace: str) -> None:
        self._kube, self._cache, self._namespace = kube, cache, namespace
        self._known: dict[tuple[Kind, Place], _Known] = {}
        self._key: bytes | None = None

    async def entries(self, kind: Kind, namespace: str, name: str) -> Entries | None:
        """Digests of what is inside; None where there is no such object, UNREADABLE where it may not be read."""
        knowledge, identity = await self._cache.named(kind, namespace, name)
        place = kind, (namespace, name)
        if knowledge is not Knowledge.WHOLE:
            return UNREADABLE
        if identity is None:
            self._known.pop(place, None)
            return None
        uid, version = _identity(identity)
        known = self._known.get(place)
        if known is not None and known.uid == uid and known.version >= version:
            return known.entries
        try:
            document = await self._kube.get(kind, namespace, name)
        except ForbiddenError:
            return UNREADABLE
        if document is None:
            return None
        key = await self._own_key()
        entries = {
            entry: hmac.new(key, value, hashlib.sha256).hexdigest()[:32]
            for entry, value in sorted(_values(document).items())
        }
        self._known[place] = _Known(*_identity(document), entries)
        return entries

    def forget(self, places: Iterable[tuple[Kind, Place]]) -> None:
        """Nobody refers to these any more."""
        for each in places:
            self._known.pop(each, None)

    async def _own_key(self) -> bytes:
        """The key, made where there is none yet; two operators at once agree on the one that was first."""
        if self._key is None:
            document = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": KEY_SECRET, "namespace": self._namespace},
                "type": "Opaque",
                "stringData": {_ENTRY: secrets.token_hex(32)},
            }
            found = await self._kube.get(Kind.SECRET, self._namespace, KEY_SECRET)
            if found is None:
                await self._kube.create(document)
                found = await self._kube.get(Kind.SECRET, self._namespace, KEY_SECRET)
            key = _values(found or {}).get(_ENTRY)
            if not key:
                raise KubeError(f"Secret {KEY_SECRET} in namespace {self._namespace} has no {_ENTRY}: delete it")
            self._key = key
        return self._key


def _identity(document: Json) -> tuple[str, int]:
    metadata = document["metadata"]
    return str(metadata["uid"]), int(metadata["resourceVersion"])


def _values(document: Json) -> dict[str, bytes]:
    if document.get("kind") == "PersistentVolumeClaim":
        return {"spec": json.dumps(document["spec"], sort_keys=True).encode()}
    encoded = [*(document.get("binaryData") or {}).items()]
    plain: dict[str, bytes] = {}
    if document.get("kind") == "Secret":
        encoded += (document.get("data") or {}).items()
    else:
        plain = {entry: value.encode() for entry, value in (document.get("data") or {}).items()}
    return plain | {entry: base64.b64decode(value) for entry, value in encoded}
