"""Sockets that speak to a server without a client's manners, and what the server counts of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any, Self

GOOD = b'{"query": {"text": "w1"}, "passages": [{"text": "w2"}, {"text": "w3"}]}'


def post(body: bytes = GOOD, *headers: str, path: str = "/v1/ranking") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode()


class Peer:
    """A socket, and what comes back on it."""

    def __init__(self, port: int, buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(30)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Peer:
        # A server that lets go of us may do so while we send.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def answers(self, count: int) -> list[tuple[int, dict[str, str], Any]]:
        """Status, headers in lower case and JSON of each."""
        stream = self.socket.makefile("rb")
        found = []
        for _ in range(count):
            line = stream.readline()
            if not line:
                break
            headers = {k.lower(): v for k, v in http.client.parse_headers(stream).items()}
            body = stream.read(int(headers["content-length"]))
            found.append((int(line.split()[1]), headers, json.loads(body)))
        return found

    def rest(self) -> bytes:
        """Whatever comes until the server closes."""
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := self.socket.recv(65536):
                parts.append(part)
        return b"".join(parts)


def refused(peer: Peer, status: int, said: str) -> dict[str, str]:
    """The peer is told in NIM's shape, and the connection ends; the headers."""
    [(got, headers, body)] = peer.answers(2)
    assert got == status, body
    assert set(body) == {"object", "message", "detail", "type"}
    assert body["object"] == "error"
    assert isinstance(body["detail"], dict)
    assert said in body["message"]
    assert headers["connection"] == "close"
    return headers


def sample(server: Any, line: str) -> float:
    """One value, asked for at the internal port: the API port may be full."""
    asked = http.client.HTTPConnection("127.0.0.1", server.internal_port, timeout=60)
    asked.request("GET", "/metrics", headers={"Connection": "close"})
    lines = asked.getresponse().read().decode().splitlines()
    return next((float(one.rpartition(" ")[2]) for one in lines if one.rpartition(" ")[0] == line), 0.0)


def dropped(server: Any, cause: str) -> float:
    return sample(server, f'reranker_dropped_connections_total{{cause="{cause}",port="api"}}')


def connections(server: Any) -> float:
    return sample(server, 'reranker_connections{port="api"}')
