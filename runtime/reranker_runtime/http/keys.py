"""Who may ask: keys of named clients, from files that may change while the server runs.

Several keys of a client are valid at once, so that one can be renewed without a gap: add the new key, move the callers,
take the old one away. Only digests are kept in memory, and no message, log line or name ever holds a key.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers

from reranker_runtime.errors import SettingsError, Unauthenticated
from reranker_runtime.settings import Settings

PUBLIC: Final = (
    "/",
    "/docs",
    "/docs/favicon.png",
    "/docs/swagger-ui-bundle.js",
    "/docs/swagger-ui.css",
    "/openapi.json",
    "/v1/health/live",
    "/v1/health/ready",
)
"""What needs no key unless RERANKER_PUBLIC_PATHS says otherwise. Whole paths: a pattern such as /docs/* would let
/docs/x/reranking through, which is an alias of the ranking route."""
FILE: Final = "RERANKER_API_KEYS_FILE"
DIRECTORY: Final = "RERANKER_API_KEYS_DIR"
ALONE: Final = "default"
"""The client of a key that stands in the file without a name."""
MOST_BYTES: Final = 1 << 20
"""Of one file."""
MOST_KEYS: Final = 10_000
SHORT: Final = 16
"""A key of fewer characters may be guessed."""
KEY: Final = re.compile(rb"[\x21-\x7e]{1,1024}")
NAME: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
"""What a key of a Secret may be called. Clients' names stand in logs and metrics."""
UNAUTHENTICATED: Final = (
    "a valid API key is needed: send it as 'Authorization: Bearer KEY' or in the header X-API-Key; "
    "whoever runs this server gives keys out"
)
"""The same whatever is wrong: an answer that tells an unknown key from a missing one helps nobody who has one."""

log = logging.getLogger(__name__)


class Keys:
    """The keys in force. Until `load` was called there are none, and everything but public paths is refused."""

    def __init__(self, settings: Settings) -> None:
        self._file, self._directory = settings.api_keys_file, settings.api_keys_dir
        self._public = frozenset(PUBLIC if settings.public_paths is None else settings.public_paths)
        self._needed = settings.keyed
        self._entries: tuple[tuple[bytes, str], ...] | None = None

    def __repr__(self) -> str:
        return f"Keys({len(self._entries or ())} of {len({name for _, name in self._entries or ()})} clients)"

    @property
    def paths(self) -> tuple[Path, ...]:
        """What is read."""
        return tuple(path for path in (self._file, self._directory) if path is not None)

    def load(self) -> None:
        """Read the files; raises `SettingsError`, which leaves the keys as they were.

        No key at all is an error at first, and afterwards means that nobody may ask any more.
        """
        if not self._needed:
            return
        owners: dict[bytes, str] = {}
        short: set[str] = set()
        for where, client, key in self._read():
            digest = hashlib.sha256(key).digest()
            if owners.setdefault(digest, client) != client:
                raise SettingsError(
                    f"{where} gives client {client} a key that client {owners[digest]} has too: give each its own"
                )
            if len(key) < SHORT:
                short.add(client)
            if len(owners) > MOST_KEYS:
                raise SettingsError(f"{where}: more than {MOST_KEYS} keys: keep fewer")
        if not owners:
            sources = " and ".join(filter(None, (_named(FILE, self._file), _named(DIRECTORY, self._directory))))
            if self._entries is None:
                raise SettingsError(f"there is no key in {sources}: add one, for instance from `openssl rand -hex 32`")
            log.warning("there is no key in %s any more: every request is refused until there is one", sources)
        for client in sorted(short):
            log.warning("client %s has a key of fewer than %d characters, which may be guessed", client, SHORT)
        self._entries = tuple(owners.items())

    def admit(self, path: str, headers: Headers) -> str:
        """The client that asks; empty where no key is needed and none is valid. Raises `Unauthenticated`."""
        if not self._needed:
            return ""
        client = self.client(headers)
        if client is None and path not in self._public:
            raise Unauthenticated(UNAUTHENTICATED)
        return client or ""

    def client(self, headers: Headers) -> str | None:
        """Whose key it is, of either header; None: nobody's."""
        scheme, _, token = headers.get("authorization", "").strip().partition(" ")
        if not token:  # llama-index-postprocessor-tei-rerank and others send the bare key
            scheme, token = "bearer", scheme
        bearer = self._owner(token.strip()) if scheme.lower() == "bearer" else None
        other = headers.get("x-api-key")
        named = self._owner(other.strip()) if other is not None else None
        return bearer or named

    def _owner(self, key: str) -> str | None:
        given = hashlib.sha256(key.encode("latin-1", "replace")).digest()
        owner = None
        for digest, client in self._entries or ():
            if hmac.compare_digest(digest, given):
                owner = client  # and on to the end: how long it takes tells nothing
        return owner

    def _read(self) -> Iterator[tuple[str, str, bytes]]:
        """Where each key stands, its client, the key."""
        if self._file is not None:
            yield from _of_file(self._file)
        if self._directory is not None:
            yield from _of_directory(self._directory)


def _named(variable: str, path: Path | None) -> str:
    return "" if path is None else f"{variable}={path}"


def _of_file(path: Path) -> Iterator[tuple[str, str, bytes]]:
    for where, line in _lines(path, _named(FILE, path)):
        if line.startswith(b"#"):
            continue
        parts = line.split()
        if len(parts) > 2:  # noqa: PLR2004 - a client and its key
            raise SettingsError(f"{where} has {len(parts)} words: write a client's name and its key, or the key alone")
        name = parts[0].decode("ascii", "replace") if parts[1:] else ALONE
        if not NAME.fullmatch(name):  # which is not shown: it may be a key
            raise SettingsError(f"{where}: a client's name consists of letters, digits, '-', '_' and '.', at most 253")
        yield where, name, _checked(parts[-1], where)


def _of_directory(path: Path) -> Iterator[tuple[str, str, bytes]]:
    source = _named(DIRECTORY, path)
    try:
        with os.scandir(path) as entries:
            files = [entry.name for entry, _ in zip(entries, range(MOST_KEYS * 2), strict=False)]
        # Dotfiles are the kubelet's own: ..data and the directories it points to.
        files = sorted(name for name in files if name[0] != "." and stat.S_ISREG((path / name).stat().st_mode))
    except OSError as error:
        raise SettingsError(
            f"{source} cannot be read: {error.strerror}; give a directory with a file for each client"
        ) from error
    for name in files:
        if not NAME.fullmatch(name):
            raise SettingsError(
                f"{source} has a file named {name!a}, and a client's name consists of letters, digits, "
                "'-', '_' and '.': rename it"
            )
        for where, line in _lines(path / name, f"{source}: {name}"):
            yield where, name, _checked(line, where)


def _lines(path: Path, source: str) -> Iterator[tuple[str, bytes]]:
    """Lines that are not blank, and where they stand."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{source} cannot be read: {error.strerror}; give a file of keys, one a line") from error
    if len(content) > MOST_BYTES:
        raise SettingsError(f"{source} is larger than {MOST_BYTES} bytes: give a file of keys, one a line")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line := line.strip():
            yield f"{source} line {number}", line


def _checked(key: bytes, where: str) -> bytes:
    if not KEY.fullmatch(key):
        raise SettingsError(
            f"{where} holds no key that a header can carry: a key is 1 to 1024 printable ASCII characters, no spaces"
        )
    return key
