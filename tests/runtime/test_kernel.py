"""The path for GPUs, followed on a CPU: the kernel's stand-in reads rows as torch documents it, one by one.

What it cannot show is the kernel itself: `test_on_a_gpu` does, where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import zoo
from torch import Tensor

from reranker_runtime.engine.pool import Pool
from reranker_runtime.engine.rows import Truncate
from reranker_runtime.engine.scorer import Scorer
from reranker_runtime.models.registry import describe
from reranker_runtime.nets import attention, decoder, encoder, modernbert
from reranker_runtime.settings import read_settings

FAMILIES = ["bert", "xlmr", "modernbert-mean", "llama-bidirec", "llama-bidirec-last", "qwen3-causal", "bge-gemma"]
QUERY = zoo.words(7, 100)
PASSAGES = [zoo.words(count, 3 * count) for count in (1, 4, 4, 17, 33, 60, 2)]


def one_by_one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    window_size: tuple[int, int],
    scale: float,
    enable_gqa: bool,
) -> Tensor:
    """Queries are aligned with the last keys; a window counts tokens to the left and to the right, -1 is all."""
    out = torch.empty_like(query)
    group = query.shape[1] // key.shape[1]
    assert enable_gqa is (group > 1)
    assert max_q == int(cu_seq_q.diff().max())
    assert max_k == int(cu_seq_k.diff().max())
    for row in range(len(cu_seq_q) - 1):
        mine, theirs = (slice(int(ends[row]), int(ends[row + 1])) for ends in (cu_seq_q, cu_seq_k))
        q = query[mine].transpose(0, 1).float()
        k, v = (x[theirs].transpose(0, 1).repeat_interleave(group, 0).float() for x in (key, value))
        distance = torch.arange(k.shape[1])[None] - torch.arange(q.shape[1])[:, None] - (k.shape[1] - q.shape[1])
        left, right = (float("inf") if reach < 0 else reach for reach in window_size)
        hidden = (distance > right) | (-distance > left)
        scores = (q @ k.transpose(1, 2) * scale).masked_fill(hidden, float("-inf"))
        out[mine] = (scores.softmax(-1) @ v).transpose(0, 1).to(out.dtype)
    return out


def scores(directory: Path, limit: int, **variables: str) -> list[float]:
    settings = read_settings({"NIM_PIPELINE_MAX_SEQ_LEN": str(limit), "RERANKER_DEVICE": "cpu"} | variables)
    pool = Pool(Scorer(describe(directory), settings))
    try:
        return pool.rank(QUERY, PASSAGES, Truncate.END).logits
    finally:
        pool.end()


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_where_the_kernel_is_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = zoo.FAMILIES[name]
    family.make(tmp_path)
    calls: list[Sequence[Any]] = []

    def kernel(*args: Any, **options: Any) -> Tensor:
        calls.append(args)
        return one_by_one(*args, **options)

    monkeypatch.setattr(attention, "varlen_attn", kernel)
    for module in (encoder, decoder, modernbert):
        monkeypatch.setattr(module, "has_kernel", lambda *_: True)
    limit = min(describe(tmp_path).limit, 150)
    got = scores(tmp_path, limit, NIM_PRECISION="fp32")
    assert calls
    assert got == pytest.approx(family.scores(tmp_path, QUERY, PASSAGES, limit=limit), abs=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", [*FAMILIES, "deberta-v2", "sentence-mean"])
def test_on_a_gpu(name: str, precision: str, tmp_path: Path) -> None:
    family = zoo.FAMILIES[name]
    family.make(tmp_path)
    limit = min(describe(tmp_path).limit, 150)
    wanted = family.scores(tmp_path, QUERY, PASSAGES, limit=limit)
    got = scores(tmp_path, limit, NIM_PRECISION=precision, RERANKER_DEVICE="cuda")
    tolerance = 1e-3 if precision == "fp32" else 3e-2 * max(1.0, max(wanted) - min(wanted))
    assert got == pytest.approx(wanted, abs=tolerance)
