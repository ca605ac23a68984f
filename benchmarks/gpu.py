"""A GPU's turn: 500 passages by a model of 1B parameters: `make bench NAME=gpu`.

Prints seconds, and the share of the GPU's own bf16 matrix rate measured in the same run, beside NVIDIA's headline of
1,750 ms for 500 passages on an H100. The sizes are llama-nemotron-rerank-1b-v2's, weights random. Without a GPU it says
so and ends well.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from kit import models
from kit.bound import flops, gpu_rate, shapes
from kit.report import share, show
from kit.texts import even

from reranker_runtime.engine.pool import Pool
from reranker_runtime.engine.rows import Truncate
from reranker_runtime.engine.scorer import Scorer
from reranker_runtime.models.registry import describe
from reranker_runtime.settings import read_settings

HEADLINE = 1.75
TEMPLATE = 16
"""Tokens of a row that are not its passage's: BOS, the prompt's own, and ten of the query."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("--passages", type=int, default=500)
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 256, 512], help="of a whole row, about")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here: nothing to measure")
        return
    blueprint = describe(models.llama("1b", hidden=2048, layers=16, heads=32, key_heads=8, feed_forward=8192))
    scorer = Scorer(blueprint, read_settings({"RERANKER_DEVICE": "cuda", "NIM_PRECISION": "bf16"}))
    pool = Pool(scorer)
    rows = []
    rate = 0.0
    for tokens in given.tokens:
        load = even(given.passages, tokens - TEMPLATE, models.words())
        seconds = []
        for number in range(given.rounds + 1):
            rate = max(rate, gpu_rate(shapes(blueprint)))
            begin = time.perf_counter()
            plan = pool.rank(load.query, load.passages, Truncate.END).plan
            if number:  # the first warms up
                seconds.append(time.perf_counter() - begin)
        lengths = [len(row.ids) for row in plan.rows]
        work = flops(blueprint, sum(lengths), len(lengths))
        median = statistics.median(seconds)
        name = f"{given.passages} passages of {statistics.mean(lengths):.0f} tokens"
        rows.append((name, median, min(seconds), plan.tokens / median, work / median / 1e12, median / HEADLINE))
    pool.end()
    table = [(*row[:4], share(row[4] * 1e12 / rate), f"{row[5]:.2f}x") for row in rows]
    columns = (f"1B Llama on {scorer.device}", "seconds", "least", "tokens/s", "bf16 peak", "of 1.75 s")
    notes = [
        f"bf16 peak {rate / 1e12:.0f} TFLOP/s, torch's linear at the model's shapes; attention is not counted as work",
        "1.75 s is NVIDIA's headline for 500 passages on an H100; its passages' length is not stated beside it",
    ]
    show(columns, table, notes)


if __name__ == "__main__":
    main()
