"""`reranker-runtime health`: what HEALTHCHECK asks with, by the settings that the server has."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import Any

import httpx
from certificates import Pair


def test_health_follows_the_server(models: Any, start: Any, run: Any) -> None:
    server = start(models.bert)
    settings = {"NIM_HTTP_API_PORT": server.port, "RERANKER_INTERNAL_PORT": server.internal_port}
    server.wait(lambda: httpx.get(f"{server.internal}/v1/health/live").status_code == 200, "live")
    alive, loading = run("health", "--live", **settings), run("health", **settings)
    assert alive.returncode == 0, alive.stderr
    assert "answered 200: Service is live." in alive.stdout
    if loading.returncode:  # a quick machine may have loaded it
        assert "answered 503: Service is not ready: " in loading.stderr
    server.ready()
    ready = run("health", **settings)
    assert ready.returncode == 0, ready.stderr
    assert ready.stdout.endswith(f":{server.internal_port}/v1/health/ready answered 200: Service is ready.\n")
    by_flags = run("health", "--internal-port", 0, "--port", server.port)
    assert by_flags.returncode == 0, by_flags.stderr
    assert server.stop() == 0
    gone = run("health", **settings)
    assert (gone.returncode, gone.stdout, gone.stderr.count("\n")) == (1, "", 1)
    assert f"no answer from 127.0.0.1:{server.internal_port}/v1/health/ready" in gone.stderr


def test_health_without_an_internal_port_speaks_tls(models: Any, start: Any, run: Any, tmp_path: Path) -> None:
    Pair.make("ranking.example").put(tmp_path)
    settings = {
        "RERANKER_INTERNAL_PORT": 0,
        "NIM_TLS_CERT_PATH": tmp_path / "tls.crt",
        "NIM_TLS_KEY_PATH": tmp_path / "tls.key",
    }
    server = start(models.bert, **settings)
    server.wait(lambda: httpx.get(f"https://127.0.0.1:{server.port}/v1/health/ready", verify=False).is_success, "ready")
    ready = run("health", **settings, NIM_HTTP_API_PORT=server.port)
    assert ready.returncode == 0, ready.stderr
    assert "Service is ready." in ready.stdout


def test_health_of_something_else_is_told_in_one_line(run: Any) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b"no\nsuch page")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        found = run("health", RERANKER_INTERNAL_PORT=other.server_port)
        other.shutdown()
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (1, "", 1)
    assert "answered 404: no such page" in found.stderr
    clash = run("health", "--port", 8000, "--internal-port", 8000)
    assert clash.returncode == 2
    assert "give them different ports" in clash.stderr
