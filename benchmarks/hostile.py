"""What peers who mean no good leave behind: `make bench NAME=hostile`.

For thirty seconds connections send one byte a second, half of them of headers, half of a body, at the server's own
timeouts; then a thousand requests are given up as soon as they are sent, and two hundred bodies are too large. Prints
scores, memory and the time of a ranking before and after. A part of the same load goes first: what an allocator keeps
for the next time is no leak. Ends with an error where scores differ, memory grew by more than a twentieth, or an
oversized body was answered otherwise than 413.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import statistics
import time
from collections.abc import Iterator

from kit import models
from kit.report import hold, show
from kit.server import HOST, Client, Server, body
from kit.texts import mixed

HEAD = f"POST /v1/ranking HTTP/1.1\r\nHost: {HOST}\r\n"
LIMIT = 1 << 20
GROWTH = 1.05


def drip(server: Server, connections: int, seconds: int) -> int:
    """One byte a second over each; how many were let go."""
    headers, slow_body = HEAD.encode() * 9, f"{HEAD}Content-Length: 999\r\n\r\n".encode()
    peers = [socket.create_connection((HOST, server.port)) for _ in range(connections)]
    for peer in peers[::2]:
        peer.sendall(slow_body)
    let_go = set()
    for second in range(seconds):
        for number, peer in enumerate(peers):
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                try:
                    if not peer.recv(4096):
                        let_go.add(number)
                except ConnectionError:
                    let_go.add(number)
            if number not in let_go:
                with contextlib.suppress(OSError):
                    peer.send(headers[second : second + 1] if number % 2 else b" ")
        time.sleep(1)
    for peer in peers:
        peer.close()
    return len(let_go)


def give_up(server: Server, requests: int, raw: bytes) -> None:
    """Hang up as soon as the request is out."""
    whole = f"{HEAD}Content-Length: {len(raw)}\r\n\r\n".encode() + raw
    for _ in range(requests):
        with socket.create_connection((HOST, server.port)) as peer:
            peer.sendall(whole)


def exceed(server: Server, requests: int) -> list[int]:
    """Statuses of bodies twice as large as is allowed, half of them in pieces of no stated length."""
    statuses = []

    def pieces() -> Iterator[bytes]:
        yield from [b"x" * (LIMIT // 8)] * 16

    for number in range(requests):
        connection = http.client.HTTPConnection(HOST, server.port, timeout=60)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer may come before the body's end
            connection.request("POST", "/v1/ranking", pieces() if number % 2 else b"x" * 2 * LIMIT)
        statuses.append(connection.getresponse().status)
        connection.close()
    return statuses


def look(server: Server, raw: bytes) -> tuple[str, float, float]:
    """Scores, seconds of a ranking, memory."""
    with Client(server) as client:
        taken = [client.rank(raw) for _ in range(9)]
    return (
        json.dumps(taken[-1][1]),
        statistics.median(t for t, _ in taken),
        server.metrics()["process_resident_memory_bytes"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--aborted", type=int, default=1000)
    parser.add_argument("--oversized", type=int, default=200)
    given = parser.parse_args()
    raw = body(mixed(20))
    # fp32: in bf16 a score may differ in its last bits with the batch it falls into.
    with Server(models.bert("22m"), RERANKER_MAX_BODY_BYTES=str(LIMIT), NIM_PRECISION="fp32") as server:
        drip(server, given.connections // 5, 2)
        give_up(server, given.aborted // 5, raw)
        exceed(server, given.oversized // 5)
        scores, seconds, memory = look(server, raw)
        let_go = drip(server, given.connections, given.seconds)
        give_up(server, given.aborted, raw)
        statuses = exceed(server, given.oversized)
        scores_after, seconds_after, memory_after = look(server, raw)
    rows = [
        ("ms of a ranking", 1000 * seconds, 1000 * seconds_after, f"{seconds_after / seconds - 1:+.1%}"),
        ("resident memory, MiB", memory / 2**20, memory_after / 2**20, f"{memory_after / memory - 1:+.1%}"),
    ]
    notes = [
        f"scores are {'the same' if scores == scores_after else 'NOT the same'}",
        f"{let_go} of {given.connections} slow peers were let go in {given.seconds} s: headers get 10 s, bodies 60",
        f"oversized bodies were answered {', '.join(f'{statuses.count(s)} x {s}' for s in sorted(set(statuses)))}",
    ]
    title = f"{given.connections} slow peers, {given.aborted} aborted, {given.oversized} oversized"
    show((title, "before", "after", "change"), rows, notes)
    hold(
        {
            "the same scores": scores == scores_after,
            f"memory within {GROWTH - 1:.0%}": memory_after <= GROWTH * memory,
            "413 for each oversized body": set(statuses) == {413},
        }
    )


if __name__ == "__main__":
    main()
