"""Many connections with small requests: `make bench NAME=connections`.

Prints requests a second over HTTP, with so many connections that each always have one in flight, beside the engine in a
process of its own with as many threads that each always have one, by turns; then twice the connections, where every
answer must be a ranking or a clean 503, and the same at a server with so short a queue that there are 503s. The client
is one loop over raw sockets: it shares the machine with the server, and what it takes is told. Ends with an error where
less than nine tenths of the engine's throughput is left, or an answer is neither.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import selectors
import socket
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from kit import models
from kit.report import hold, show
from kit.rounds import Contestant
from kit.server import HOST, Server, body
from kit.texts import Load, even

SHARE = 0.9
"""Of the engine's throughput that connections must leave."""
SHORT = 8
"""Requests that may wait where some are to be refused."""
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
RETRY = re.compile(rb"retry-after: *[1-9]\d*\r?$", re.IGNORECASE | re.MULTILINE)
PATIENCE = 60.0


@dataclass
class Run:
    """One series of requests over HTTP."""

    seconds: float = 0.0
    client: float = 0.0
    """Seconds of processor time that the client took."""
    statuses: Counter[bytes] = field(default_factory=Counter)
    unclean: int = 0
    """Answers that are neither a ranking nor a 503 in NIM's shape that says when to come back."""


class Connection:
    """One that has a request in flight, or none any more."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request, self._got = request, bytearray()

    def ask(self) -> None:
        self._got.clear()
        self.socket.sendall(self._request)

    def status(self) -> bytes:
        """Of the answer, once it is whole; empty before."""
        part = self.socket.recv(1 << 16)
        if not part:
            return b"closed"
        self._got += part
        head, blank, rest = self._got.partition(b"\r\n\r\n")
        found = LENGTH.search(head) if blank else None
        return bytes(head[9:12]) if found and len(rest) >= int(found[1]) else b""

    def clean(self) -> bool:
        """Whether the answer is a ranking, or says in NIM's shape why there is none and when to come back."""
        head, _, rest = self._got.partition(b"\r\n\r\n")
        try:
            told = json.loads(rest)
        except ValueError:  # closed before its end
            return False
        if head[9:12] == b"200":
            return "rankings" in told
        again = RETRY.search(head)
        shaped = set(told) == {"object", "message", "detail", "type"} and told["object"] == "error"
        return head[9:12] == b"503" and shaped and bool(told["detail"].get("cause")) and again is not None


def ask(server: Server, raw: bytes, connections: int, requests: int) -> Run:
    """So many requests in all."""
    head = f"POST /v1/ranking HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}"
    request = head.encode() + b"\r\n\r\n" + raw
    run, selector = Run(), selectors.DefaultSelector()
    begin, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    left = requests - connections
    for _ in range(connections):
        connection = Connection(server.port, request)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.ask()
    while sum(run.statuses.values()) < requests:
        for key, _ in selector.select(PATIENCE):
            if status := key.data.status():
                run.statuses[status] += 1
                run.unclean += not key.data.clean()
                if left > 0 and status != b"closed":
                    left -= 1
                    key.data.ask()
                else:
                    selector.unregister(key.fileobj)
                    key.data.socket.close()
    run.seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    run.client = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return run


def turns(server: Server, engine: Contestant, load: Load, given: argparse.Namespace) -> list[Run]:
    """HTTP and engine by turns, after one of each that does not count."""
    raw, runs = body(load), []
    for number in range(-1, given.rounds):
        for over_http in (True, False)[:: -1 if number % 2 else 1]:  # neither always goes first
            if over_http:
                runs.append(ask(server, raw, given.connections, given.requests))
            else:
                engine.run(load)
        if number < 0:
            runs.clear()
            engine.forget()
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--requests", type=int, default=400, help="of one round")
    parser.add_argument("--passages", type=int, default=10)
    parser.add_argument("--words", type=int, default=16, help="of a passage")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    model, load = models.bert("22m"), even(given.passages, given.words)
    options = {"clients": str(given.connections), "requests": str(given.requests)}
    with Server(model) as server, Contestant("the engine alone", "crowd", model, options) as engine:
        runs = turns(server, engine, load, given)
        double = ask(server, body(load), 2 * given.connections, given.requests)
    with Server(model, NIM_MAX_QUEUE_SIZE=str(SHORT)) as server:
        refusing = ask(server, body(load), 2 * given.connections, given.requests)
    rates = [given.requests / run.seconds for run in runs]
    alone = [given.requests / seconds for seconds in engine.seconds]
    ratios = [http / own for http, own in zip(rates, alone, strict=True)]
    rows = [
        (engine.name, statistics.median(alone), max(alone), ""),
        (f"{given.connections} connections", statistics.median(rates), max(rates), ""),
        ("share", f"{statistics.median(rates) / statistics.median(alone):.1%}", f"{max(rates) / max(alone):.1%}",
         f"{statistics.median(ratios):.1%}"),
        (f"{2 * given.connections} connections", given.requests / double.seconds, "", ""),
    ]  # fmt: skip
    notes = [
        f"of both processors the client takes {statistics.median(run.client / run.seconds for run in runs) / 2:.1%}",
        f"answers to {2 * given.connections} connections: {told(double)}",
        f"the same where {SHORT} may wait: {told(refusing)}",
    ]
    title = f"22m: {given.passages} passages of {given.words} words, {given.rounds} rounds of {given.requests}"
    show((title, "requests/s, median", "most", "median of the rounds' ratios"), rows, notes)
    hold(
        {
            f"{SHARE:.0%} of the engine's throughput": statistics.median(ratios) >= SHARE,
            "no answer but rankings and clean 503s": not sum(run.unclean for run in (*runs, double, refusing)),
            f"503s where {SHORT} may wait": refusing.statuses[b"503"] > 0,
        }
    )


def told(run: Run) -> str:
    return ", ".join(f"{count} x {status.decode()}" for status, count in sorted(run.statuses.items()))


if __name__ == "__main__":
    main()
