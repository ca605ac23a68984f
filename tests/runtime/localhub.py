"""A hub on loopback that serves folders, as huggingface.co serves repositories: what the runtime asks of it, no more.

    python tests/runtime/localhub.py --root DIR --port 9000

DIR/OWNER/NAME/REVISION holds the files of a commit; REVISION is 40 hexadecimal digits. Large files and safetensors are
redirected to a second port with a signature in the URL, as to a CDN, which refuses whoever sends it a token.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import signal
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, TextIO
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1_000_000
"""Bytes from which a file is kept in LFS."""
BLOCK = 65_536
TEN_SECONDS = 10.0


@dataclass
class Faults:
    """What a hub may do to those who ask it; tests set these while it runs."""

    cut_after: int | None = None
    """Close the connection behind so many bytes of a large file: once."""
    hold_after: int | None = None
    """Send so many bytes of a large file and no more until `released` is set."""
    released: threading.Event = field(default_factory=threading.Event)
    holds: list[tuple[int, threading.Event]] = field(default_factory=list)
    """The same of the next downloads of large files, each with an event of its own."""
    answers: list[tuple[str, int, bytes, dict[str, str]]] = field(default_factory=list)
    """What the next request whose path ends so is answered with instead: status, body, headers."""
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses and headers that the hub answers its next requests with instead."""
    cdn_refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """The same of the CDN."""
    damaged: list[str] = field(default_factory=list)
    """Names of files of which the next download has a wrong byte."""
    also_listed: list[dict[str, Any]] = field(default_factory=list)
    """What the listing says of files that are not there."""
    lists_sizes: bool = True
    resumes: bool = True
    login_page: bool = False
    """Answer everything with a page of HTML, as a proxy in between may."""
    answers_commit: str = ""
    """Another commit than the one asked for, as if that were a branch's name."""


@dataclass
class Asked:
    """One request, as it was answered."""

    port: str
    method: str
    path: str
    range: str = ""
    authorized: bool = False
    status: int = 0
    sent: int = 0
    """Bytes of the body that were handed to the network."""


class LocalHub:
    """Both ports, serving until closed."""

    def __init__(
        self,
        root: Path,
        *,
        port: int = 0,
        cdn_port: int = 0,
        token: str = "",
        tls: tuple[Path, Path] | None = None,
        log: TextIO | None = None,
    ) -> None:
        self.root, self.token, self.faults = root, token, Faults()
        self.asked: list[Asked] = []
        self.holding = 0
        self.signature = secrets.token_hex(8)
        self._log = log
        self._changed = threading.Condition()
        self._servers = [_Server(self, port, HubHandler, tls), _Server(self, cdn_port, CdnHandler, tls)]
        scheme = "https" if tls else "http"
        host = "localhost" if tls else "127.0.0.1"
        self.url, self.cdn = (f"{scheme}://{host}:{server.server_port}" for server in self._servers)

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.released.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def arrived(self, asked: Asked) -> None:
        with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()

    def answered(self, asked: Asked) -> None:
        with self._changed:
            if self._log:
                print(json.dumps(asdict(asked)), file=self._log, flush=True)
            self._changed.notify_all()

    def held(self) -> None:
        with self._changed:
            self.holding += 1
            self._changed.notify_all()

    def wait(self, fact: Callable[[], bool]) -> bool:
        """Until a fact about the requests holds; False when it does not in time."""
        with self._changed:
            return self._changed.wait_for(fact, timeout=60)

    def sent(self, name: str) -> list[tuple[str, int]]:
        """(range asked for, bytes sent) of each time that a file of this name was downloaded, from either port."""
        return [(a.range, a.sent) for a in self.asked if a.path.endswith(f"/{name}") and a.status in (200, 206)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: LocalHub, port: int, handler: type[Handler], tls: tuple[Path, Path] | None) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", port), handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # whoever hangs up is no error of the hub
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """What both ports share."""

    protocol_version = "HTTP/1.1"
    port = ""
    server: _Server
    timeout = TEN_SECONDS

    @property
    def hub(self) -> LocalHub:
        return self.server.hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        token = self.headers.get("Authorization", "")
        self.asked = Asked(self.port, self.command, unquote(parts.path), self.headers.get("Range", ""), bool(token))
        self.hub.arrived(self.asked)
        try:
            if answer := next((a for a in self.hub.faults.answers if self.asked.path.endswith(a[0])), None):
                self.hub.faults.answers.remove(answer)
                self.say(*answer[1:])
            elif refusals := self.refusals():
                status, headers = refusals.pop(0)
                self.refuse(status, headers=headers)
            elif self.hub.faults.login_page:
                self.say(200, b"<!doctype html><title>Please log in</title>", {"Content-Type": "text/html"})
            else:
                self.answer(unquote(parts.path), parse_qs(parts.query), token.removeprefix("Bearer "))
        finally:
            self.hub.answered(self.asked)

    def refusals(self) -> list[tuple[int, dict[str, str]]]:
        return self.hub.faults.refusals

    def answer(self, path: str, query: dict[str, list[str]], token: str) -> None:
        raise NotImplementedError

    def refuse(self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> None:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "of a proxy's own making"
        body = json.dumps({"error": message or phrase}).encode()
        codes = {"X-Error-Code": code} if code else {}
        said = {"X-Error-Message": message} if message else {}
        self.say(status, body, {"Content-Type": "application/json"} | codes | said | (headers or {}))

    def say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.start(status, len(body), headers)
        self.send(body)

    def start(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.asked.status = status
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, block: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(block)
            self.asked.sent += len(block)

    def file(self, path: Path, headers: dict[str, str]) -> None:
        """The file, or its end if asked for, with whatever faults are due."""
        faults, content = self.hub.faults, path.read_bytes()
        if path.name in faults.damaged:
            faults.damaged.remove(path.name)
            content = bytes([content[0] ^ 1]) + content[1:]
        start, status = 0, 200
        if self.asked.range and faults.resumes:
            start, status = int(self.asked.range.removeprefix("bytes=").removesuffix("-")), 206
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.start(status, len(content) - start, headers)
        large = is_large(path)
        hold_after, released = faults.holds.pop(0) if large and faults.holds else (faults.hold_after, faults.released)
        for at in range(start, len(content), BLOCK):
            block = content[at : at + BLOCK]
            if large and faults.cut_after is not None and self.asked.sent + len(block) >= faults.cut_after:
                self.send(block[: faults.cut_after - self.asked.sent])
                faults.cut_after = None
                self.close_connection = True
                return
            if large and hold_after is not None and self.asked.sent + len(block) >= hold_after:
                held = hold_after - self.asked.sent
                self.send(block[:held])
                self.hub.held()
                released.wait(60)
                block, hold_after = block[held:], None
            self.send(block)


class HubHandler(Handler):
    """The API's description of a commit, and its files."""

    port = "hub"

    def answer(self, path: str, query: dict[str, list[str]], token: str) -> None:
        match path.strip("/").split("/"):
            case ["api", "models", owner, name, "revision", revision]:
                if directory := self.commit(owner, name, revision, token):
                    self.describe(f"{owner}/{name}", directory, sizes="blobs" in query)
            case [owner, name, "resolve", revision, *rest] if rest:
                if directory := self.commit(owner, name, revision, token):
                    self.resolve(directory, "/".join(rest))
            case _:
                self.refuse(404, message="Sorry, we can't find the page you are looking for.")

    def commit(self, owner: str, name: str, revision: str, token: str) -> Path | None:
        """The directory, or None after refusing. What needs a token is hidden from those without one."""
        directory = self.hub.root / owner / name
        if token and self.hub.token and token != self.hub.token:
            self.refuse(401, message=f"Invalid credentials in Authorization header: {token}")
        elif not token and (self.hub.token or not directory.is_dir()):
            self.refuse(401, message="Invalid username or password.")
        elif not directory.is_dir():
            self.refuse(404, "RepoNotFound", "Repository not found")
        elif not (directory / revision).is_dir():
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return directory / revision
        return None

    def describe(self, repository: str, directory: Path, *, sizes: bool) -> None:
        faults = self.hub.faults
        files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
        siblings: list[dict[str, Any]] = list(faults.also_listed)
        for path in files:
            entry: dict[str, Any] = {"rfilename": path.relative_to(directory).as_posix()}
            if sizes and faults.lists_sizes:
                entry |= {"size": path.stat().st_size, "blobId": blob(path)}
                if is_large(path):
                    entry["lfs"] = {"sha256": sha256(path), "size": path.stat().st_size, "pointerSize": 134}
            siblings.append(entry)
        commit = faults.answers_commit or directory.name
        body = {"_id": "0", "id": repository, "modelId": repository, "sha": commit, "private": bool(self.hub.token)}
        self.say(200, json.dumps(body | {"siblings": siblings}).encode(), {"Content-Type": "application/json"})

    def resolve(self, directory: Path, name: str) -> None:
        path = directory / name
        if ".." in name.split("/") or not path.is_file():
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": directory.name, "Accept-Ranges": "bytes"}
        if not is_large(path):
            self.file(path, headers | {"ETag": f'"{blob(path)}"'})
            return
        place = path.relative_to(self.hub.root).as_posix()
        headers |= {"X-Linked-Etag": f'"{sha256(path)}"', "X-Linked-Size": str(path.stat().st_size)}
        self.say(302, b"", headers | {"Location": f"{self.hub.cdn}/{place}?X-Amz-Signature={self.hub.signature}"})


class CdnHandler(Handler):
    """Large files, for those who bring a signature and nothing else."""

    port = "cdn"

    def refusals(self) -> list[tuple[int, dict[str, str]]]:
        return self.hub.faults.cdn_refusals

    def answer(self, path: str, query: dict[str, list[str]], token: str) -> None:
        if token:
            self.refuse(400, message="Only one auth mechanism allowed")
        elif query.get("X-Amz-Signature") != [self.hub.signature]:
            self.refuse(403, message="SignatureDoesNotMatch")
        else:
            self.file(self.hub.root / path.strip("/"), {"Accept-Ranges": "bytes"})


def is_large(path: Path) -> bool:
    return path.suffix in {".safetensors", ".bin", ".onnx"} or path.stat().st_size >= LARGE


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def blob(path: Path) -> str:
    """What git calls the file; in LFS, it would be its pointer."""
    content = path.read_bytes() if not is_large(path) else f"oid sha256:{sha256(path)}\n".encode()
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of OWNER/NAME/REVISION")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--cdn-port", type=int, default=0)
    parser.add_argument("--token", default="", help="ask for this one")
    parser.add_argument("--cert", type=Path, help="speak TLS with this certificate")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--cut-after", type=int, metavar="BYTES", help="cut the first large file there")
    parser.add_argument("--log", type=Path, help="append every request as a line of JSON")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has those in the background ignore it
    log = given.log.open("a") if given.log else None
    tls = (given.cert, given.key) if given.cert else None
    with (
        LocalHub(
            given.root.resolve(), port=given.port, cdn_port=given.cdn_port, token=given.token, tls=tls, log=log
        ) as hub,
        suppress(KeyboardInterrupt),
    ):
        hub.faults.cut_after = given.cut_after
        print(hub.url, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
