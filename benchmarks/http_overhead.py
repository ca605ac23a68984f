"""What HTTP, JSON and the queue cost: `make bench NAME=http-overhead`.

Prints one large request over HTTP beside the engine alone in a process of its own with the same settings, by turns. The
engine's time holds tokenising and scoring; HTTP's that, and everything else until the client has the last byte.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from kit import models
from kit.report import show
from kit.rounds import Contestant
from kit.server import Client, Server, body
from kit.texts import Load, mixed


def turns(server: Server, engine: Contestant, load: Load, rounds: int, http: list[float]) -> dict[str, Any]:
    """Both by turns, after one turn that does not count; the server's last answer."""
    raw = body(load)
    answers: list[dict[str, Any]] = []

    def over_http() -> None:
        with Client(server) as client:  # anew: a connection that waits for the engine's turn is closed
            seconds, answer = client.rank(raw)
        http.append(seconds)
        answers.append(answer)

    over_http()
    http.pop()
    engine.run(load)
    engine.forget()
    for number in range(rounds):
        for turn in (over_http, lambda: engine.run(load))[:: -1 if number % 2 else 1]:  # neither always goes first
            turn()
    return answers[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--passages", type=int, default=512)
    parser.add_argument("--starts", type=int, default=4, help="of both processes: one may be lucky for its whole life")
    parser.add_argument("--rounds", type=int, default=3, help="of each start")
    given = parser.parse_args()
    model = models.bert("22m")
    load = mixed(given.passages)
    raw = body(load)
    http: list[float] = []
    alone: list[float] = []
    for _ in range(given.starts):
        with Server(model) as server, Contestant("the engine alone", "engine", model) as engine:
            answer = turns(server, engine, load, given.rounds, http)
        alone += engine.seconds
    logits = {each["index"]: each["logit"] for each in answer["rankings"]}
    off = max(abs(logits[n] - score) for n, score in enumerate(engine.last["scores"]))
    ratios = [a / b for a, b in zip(http, alone, strict=True)]
    rows = [
        (engine.name, statistics.median(alone), min(alone), ""),
        ("over HTTP", statistics.median(http), min(http), ""),
        ("overhead", f"{statistics.median(http) / statistics.median(alone) - 1:+.1%}",
         f"{min(http) / min(alone) - 1:+.1%}", f"{statistics.median(ratios) - 1:+.1%}"),
    ]  # fmt: skip
    size = f"{given.passages} passages, {engine.last['tokens']:,} tokens"
    title = f"22m: 1 query x {size}, {given.starts} x {given.rounds} rounds"
    starts = [ratios[begin : begin + given.rounds] for begin in range(0, len(ratios), given.rounds)]
    each = ", ".join(f"{statistics.median(start) - 1:+.1%}" for start in starts)
    notes = [
        f"by start of both processes: {each}",
        f"{len(raw) / 1024:.0f} KiB of JSON; greatest difference of the scores {off:.2g}",
    ]
    show((title, "median", "least", "median of the rounds' ratios"), rows, notes)


if __name__ == "__main__":
    main()
