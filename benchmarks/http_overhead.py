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
from kit.texts import mixed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--passages", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    model = models.bert("22m")
    load = mixed(given.passages)
    raw = body(load)
    http: list[float] = []
    answers: list[dict[str, Any]] = []
    with Server(model) as server, Contestant("the engine alone", "engine", model) as engine:

        def over_http() -> None:
            with Client(server) as client:  # anew: a connection that waits for the engine's turn is closed
                seconds, answer = client.rank(raw)
            http.append(seconds)
            answers.append(answer)

        over_http()
        http.clear()
        engine.run(load)
        engine.forget()
        for number in range(given.rounds):
            turns = [over_http, lambda: engine.run(load)]
            for turn in turns[:: -1 if number % 2 else 1]:  # neither always goes first
                turn()
    logits = {each["index"]: each["logit"] for each in answers[-1]["rankings"]}
    off = max(abs(logits[n] - score) for n, score in enumerate(engine.last["scores"]))
    ratios = [a / b for a, b in zip(http, engine.seconds, strict=True)]
    rows = [
        (engine.name, engine.median, min(engine.seconds), ""),
        ("over HTTP", statistics.median(http), min(http), ""),
        ("overhead", f"{statistics.median(http) / engine.median - 1:+.1%}",
         f"{min(http) / min(engine.seconds) - 1:+.1%}", f"{statistics.median(ratios) - 1:+.1%}"),
    ]  # fmt: skip
    title = f"22m: 1 query x {given.passages} passages, {engine.last['tokens']:,} tokens, {given.rounds} rounds"
    notes = [f"{len(raw) / 1024:.0f} KiB of JSON; greatest difference of the scores {off:.2g}"]
    show((title, "median", "least", "median of the rounds' ratios"), rows, notes)


if __name__ == "__main__":
    main()
