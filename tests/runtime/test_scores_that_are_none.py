"""A score that is no number is an error that names the passage, never a rank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zoo
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer


@pytest.mark.parametrize(
    ("family", "table"),
    [("bert", "bert.embeddings.word_embeddings.weight"), ("qwen3-classifier", "model.embed_tokens.weight")],
)
def test_the_passage_is_named_and_the_server_lives(
    start: Callable[..., Any], tmp_path: Path, family: str, table: str
) -> None:
    directory = tmp_path / "model"
    zoo.FAMILIES[family].make(directory)
    poison = zoo.WORDS[900]
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tensors = load_file(directory / "model.safetensors")
    for token in tokenizer.encode(f" {poison}", add_special_tokens=False).ids:
        tensors[table][token] = float("inf")
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    server = start(directory, NIM_PRECISION="fp32").ready()
    fine = zoo.words(5)
    assert len(server.logits(fine, [fine, zoo.words(3)])) == 2
    answer = server.rank(fine, [fine, zoo.words(3), f"a {poison}", fine])
    assert answer.status_code == 500
    said = answer.json()
    assert said["detail"] == {"passage": 2, "field": "passages.2"}
    assert "passages.2: no finite score in float32 (1 of 4 passages)" in said["message"]
    assert "NIM_PRECISION=fp32" in said["message"]
    assert len(server.logits(fine, [fine])) == 1
