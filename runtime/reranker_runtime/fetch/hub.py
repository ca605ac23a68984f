"""Asking a hub: what a revision holds, and a file's bytes from any one on.

huggingface_hub builds the requests and tells the refusals apart. Receiving is done here, because its own download keeps
nothing of a file that was cut (docs/decisions/2026-11-24-fetch-receives-bytes-itself.md).
"""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import httpx2
from huggingface_hub import HfApi, hf_hub_url, hf_raise_for_status, set_client_factory
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from reranker_runtime import version
from reranker_runtime.errors import FetchError, FetchReason, brief
from reranker_runtime.fetch.patience import Patience, Trouble, asked_to_wait

TIMEOUT: Final = httpx2.Timeout(30.0, connect=10.0)
"""Seconds for a connection, and without a byte on it, after which it counts as cut."""
BUSY: Final = frozenset({408, 416, 425, 429})
"""Refusals that another try may not meet again; 416 is a server that has less of a file than it said."""
FAILED: Final = 500
"""From here on it is the server that failed: proxies before mirrors have numbers of their own, up to 530."""
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
WHOLE, PART, REDIRECTS = 200, 206, 300
OF_A_FILE: Final = "reranker.file"
"""Marks a request whose answer is received as it comes, and so has no bound."""
MOST_SAID: Final = 1 << 20
"""Bytes that are read of a refusal's or a redirect's body; what is beyond is left."""
MOST_LISTED: Final = 64 << 20
"""Bytes of a list of files; a million names are less."""
SHA256: Final = re.compile(r"[0-9a-f]{64}")
BLOB: Final = re.compile(r"[0-9a-f]{40}")
AGENT: Final = f"reranker-runtime/{version()}"
Answer = TypeVar("Answer")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """A file of the revision as the hub announces it. Without either hash, its size is all that can be checked."""

    name: str
    size: int
    sha256: str = ""
    """Of files in LFS."""
    blob: str = ""
    """Of the others, git's own: SHA-1 of "blob SIZE", a zero byte and the bytes."""

    @property
    def checkable(self) -> bool:
        return bool(self.sha256 or self.blob)


class Bounded(httpx2.SyncByteStream):
    """A body up to a bound, so that one without an end does not fill the memory."""

    def __init__(self, body: httpx2.SyncByteStream, most: int, beyond: Trouble | None = None) -> None:
        self._body, self._most, self._beyond = body, most, beyond

    def __iter__(self) -> Iterator[bytes]:
        left = self._most
        for block in self._body:
            yield block[:left]
            left -= len(block)
            if left < 0:
                if self._beyond:
                    raise self._beyond
                return

    def close(self) -> None:
        self._body.close()


class Hub:
    """One revision of one repository, asked for with one token or none."""

    def __init__(self, endpoint: str, token: str, repository: str, revision: str, retries: int) -> None:
        self.endpoint, self.repository, self.revision, self.retries = endpoint, repository, revision, retries
        self._token = token
        self._api = HfApi(endpoint=endpoint, token=token or False, user_agent=AGENT)
        # Sent as they are, for what is counted is what lies on the disk.
        self._headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}
        trust = _authorities()
        # Redirects lead to other hosts, and httpx2 does not send the token along to those.
        try:
            hooks = {"response": [self._look]}
            self._client = httpx2.Client(follow_redirects=True, timeout=TIMEOUT, verify=trust, event_hooks=hooks)
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise FetchError(
                FetchReason.SETTINGS_INVALID,
                "a proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used: "
                f"give http://HOST:PORT ({type(error).__name__})",  # its text may show a password
            ) from error
        set_client_factory(lambda: self._client)

    def _look(self, response: httpx2.Response) -> None:
        """Bound what is no file's content, and raise what is an error, before anything else reads it."""
        body = cast(httpx2.SyncByteStream, response.stream)
        if response.status_code >= REDIRECTS:
            response.stream = Bounded(body, MOST_SAID)
        elif OF_A_FILE not in response.request.extensions:
            said = f"{_shown(response.url)} answers with more than {MOST_LISTED} bytes where a list of files is due"
            response.stream = Bounded(body, MOST_LISTED, Trouble(said))
        if not response.is_error:
            return
        try:
            hf_raise_for_status(response)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:  # JSON, but not as a hub's
            raise HfHubHTTPError(str(response.status_code), response=response) from error

    def files(self) -> dict[str, File | None]:
        """Every file of the revision by name; None where the hub, a mirror, lists no sizes."""
        sha, listed = self._patiently("its list of files", self._listing)
        if sha != self.revision:
            raise FetchError(
                FetchReason.REVISION_NOT_FOUND,
                f"asked for commit {self.revision} of {self.repository}, {self.endpoint} answers with "
                f"{self.words(str(sha))!a}: name the commit itself",
            )
        return listed

    def _listing(self) -> tuple[str | None, dict[str, File | None]]:
        info = self._api.model_info(self.repository, revision=self.revision, files_metadata=True, timeout=TIMEOUT.read)
        listed: dict[str, File | None] = {}
        for file in info.siblings or ():
            if not isinstance(file.rfilename, str):
                raise TypeError("a name that is no text")
            if file.lfs:  # blob_id is then the number of a pointer to it
                listed[file.rfilename] = _file(file.rfilename, file.lfs.size, file.lfs.sha256)
            else:
                known = file.size is not None
                listed[file.rfilename] = _file(file.rfilename, file.size, file.blob_id) if known else None
        return info.sha, listed

    def described(self, name: str) -> File:
        """A file as the headers describe it that it is sent with."""
        return self._patiently(name, lambda: self._headers_of(name))

    def _headers_of(self, name: str) -> File:
        with self._get(name, 0) as response:
            self._position(response, 0)  # else these are the headers of something else
            # Where the hub redirects, its own answer names size and hash of what that leads to.
            headers = next((r.headers for r in response.history if "X-Linked-Size" in r.headers), response.headers)
            size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
            etag = headers.get("X-Linked-Etag") or headers.get("ETag") or ""
            file = _file(name, int(size), etag.strip('"'))
            if not file.checkable and "html" in response.headers.get("Content-Type", "").lower():
                raise ValueError("a page, where nothing would tell it from the file")
            return file

    def read(self, file: File, start: int) -> Generator[tuple[int, bytes]]:
        """(position, bytes) from `start` on, or from 0 where the server cannot go on; raises `Trouble` when cut.

        Ends behind the first chunk that reaches the file's end: what is sent beyond it is not received.
        """
        with self._get(file.name, start) as response:
            position = self._position(response, start)
            for chunk in response.iter_bytes():
                yield position, chunk
                position += len(chunk)
                if position > file.size:
                    return
        if position < file.size:
            raise Trouble(f"{self.endpoint} ended {file.name} after {position} of {file.size} bytes")

    @contextmanager
    def _get(self, name: str, start: int) -> Iterator[httpx2.Response]:
        url = hf_hub_url(self.repository, name, revision=self.revision, endpoint=self.endpoint)
        headers = self._headers | ({"Range": f"bytes={start}-"} if start else {})
        with (
            self._asking(name),
            self._client.stream("GET", url, headers=headers, extensions={OF_A_FILE: True}) as answer,
        ):
            yield answer

    def _position(self, response: httpx2.Response, start: int) -> int:
        """Where the body begins."""
        if response.status_code == PART:
            said = response.headers.get("Content-Range", "")
            if re.match(rf"bytes {start}-\d+/", said):
                return start
            raise Trouble(f"asked for bytes from {start} on, {_shown(response.url)} sends {self.words(said)!a}")
        if response.status_code != WHOLE:
            raise Trouble(f"{_shown(response.url)} answers {response.status_code} without a file")
        if start:
            log.warning("%s cannot go on where it was cut: starting from the beginning", _shown(response.url))
        return 0

    def _patiently(self, what: str, ask: Callable[[], Answer]) -> Answer:
        patience = Patience(self.retries)
        while True:
            try:
                with self._asking(what):
                    return ask()
            except Trouble as trouble:
                patience.wait(trouble)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Errors of the library and the network, as ours."""
        try:
            yield
        except HfHubHTTPError as error:
            raise self._refusal(error, what) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise self._failure(error, what) from error
        except HFValidationError as error:  # before anything is asked
            raise FetchError(FetchReason.REPOSITORY_INVALID, f"{self.repository} is no repository: {error}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FetchError(
                FetchReason.HUB_ANSWER_INVALID,
                f"{self.endpoint} answers as no hub does when asked for {what} of {self.repository} "
                f"({type(error).__name__}); check the endpoint, and whether a proxy answers in its place",
            ) from error

    def _failure(self, error: Exception, what: str) -> FetchError:
        """A request that was not answered, or not to its end."""
        if untrusted := _untrusted(error):
            return FetchError(
                FetchReason.CERTIFICATE_UNTRUSTED,
                f"the certificate that answers for {self.endpoint} is not trusted ({self.words(untrusted)}); "
                "name a file with its authority's certificate in SSL_CERT_FILE",
            )
        cause = f"{type(error).__name__}: {self.words(str(error))}" if str(error) else type(error).__name__
        who = f"the proxy to {self.endpoint}" if isinstance(error, httpx2.ProxyError) else self.endpoint
        return Trouble(
            f"{who} did not answer, or not to the end, when asked for {what} of {self.repository} ({cause})",
            remedy="check the endpoint, the proxy settings and that egress to it is open",
        )

    def _refusal(self, error: HfHubHTTPError, what: str) -> FetchError:
        """An answer that is an error."""
        status, url = error.response.status_code, error.response.url
        code = f"{status}: {self.words(error.server_message)}" if error.server_message else str(status)
        elsewhere = url.host != httpx2.URL(self.endpoint).host or url.port != httpx2.URL(self.endpoint).port
        # A redirect is signed for minutes: asked again, the hub signs another.
        if status in BUSY or status >= FAILED or elsewhere:
            return Trouble(
                f"{_shown(url)} answers {code} for {what} of {self.repository}",
                wait=asked_to_wait(error.response.headers),
            )
        if status in {UNAUTHORIZED, FORBIDDEN} or isinstance(error, GatedRepoError):
            return FetchError(FetchReason.UNAUTHORIZED, self._unauthorized(code))
        at = f"{self.repository} at {self.endpoint} ({code})"
        if isinstance(error, RevisionNotFoundError):
            return FetchError(
                FetchReason.REVISION_NOT_FOUND, f"no commit {self.revision} of {at}: take one from its history"
            )
        if isinstance(error, RemoteEntryNotFoundError):
            return FetchError(FetchReason.FILE_MISSING, f"{what} is listed but not there in {at}: use another hub")
        if isinstance(error, RepositoryNotFoundError) or status == NOT_FOUND:
            hidden = "this token may not see it" if self._token else "it is shown to some tokens only (HF_TOKEN)"
            return FetchError(
                FetchReason.REPOSITORY_NOT_FOUND, f"no repository {at}: check name and endpoint; or {hidden}"
            )
        return FetchError(FetchReason.HUB_REFUSED, f"asked for {what}, refused: {at}; check the endpoint")

    def _unauthorized(self, code: str) -> str:
        at = f"{self.repository} at {self.endpoint} ({code})"
        if self._token:
            return (
                f"the token in HF_TOKEN may not read {at}: give one that may, after agreeing to a gated model's terms"
            )
        return f"nobody reads {at} without a token: give one in HF_TOKEN; a name that does not exist is answered so too"

    def words(self, said: str) -> str:
        """Somebody else's words: one line, not long, and without the token if they repeat it."""
        line = " ".join(said.split())
        return brief(line.replace(self._token, "[token]") if self._token else line)


def _file(name: str, size: object, announced: object) -> File:
    """Raises `TypeError` for a size that is none; a hash of another kind says nothing."""
    if not isinstance(size, int) or size < 0:
        raise TypeError("a size that is no number")
    said = announced if isinstance(announced, str) else ""
    return File(name, size, said if SHA256.fullmatch(said) else "", said if BLOB.fullmatch(said) else "")


def _authorities() -> ssl.SSLContext | bool:
    """Whom SSL_CERT_FILE says to trust; True: whom the system trusts.

    Made here, because ssl.create_default_context() is strict from Python 3.13 on, and the authorities that companies
    run for themselves often lack what strictness asks for.
    """
    file = os.environ.get("SSL_CERT_FILE", "")
    if not file:
        return True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror if error.filename or not isinstance(error, ssl.SSLError) else "it holds no certificate"
        raise FetchError(
            FetchReason.CERTIFICATE_UNTRUSTED,
            f"SSL_CERT_FILE={file} cannot be used ({why}); it names a PEM file with the certificates of authorities",
        ) from error
    return context


def _untrusted(error: BaseException | None) -> str:
    """Why a certificate was refused, if that is what happened."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""


def _shown(url: httpx2.URL) -> str:
    """Without the query, which holds a signature that opens the file to anybody."""
    return str(url.copy_with(query=None, fragment=None, userinfo=b""))
