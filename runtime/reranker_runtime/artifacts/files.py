"""Which files of a model directory count, and which must not be there. One list, used by check, digest and loader."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from reranker_runtime.errors import ModelError, Reason

PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
MODULES: Final = "modules.json"
SENTENCE_CONFIG: Final = "sentence_bert_config.json"
PROMPTS: Final = "config_sentence_transformers.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"


def open_directory(path: Path) -> Path:
    """The directory itself, after refusing what is not one and what holds pickles."""
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise ModelError(
            Reason.DIRECTORY_MISSING,
            f"model directory {path} {what}; give the folder that holds config.json, tokenizer.json and *.safetensors",
        )
    try:
        found = sorted(_pickles(path))
    except OSError as error:
        raise ModelError(
            Reason.DIRECTORY_UNREADABLE,
            f"cannot list {error.filename or path}: {error.strerror}; make it readable for user {os.getuid()}",
        ) from error
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ModelError(
            Reason.PICKLE_FOUND,
            f"{found[0]}{more} in {path}: pickles run code when loaded, so a directory with one is refused; "
            "convert the weights to safetensors (save_pretrained does) and delete the file",
        )
    return path


def _pickles(path: Path) -> list[str]:
    def fail(error: OSError) -> None:
        raise error

    return [
        (Path(folder) / name).relative_to(path).as_posix()
        for folder, _, names in os.walk(path, onerror=fail)
        for name in names
        if Path(name).suffix.lower() in PICKLES
    ]


def read_json(path: Path, reason: Reason = Reason.CONFIG_INVALID) -> Any:
    """A JSON file's value; a file that cannot be read or parsed is a `ModelError`."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(
            Reason.DIRECTORY_UNREADABLE,
            f"cannot read {path}: {error.strerror}; make it readable for user {os.getuid()}",
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(reason, f"{path} is not valid JSON ({error}); copy the file from the model again") from error


def read_object(path: Path, reason: Reason = Reason.CONFIG_INVALID) -> dict[str, Any]:
    """A JSON file that must hold an object; {} where there is no such file."""
    if not path.exists():
        return {}
    value = read_json(path, reason)
    if not isinstance(value, dict):
        raise ModelError(reason, f"{path} holds no JSON object; copy the file from the model again")
    return value
