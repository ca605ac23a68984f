"""How much to score at once, and on how many cores: `make bench NAME=batching`.

Prints the engine with several token budgets, and with one worker on all cores instead of one a core: the reasons for
the defaults in `engine/hardware.py`. BERT cross-encoders with random weights, passages of mixed lengths.
"""

from __future__ import annotations

import argparse
import os
import sys

from kit import models
from kit.report import ratio, show
from kit.rounds import Contestant, compete, paired
from kit.texts import mixed

BUDGETS = (256, 512, 1024, 2048, 4096, 8192)
DEFAULT = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("models", nargs="*", default=["22m", "110m"], help="22m or 110m")
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    for name in given.models:
        model = models.bert(name)

        def contestant(text: str, model=model, **options: int) -> Contestant:  # noqa: ANN001 - a Path
            return Contestant(text, "engine", model, {key: str(value) for key, value in options.items()})

        each_core = {
            budget: contestant(f"{budget:,} tokens, {cores} workers of one thread", RERANKER_BATCH_TOKENS=budget)
            for budget in BUDGETS
        }
        together = [
            contestant(
                f"{budget:,} tokens, one worker of {cores} threads", RERANKER_BATCH_TOKENS=budget, RERANKER_WORKERS=1
            )
            for budget in (DEFAULT, cores * DEFAULT)
        ]
        competed, absent = compete([*each_core.values(), *together], mixed(given.passages), given.rounds)
        if absent:
            sys.exit(absent[0])
        default = each_core[DEFAULT]
        title = f"{name}: {given.passages} passages, {default.last['tokens']:,} tokens, {given.rounds} rounds"
        rows = [(one.name, one.median, ratio(paired(default, one)), min(one.seconds)) for one in competed]
        show((title, "seconds", f"by {DEFAULT:,}", "least"), rows)


if __name__ == "__main__":
    main()
