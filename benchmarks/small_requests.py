"""Small requests beside a large one: `make bench NAME=small-requests`.

Prints how long requests of ten passages take, alone on the server and beside a client that always has one of 512 in
flight, and how long they wait in units of a batch: a fair scheduler lets them in at the next batches, and does not make
them wait for the large one to end. A real server on the loopback, a thread for each client.
"""

from __future__ import annotations

import argparse
import statistics
import threading
from dataclasses import dataclass, field

from kit import models
from kit.report import percentile, show
from kit.server import Client, Server, body, mean, quantile
from kit.texts import mixed


@dataclass
class Run:
    """What clients saw, and the server counted."""

    clients: int
    beside: bool
    """A large request."""
    small: list[float] = field(default_factory=list)
    large: list[float] = field(default_factory=list)
    batch: float = 0.0
    """Mean seconds of a batch."""
    waits: tuple[float, float] = (0.0, 0.0)
    """p50 and p99 of the seconds until a request's first row was taken, of all requests."""


def measure(server: Server, run: Run, count: int, small: bytes, large: bytes) -> Run:
    """So many requests from each client."""
    over, begun = threading.Event(), threading.Event()

    def one_client() -> None:
        with Client(server) as client:
            run.small.extend([client.rank(small)[0] for _ in range(count)])

    def large_client() -> None:
        with Client(server) as client:
            while not over.is_set():
                begun.set()
                run.large.append(client.rank(large)[0])

    before = server.metrics()
    beside = threading.Thread(target=large_client)
    if run.beside:
        beside.start()
        begun.wait()
    clients = [threading.Thread(target=one_client) for _ in range(run.clients)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    over.set()
    if run.beside:
        beside.join()
    after = server.metrics()
    run.batch = mean(before, after, "reranker_batch_seconds")
    run.waits = tuple(quantile(before, after, "reranker_queue_seconds", part) for part in (0.5, 0.99))  # type: ignore[assignment]
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=20, help="of each client")
    parser.add_argument("--small", type=int, default=10, help="passages")
    parser.add_argument("--large", type=int, default=512, help="passages")
    given = parser.parse_args()
    small, large = body(mixed(given.small)), body(mixed(given.large))
    with Server(models.bert("22m")) as server:
        with Client(server) as warm:
            alone = [warm.rank(large)[0] for _ in range(2)][-1]
            tokens = warm.rank(small)[1]["usage"]["total_tokens"]
        runs = [
            measure(server, Run(clients, beside), given.requests, small, large)
            for clients in (1, given.clients)
            for beside in (False, True)
        ]
    idle = statistics.median(runs[0].small)
    rows = [
        (
            f"{run.clients} client{'s' * (run.clients > 1)}{', beside a large request' * run.beside}",
            *(1000 * percentile(run.small, percent) for percent in (50, 99)),
            *((percentile(run.small, percent) - idle) / run.batch for percent in (50, 99)),
            *(wait / run.batch for wait in run.waits),
            1000 * run.batch,
            statistics.median(run.large) if run.large else None,
        )
        for run in runs
    ]
    columns = ("p50 ms", "p99 ms", "longer, batches p50", "p99", "wait, batches p50", "p99", "batch ms", "large, s")
    title = f"{given.small} passages, {tokens:,} tokens; {given.requests} a client"
    notes = [
        f"the large request alone takes {alone:.2f} s",
        "longer: than one small request on the idle server, by the clients' clocks",
        "wait: from tokenised to the first row taken, of all requests, by the server's histogram, interpolated",
    ]
    show((title, *columns), rows, notes)


if __name__ == "__main__":
    main()
