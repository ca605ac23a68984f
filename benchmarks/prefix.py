"""What a shared prompt saves: `make bench NAME=prefix`.

Causal rerankers read instruction and query before every passage, and see them alike each time, so the engine computes
them once per request. Prints the same request with and without. Qwen3-Reranker-0.6B's sizes, but fewer layers by
default: the ratio is one of tokens, and the same for any depth.
"""

from __future__ import annotations

import argparse
import sys

from kit import models
from kit.bound import Bound, flops, shapes
from kit.report import number_text, ratio, share, show
from kit.rounds import Contestant, compete, difference, paired, spread
from kit.texts import even

from reranker_runtime.models.registry import describe


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=64, help="of each passage alone")
    parser.add_argument("--layers", type=int, default=8, help="28 in Qwen3-Reranker-0.6B")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    model = models.qwen3(given.layers)
    blueprint = describe(model)
    ours = Contestant("prompt computed once", "engine", model, {"NIM_PRECISION": "bf16"})
    whole = Contestant("prompt computed for each passage", "engine", model, {"NIM_PRECISION": "bf16", "prefix": "off"})
    bound = Bound(shapes(blueprint))
    load = even(given.passages, given.tokens, models.words())
    competed, absent = compete([ours, whole], load, given.rounds, bound.measure)
    if absent:
        sys.exit(absent[0])
    rows = []
    for each in competed:
        work = flops(blueprint, each.last["computed"], each.last["rows"])
        cells = (each.name, each.median, ratio(paired(ours, each)), each.last["computed"])
        off = number_text(difference(ours, each)) if each is whole else "0"
        rows.append((*cells, share(work / each.median / bound.best), off))
    title = f"Qwen3, {given.layers} layers: {given.passages} passages of {given.tokens} tokens, {given.rounds} rounds"
    saved = whole.last["computed"] / ours.last["computed"]
    notes = [
        f"tokens alone would give {saved:.2f}x: {whole.last['computed']:,} by {ours.last['computed']:,}",
        f"bf16 peak {bound.best / 1e12:.2f} TFLOP/s; standard deviation of the scores {spread(ours):.2g}",
    ]
    show((title, "seconds", "by ours", "tokens computed", "bf16 peak", "scores differ"), rows, notes)


if __name__ == "__main__":
    main()
