"""Does tokenizer.json fit the model? Asked before serving: a token beyond the embedding table fails mid-request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reranker_runtime.artifacts.files import read_object
from reranker_runtime.errors import ModelError, Reason


def check_vocabulary(path: Path, rows: int) -> None:
    """Every token id must be below `rows`, the model's vocab_size."""
    highest = _highest_id(path, read_object(path, Reason.TOKENIZER_INVALID))
    if highest >= rows:
        raise ModelError(
            Reason.TOKENIZER_INVALID,
            f"{path} has token id {highest}, but config.json gives the model vocab_size {rows}; "
            "tokenizer and model are from different models",
        )


def _highest_id(path: Path, values: dict[str, Any]) -> int:
    model, added = values.get("model"), values.get("added_tokens", [])
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    try:
        if isinstance(vocabulary, dict):
            ids = max(vocabulary.values())
        elif isinstance(vocabulary, list):  # Unigram: the place in the list is the id
            ids = len(vocabulary) - 1
        else:
            raise TypeError("no vocabulary")  # noqa: TRY301 - one message for every malformed file
        return int(max([ids, *(token["id"] for token in added)]))
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(
            Reason.TOKENIZER_INVALID,
            f"{path} holds no usable vocabulary; write it again with "
            "transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIRECTORY)",
        ) from error
