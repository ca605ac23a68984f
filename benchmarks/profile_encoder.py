"""Where an encoder's time goes, by kind of operation: `make bench NAME=profile`.

Prints the share of matrix products, attention, norms, copies and everything else in one core's time, from torch's
profiler. One worker in this thread scores the batches that the scheduler would make; the profiler's own cost shows as
the difference of the last two lines.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import torch
from kit import models
from kit.bound import Bound, flops, shapes
from kit.report import share, show
from kit.texts import mixed
from torch.profiler import ProfilerActivity, profile

from reranker_runtime.engine.rows import Ask, Passage, Row, Truncate
from reranker_runtime.engine.scheduler import Scheduler, Work
from reranker_runtime.engine.scorer import Scorer
from reranker_runtime.models.registry import describe
from reranker_runtime.settings import read_settings

PRODUCTS = "matrix products of layers, activation and residual fused"
KINDS = {
    PRODUCTS: ("mkldnn::", "aten::linear", "aten::addmm", "aten::mm"),
    "attention: products and softmax": ("aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::softmax"),
    "norms": ("aten::native_layer_norm", "aten::layer_norm", "aten::rms_norm", "aten::_fused_rms_norm"),
    "copies: rows to blocks and back": (
        "aten::index_select", "aten::copy_", "aten::contiguous", "aten::clone", "aten::cat", "aten::index_copy_",
    ),
    "masks of rows shorter than their block": ("aten::fill_", "aten::slice", "aten::select"),
}  # fmt: skip
OTHER = "everything else in torch: views, allocation, additions"


def batches(scorer: Scorer, rows: list[Row], budget: int) -> list[list[Row]]:
    scheduler: Scheduler[None] = Scheduler(budget, scorer.hardware.workers)
    scheduler.add(Work(None, [len(row.ids) for row in rows]))
    found = []
    while pieces := scheduler.take():
        found.append([rows[n] for piece in pieces for n in piece.rows])
    return found


def score(scorer: Scorer, parts: list[list[Row]]) -> float:
    begin = time.perf_counter()
    for part in parts:
        scorer.forward(part, [None] * len(part))
    return time.perf_counter() - begin


def profiled_score(scorer: Scorer, parts: list[list[Row]]) -> tuple[float, profile]:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        seconds = score(scorer, parts)
    return seconds, profiler


def by_kind(profiler: profile) -> tuple[Counter[str], Counter[str]]:
    """Seconds and calls of each kind."""
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total / 1e6
        calls[kind_of(event.key)] += event.count
    return spent, calls


def kind_of(operator: str) -> str:
    return next((kind for kind, names in KINDS.items() if operator.startswith(names)), OTHER)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":", maxsplit=1)[0])
    parser.add_argument("models", nargs="*", default=["22m", "110m"], help="22m or 110m")
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    load = mixed(given.passages)
    for name in given.models:
        blueprint = describe(models.bert(name))
        scorer = Scorer(blueprint, read_settings({"RERANKER_DEVICE": "cpu"}))
        torch.set_num_threads(1)
        begin = time.perf_counter()
        plan = scorer.plan(Ask(load.query, [Passage(text) for text in load.passages], Truncate.END))
        planned = time.perf_counter() - begin
        parts = batches(scorer, plan.rows, scorer.hardware.batch_tokens)
        bound = Bound(shapes(blueprint), cores=1)
        score(scorer, parts)
        bare, profiled, spent, calls = [], [], Counter[str](), Counter[str]()
        for _ in range(given.rounds):
            bound.measure()
            bare.append(score(scorer, parts))
            seconds, profiler = profiled_score(scorer, parts)
            profiled.append(seconds)
            if seconds == min(profiled):
                spent, calls = by_kind(profiler)
        whole = min(profiled)
        rows = [(kind, spent[kind], share(spent[kind] / whole), calls[kind]) for kind in (*KINDS, OTHER)]
        outside = whole - sum(spent.values())
        rows += [
            ("outside torch: Python, layout, the profiler", outside, share(outside / whole), None),
            ("all, profiled", whole, "100%", None),
            ("all, without the profiler", min(bare), share(min(bare) / whole), None),
            ("before it: tokenising the request, all cores", planned, share(planned / whole), None),
        ]
        work = flops(blueprint, plan.tokens, len(plan.rows))
        title = f"{name}: {plan.tokens:,} tokens in {len(parts)} batches, one core, least of {given.rounds}"
        rate = work / spent[PRODUCTS] / bound.best
        notes = [
            f"the matrix products ran at {share(rate)} of one core's bf16 peak of {bound.best / 1e12:.2f} TFLOP/s",
            f"the whole, without the profiler, at {share(work / min(bare) / bound.best)}",
        ]
        show((title, "seconds", "share", "calls"), rows, notes)


if __name__ == "__main__":
    main()
