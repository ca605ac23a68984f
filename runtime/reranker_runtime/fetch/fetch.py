"""The whole of a download, and its report: what an init container asks for before it asks `verify`."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from reranker_runtime.errors import FetchError, FetchReason, ModelError
from reranker_runtime.fetch.place import Place, amount

if TYPE_CHECKING:  # imported when something is to be fetched: it takes half a second
    from reranker_runtime.fetch.hub import File, Hub

REPOSITORY: Final = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
REVISION: Final = re.compile(r"[0-9a-f]{40}")
VISIBLE: Final = re.compile(r"[!-~]*")
"""What URLs and tokens are written with."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
log = logging.getLogger(__name__)


def fetch(
    cache: Path, repository: str, revision: str, *, endpoint: str, token: str, retries: int
) -> tuple[dict[str, Any], bool]:
    """The report, and whether another try may help where it is not ok."""
    place = Place(cache, repository, revision)
    try:
        _check(repository, revision)
        with _told(place):
            downloaded = 0 if place.is_finished() else _fetch(place, endpoint.rstrip("/"), token.strip(), retries)
            files, size = place.size()
    except (FetchError, ModelError) as error:
        passing = isinstance(error, FetchError) and error.reason.passing
        return {"ok": False, "reason": error.reason.value, "message": error.message}, passing
    named = {"repository": repository, "revision": revision}
    return {"ok": True, **named, "files": files, "bytes": size, "downloaded": downloaded}, False


@contextmanager
def _told(place: Place) -> Iterator[None]:
    """What the volume says, and a stop, as errors of ours."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise FetchError(
            FetchReason.INTERRUPTED, "told to stop; what was fetched stays, and the next fetch goes on from it"
        ) from stop
    except OSError as error:
        full = error.errno in FULL
        remedy = "enlarge the volume" if full else f"it must be a volume that user {os.getuid()} may write"
        raise FetchError(
            FetchReason.NO_SPACE if full else FetchReason.CACHE_UNUSABLE,
            f"{error.filename or place.home} of the cache {place.cache}: {error.strerror or error}; {remedy}",
        ) from error


def _check(repository: str, revision: str) -> None:
    if not REPOSITORY.fullmatch(repository):
        raise FetchError(FetchReason.REPOSITORY_INVALID, f"{repository!a} is no repository: write OWNER/NAME")
    if not REVISION.fullmatch(revision):
        raise FetchError(
            FetchReason.REVISION_INVALID,
            f"{revision!a} is no commit: give all its 40 hexadecimal digits, as branches and tags may move",
        )


def _fetch(place: Place, endpoint: str, token: str, retries: int) -> int:
    """Bytes that were received."""
    _check_endpoint(endpoint)
    if not VISIBLE.fullmatch(token):
        raise FetchError(
            FetchReason.SETTINGS_INVALID,
            "HF_TOKEN holds characters that no token has: look at the Secret it comes from",
        )
    _hush()
    from reranker_runtime.fetch import wanted  # noqa: PLC0415
    from reranker_runtime.fetch.hub import Hub  # noqa: PLC0415 - after its library was told to be quiet

    place.home.mkdir(parents=True, exist_ok=True)
    with place.lock():
        if place.is_finished():
            return 0
        hub = Hub(endpoint, token, place.repository, place.revision, retries)
        listed = hub.files()
        wanted.check_names(listed, hub.words)
        small = wanted.small_files(listed, place.repository, revision=place.revision)
        wanted.check_kept(small, hub.words)
        place.partial.mkdir(exist_ok=True)
        try:
            received = _download(hub, place, [listed[name] or hub.described(name) for name in small])
            others = wanted.other_files(listed, place.partial)
            wanted.check_kept(others, hub.words)
            received += _download(hub, place, [listed[name] or hub.described(name) for name in others])
            place.publish()
        except OSError:
            if not place.is_finished():  # else by a fetch beside this one, without a lock
                raise
            return 0
        log.info("%s is in %s", place.repository, place.finished)
        return received


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        right = parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment)
        right = right and parts.port != 0  # asking for it may raise
        secret = "@" in parts.netloc
    except ValueError:
        right, secret = False, "@" in endpoint
    if secret:
        raise FetchError(
            FetchReason.SETTINGS_INVALID, "the endpoint holds a user or password: give the URL without, and HF_TOKEN"
        )
    if not right or not VISIBLE.fullmatch(endpoint):
        raise FetchError(
            FetchReason.SETTINGS_INVALID, f"{endpoint!a} is no endpoint: give http(s)://HOST[:PORT][/PATH]"
        )


def _hush() -> None:
    """The library reads its variables when it is imported: none may send it elsewhere, or have it write or report."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_OFFLINE"))]:
        del os.environ[name]
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_XET="1")
    for name in ("httpx2", "httpcore2", "huggingface_hub"):  # they log URLs with the signatures in them
        logging.getLogger(name).setLevel(logging.ERROR)


def _download(hub: Hub, place: Place, files: Sequence[File]) -> int:
    """Bytes that were received."""
    from reranker_runtime.fetch.download import Progress, download, have  # noqa: PLC0415

    total = sum(file.size for file in files)
    here = sum(have(place.partial, file) for file in files)
    place.require_space(total - here)
    log.info("files: %d, %s, of which %s are here already", len(files), amount(total), amount(here))
    progress = Progress(total, here)
    for file in files:
        download(hub, file, place.partial, progress)
    return progress.received
