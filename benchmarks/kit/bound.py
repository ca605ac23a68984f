"""What the machine could do at best: its rate of matrix products, measured in the same run, and the products asked for.

A share of this bound says how much a better engine could still gain; seconds alone do not. Attention is not counted
among the work, so that no share is flattered by it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from reranker_runtime.models.blueprint import Blueprint, Pooling
from reranker_runtime.models.geometry import DecoderGeometry, EncoderGeometry

ROWS = 1024
ROWS_GPU = 8192
Shape = tuple[int, int]
"""Of a weight: columns that go in, columns that come out."""


@dataclass(frozen=True)
class Layer:
    """Multiplications and additions of one token in one block."""

    keys: float
    """For keys and values."""
    rest: float


def geometry_of(blueprint: Blueprint) -> EncoderGeometry | DecoderGeometry:
    geometry = blueprint.design.body.geometry
    assert isinstance(geometry, EncoderGeometry | DecoderGeometry), geometry
    return geometry


def shapes(blueprint: Blueprint) -> list[Shape]:
    """The products that make up nearly all of a model's work."""
    geometry = geometry_of(blueprint)
    wide = geometry.feed_forward
    if isinstance(geometry, EncoderGeometry):
        width = geometry.hidden
        return [(width, 3 * width), (width, width), (width, wide), (wide, width)]
    queries, keys = geometry.heads * geometry.head_size, geometry.key_heads * geometry.head_size
    width = geometry.hidden
    return [(width, queries + 2 * keys), (queries, width), (width, wide), (wide, width)]


def flops(blueprint: Blueprint, tokens: int, rows: int) -> float:
    """Of the layers' matrix products that the engine computes for so many tokens (a shared prefix among them, once).

    Where the head reads one token of a row, the last block computes keys and values of all tokens and the rest of
    that one only: what is not computed is not counted.
    """
    geometry = geometry_of(blueprint)
    layer = _layer(geometry)
    one_token = blueprint.design.head.pooling in ((Pooling.CLS,), (Pooling.LAST,))
    whole = geometry.layers - one_token
    last = layer.keys * tokens + layer.rest * rows if one_token else 0.0
    return whole * (layer.keys + layer.rest) * tokens + last


def _layer(geometry: EncoderGeometry | DecoderGeometry) -> Layer:
    width, wide = geometry.hidden, geometry.feed_forward
    if isinstance(geometry, EncoderGeometry):
        return Layer(keys=4.0 * width * width, rest=4.0 * width * (width + wide))
    queries, keys = geometry.heads * geometry.head_size, geometry.key_heads * geometry.head_size
    return Layer(keys=4.0 * width * keys, rest=4.0 * width * queries + 6.0 * width * wide)


class Bound:
    """The best rate seen so far; measure again in every round, because a shared machine is not always as fast."""

    def __init__(
        self,
        shapes: Sequence[Shape],
        dtype: torch.dtype = torch.bfloat16,
        *,
        apart: bool = True,
        cores: int | None = None,
    ) -> None:
        self._shapes, self._dtype, self._apart = shapes, dtype, apart
        self._cores = cores or len(os.sched_getaffinity(0))
        self.best = 0.0
        """Operations per second, of all these cores together."""

    def measure(self, seconds: float = 0.15) -> None:
        """Each core multiplies on its own, or (not `apart`) all work on one product, as torch does by default."""
        for into, out in self._shapes:
            for make in FORMS:
                self.best = max(self.best, self._rate(into, out, make, seconds))

    def _rate(self, into: int, out: int, make: Callable[..., Callable[[], Any]], seconds: float) -> float:
        cores = self._cores
        workers = cores if self._apart else 1
        counts = [0.0] * workers
        start = threading.Barrier(workers)

        def work(number: int) -> None:
            torch.set_num_threads(cores // workers)  # of this thread
            with torch.inference_mode():
                x = torch.randn(ROWS, into).to(self._dtype)
                multiply = make(x, torch.randn(out, into).to(self._dtype))
                for _ in range(3):
                    multiply()
                start.wait()
                begin, count = time.perf_counter(), 0
                while (passed := time.perf_counter() - begin) < seconds:
                    multiply()
                    count += 1
                counts[number] = 2.0 * ROWS * into * out * count / passed

        threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts)


def _plain(x: torch.Tensor, weight: torch.Tensor) -> Callable[[], Any]:
    return lambda: functional.linear(x, weight)


def _packed(x: torch.Tensor, weight: torch.Tensor) -> Callable[[], Any]:
    """With the weight packed once, as the engine does: the bound must not be lower than what it is the bound of."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)  # noqa: SLF001
    return lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")  # noqa: SLF001


def _forms() -> Iterable[Callable[..., Callable[[], Any]]]:
    yield _plain
    if hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available():
        yield _packed


FORMS = tuple(_forms())


def gpu_rate(shapes: Sequence[Shape], repeats: int = 50) -> float:
    """A GPU's own rate of bf16 products: the best of the model's shapes."""
    best = 0.0
    for into, out in shapes:
        x = torch.randn(ROWS_GPU, into, device="cuda", dtype=torch.bfloat16)
        weight = torch.randn(out, into, device="cuda", dtype=torch.bfloat16)
        for _ in range(5):
            functional.linear(x, weight)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(repeats):
            functional.linear(x, weight)
        end.record()
        end.synchronize()
        best = max(best, 2.0 * ROWS_GPU * into * out * repeats / (begin.elapsed_time(end) / 1000))
    return best
