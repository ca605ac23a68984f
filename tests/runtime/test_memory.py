"""Memory is planned from the token budget: long inputs are slow on a small machine, never fatal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import zoo

from reranker_runtime.engine import hardware
from reranker_runtime.engine.hardware import Hardware, fit, row_bytes
from reranker_runtime.models.blueprint import Blueprint
from reranker_runtime.models.registry import describe

MIB = 1 << 20
GROWTH = 256 * MIB
"""What 512 passages at full length may add; scored at once, the tiny model's activations alone would be 1.3 GB."""


def peak(server: Any) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def begin_anew(server: Any) -> int:
    """From now on `peak` is of what follows; what is held this moment."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    return peak(server)


def test_512_passages_at_the_models_full_length_take_no_more_memory_than_a_few_batches(bert: Any, words: Any) -> None:
    bert.logits(words(3), [words(500, n) for n in range(8)], truncate="END")
    before = peak(bert)
    passages = [words(500, n) for n in range(512)]
    assert len(set(bert.logits(words(3), passages, truncate="END"))) > 500
    assert peak(bert) - before < GROWTH


@pytest.mark.parametrize(
    ("text", "extra", "most"),
    [
        ("a" * (6 * MIB), {"truncate": "END"}, GROWTH),  # whole, it would take 348 MiB
        ("w1 " * (4 * MIB // 3), {"max_chunks_per_doc": 2}, 2 * GROWTH),  # 907 MiB
    ],
)
def test_one_enormous_text_takes_no_more_memory_than_its_parts(
    sentence: Any, text: str, extra: dict[str, Any], most: int
) -> None:
    before = begin_anew(sentence)
    assert len(sentence.logits("w1", ["w2", text], **extra)) == 2
    assert peak(sentence) - before < most


def test_a_body_of_quotes_is_refused_without_being_taken_to_pieces(started: Any) -> None:
    server = started["sentence"].ready()
    server.http.post("/v1/ranking", content=b" " * (60 * MIB))
    before = begin_anew(server)
    answer = server.http.post("/v1/ranking", content=b"," * 1_000_001 + b'"' * (60 * MIB))
    assert answer.status_code == 413
    assert "commas and brackets" in answer.json()["message"]
    assert peak(server) - before < 4 * GROWTH


@pytest.fixture(scope="module")
def blueprint(tmp_path_factory: pytest.TempPathFactory) -> Blueprint:
    directory = tmp_path_factory.mktemp("llama")
    zoo.FAMILIES["llama-bidirec"].make(directory)
    return describe(directory)


@pytest.mark.parametrize(
    ("rows", "tokens", "workers"),
    [
        (100, 1024, 4),  # plenty: as chosen
        (5, 1024, 4),
        (2, 1024, 2),  # not four of the longest beside each other
        (1, 1024, 1),
        (0.5, 512, 1),  # not even one, by estimate: as little at a time as there is
    ],
)
def test_less_memory_is_a_smaller_budget_and_fewer_workers(
    blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch, rows: float, tokens: int, workers: int
) -> None:
    each = row_bytes(blueprint.design.body.geometry, 1024, torch.float32)
    monkeypatch.setattr(hardware, "free_memory", lambda: int(rows * each / hardware.MEMORY_SHARE) + 1)
    asked = Hardware((torch.device("cpu"),), torch.float32, 1024, 4, 1)
    got = fit(asked, blueprint, 1024)
    assert (got.workers, got.batch_tokens) == (workers, min(tokens, got.batch_tokens))
    assert got.workers * max(1024, got.batch_tokens) <= max(1024, rows * 1024)


@pytest.mark.parametrize(("workers", "rows", "left"), [(1, 100, 1), (1, 1.5, 1), (3, 2, 3), (3, 1, 2)])
def test_workers_that_no_devices_divide(
    blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch, workers: int, rows: float, left: int
) -> None:
    each = row_bytes(blueprint.design.body.geometry, 1024, torch.float32)
    monkeypatch.setattr(hardware, "free_memory", lambda: int(rows * each / hardware.MEMORY_SHARE) + 1)
    assert fit(Hardware((torch.device("cpu"),) * 2, torch.float32, 1024, workers, 1), blueprint, 1024).workers == left
