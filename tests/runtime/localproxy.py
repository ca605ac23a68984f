"""A forward proxy on loopback: CONNECT for https, whole URLs for http. It remembers what went through."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

TEN_SECONDS = 10.0


class LocalProxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.passed: list[str] = []
        """HOST:PORT of each tunnel, and the URL of each request without its query."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalProxy
    timeout = TEN_SECONDS

    def log_message(self, *_: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.server.passed.append(self.path)
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), TEN_SECONDS) as upstream:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(upstream, self.connection), daemon=True)
            back.start()
            _pump(self.connection, upstream)
            back.join()
        self.close_connection = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.passed.append(f"{parts.scheme}://{parts.netloc}{parts.path}")
        upstream = http.client.HTTPConnection(parts.netloc, timeout=TEN_SECONDS)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "proxy-connection"}
            upstream.request("GET", f"{parts.path}?{parts.query}", headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        finally:
            upstream.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(65_536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
