"""A real server on the loopback, and a client that costs as little as the standard library allows."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kit.texts import Load

HOST = "127.0.0.1"
START = 180.0
SAMPLE = re.compile(r"^(\w+?)(?:\{(.*)\})? (\S+)$")


class Server:
    """`reranker-runtime serve` for one model, at its defaults for a CPU."""

    def __init__(self, model: Path, **variables: str) -> None:
        self._model, self._variables = model, variables
        with socket.socket() as holder:
            holder.bind((HOST, 0))
            self.port = holder.getsockname()[1]

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NIM_", "RERANKER_"))}
        options = ["--model", str(self._model), "--device", "cpu", "--host", HOST, "--port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reranker_runtime", "serve", *options, "--internal-port", "0"],
            env=kept | {"NIM_LOG_LEVEL": "error"} | self._variables,
        )
        end = time.monotonic() + START
        while time.monotonic() < end and self._process.poll() is None:
            if self._ready():
                return self
            time.sleep(0.05)
        self._process.kill()
        sys.exit(f"the server was not ready after {START:.0f} seconds, or ended")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/v1/health/ready", timeout=10):
                return True
        except OSError:
            return False

    def metrics(self) -> dict[str, float]:
        """Every sample by its name, with its labels where it has some."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/v1/metrics", timeout=60) as answer:
            found = (SAMPLE.match(line) for line in answer.read().decode().splitlines())
        return {f"{one[1]}{{{one[2]}}}" if one[2] else one[1]: float(one[3]) for one in found if one}


class Client:
    """One connection that is kept open; the server closes it where nothing is asked for some seconds."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(HOST, server.port, timeout=300)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def rank(self, body: bytes) -> tuple[float, dict[str, Any]]:
        """Seconds from the first byte sent to the last received, and the answer."""
        begin = time.perf_counter()
        self._connection.request("POST", "/v1/ranking", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        raw = answer.read()
        seconds = time.perf_counter() - begin
        if answer.status != http.client.OK:
            sys.exit(f"the server answered {answer.status}: {raw.decode()}")
        return seconds, json.loads(raw)


def body(load: Load) -> bytes:
    passages = [{"text": passage} for passage in load.passages]
    return json.dumps({"query": {"text": load.query}, "passages": passages, "truncate": "END"}).encode()


def quantile(before: dict[str, float], after: dict[str, float], name: str, part: float) -> float:
    """By a histogram's growth between two readings, straight lines within its buckets."""
    found = re.compile(rf'{name}_bucket{{le="(.*)"}}')
    pairs = [(float(match[1]), after[key] - before.get(key, 0)) for key in after if (match := found.fullmatch(key))]
    pairs.sort()
    wanted = part * pairs[-1][1]
    low, under = 0.0, 0.0
    for high, count in pairs:
        if count >= wanted and count > under:
            return low if high == float("inf") else low + (high - low) * (wanted - under) / (count - under)
        low, under = high, count
    return low


def mean(before: dict[str, float], after: dict[str, float], name: str) -> float:
    """Of what a histogram saw between two readings."""
    count = after[f"{name}_count"] - before[f"{name}_count"]
    return (after[f"{name}_sum"] - before[f"{name}_sum"]) / count if count else 0.0
