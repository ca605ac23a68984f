"""A 300M Llama made bidirectional, as NVIDIA's rerankers are, beside transformers: `make bench NAME=llama`.

Prints seconds, ratio and the share of the machine's bf16 matrix rate: wide layers should leave little else. The peer is
treated well: sorted by length, in small batches, with SDPA and all cores.
"""

from __future__ import annotations

import argparse
import sys

from kit import models
from kit.bound import Bound, flops, shapes
from kit.report import number_text, ratio, share, show
from kit.rounds import Contestant, compete, difference, paired, spread
from kit.texts import mixed

from reranker_runtime.models.registry import describe


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--passages", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    model = models.llama("300m", hidden=1024, layers=18, heads=16, key_heads=4, feed_forward=4096)
    blueprint = describe(model)
    ours = Contestant("this engine, bf16", "engine", model, {"NIM_PRECISION": "bf16"})
    peer = {"dtype": "bfloat16", "batch": "8"}
    others = [Contestant("transformers, bf16, sorted, 8 at a time", "llama", model, peer)]
    bound = Bound(shapes(blueprint))
    competed, absent = compete([ours, *others], mixed(given.passages, models.words()), given.rounds, bound.measure)
    if ours not in competed:
        sys.exit(absent[0])
    asked, work = ours.last["tokens"], flops(blueprint, ours.last["computed"], ours.last["rows"])
    rows = [
        (
            each.name,
            each.median,
            ratio(paired(ours, each)),
            asked / each.median,
            share(work / each.median / bound.best),
            "0" if each is ours else number_text(difference(ours, each)),
        )
        for each in competed
    ]
    rows.append(("the bound: matrix products alone at the bf16 peak", work / bound.best, "", "", "100%", ""))
    title = f"300M Llama: 1 query x {given.passages} passages, {asked:,} tokens, {given.rounds} rounds"
    peak = f"bf16 peak {bound.best / 1e12:.2f} TFLOP/s; attention is not counted among the {work / 1e12:.1f} TFLOP"
    notes = [peak, f"standard deviation of the scores {spread(ours):.2g}", *absent]
    show((title, "seconds", "by ours", "tokens/s", "bf16 peak", "scores differ"), rows, notes)


if __name__ == "__main__":
    main()
