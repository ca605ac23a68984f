"""Which files of a model directory count, and which must not be there. One list, used by check, digest and loader."""

from __future__ import annotations

import json
import os
import stat
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

MAX_JSON: Final = 256 * 1024 * 1024
"""Bytes of a JSON file; the largest tokenizers have 35 million."""


def open_directory(path: Path) -> Path:
    """The directory itself, after refusing what is not one and what holds pickles."""
    if not path.is_dir():
        what = "is not a directory" if path.exists() else "does not exist"
        raise ModelError(
            Reason.DIRECTORY_MISSING,
            f"model directory {path} {what}; give the folder that holds config.json, tokenizer.json and *.safetensors",
        )
    try:
        next(path.iterdir(), None)
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
    # A folder that cannot be listed is passed over: nothing in it is served, and every ext4 volume has a lost+found.
    return [
        (Path(folder) / name).relative_to(path).as_posix()
        for folder, _, names in os.walk(path)
        for name in names
        if Path(name).suffix.lower() in PICKLES
    ]


def require_regular(path: Path, reason: Reason) -> None:
    """Refuse pipes, devices and folders, before opening: a pipe would be waited for, a device may never end."""
    if not stat.S_ISREG(path.stat().st_mode):  # after following links
        raise ModelError(reason, f"{path} is not a regular file; copy the file from the model again")


def read_json(path: Path, reason: Reason = Reason.CONFIG_INVALID) -> Any:
    """A JSON file's value; a file that cannot be read or parsed is a `ModelError`."""
    try:
        require_regular(path, reason)
        size = path.stat().st_size
        with path.open("rb") as stream:  # a file below /proc is longer than it says
            content = stream.read(MAX_JSON + 1) if size <= MAX_JSON else b""
        if max(size, len(content)) > MAX_JSON:
            raise ModelError(reason, f"{path} is larger than {MAX_JSON} bytes; copy the file from the model again")
        return json.loads(content)
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
