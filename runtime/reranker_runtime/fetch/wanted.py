"""Which files of a repository are fetched: those that serving reads, as `artifacts` has it, and nothing that runs code.

The small files come first, because two of them say what else is read: modules.json its folders, the index its shards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from reranker_runtime.artifacts.files import CONFIG, INDEX, MODULES, PICKLES, WEIGHTS
from reranker_runtime.artifacts.tensors import read_index
from reranker_runtime.errors import FetchError, FetchReason, ModelError, Reason
from reranker_runtime.fetch.place import INCOMPLETE
from reranker_runtime.models.sentence import read_modules

SMALL: Final = (
    "config*.json",
    "*_config.json",  # of the tokenizer, the processors, generation, sentence-transformers
    "*tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template*",
    MODULES,
    INDEX,
)
"""Beside the weights, by name; more than serving reads today, so that a cache still serves a later version."""

LONGEST_NAME: Final = 255
"""Bytes of a name on the file systems that volumes have."""


def check_names(names: Iterable[str], words: Callable[[str], str]) -> None:
    """Refuse a listing in which any name would leave the directory: such a hub is broken, or means harm.

    `words` makes of a name what may be shown.
    """
    for name in names:
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\\" in name or not name.isprintable():
            raise FetchError(
                FetchReason.NAME_UNSAFE,
                f"the hub lists a file {words(name)!a}, which is no path inside a repository: nothing is fetched; "
                "ask the repository's owner to rename the file",
            )


def check_kept(names: Iterable[str], words: Callable[[str], str]) -> None:
    """Refuse what would be kept under a name that a volume does not take, or that files have while they are fetched."""
    for name in names:
        parts = name.split("/")
        if any(p.endswith(INCOMPLETE) or len(p.encode() + INCOMPLETE.encode()) > LONGEST_NAME for p in parts):
            raise FetchError(
                FetchReason.NAME_UNSAFE,
                f"the hub lists a file {words(name)!a}, which cannot be kept under that name: it is too long, or "
                f"ends in {INCOMPLETE}; ask the repository's owner to rename the file",
            )


def small_files(names: Collection[str], repository: str, *, revision: str) -> list[str]:
    """What is fetched first. A repository without weights in safetensors is refused before anything is fetched."""
    if WEIGHTS not in names and INDEX not in names:
        raise FetchError(
            FetchReason.WEIGHTS_MISSING,
            f"{repository} at {revision} holds neither {WEIGHTS} nor {INDEX}{_instead(names)}; "
            "name a revision with safetensors, or convert the weights (save_pretrained does)",
        )
    index = () if WEIGHTS in names else (INDEX,)
    kept = [name for name in names if any(fnmatchcase(name, pattern) for pattern in SMALL) and "/" not in name]
    return sorted({name for name in kept if name != INDEX} | set(index))


def _instead(names: Collection[str]) -> str:
    weights = sorted(
        n for n in names if PurePosixPath(n).suffix.lower() in {*PICKLES, ".safetensors", ".gguf", ".onnx"}
    )
    return f", only {weights[0]}" + (f" and {len(weights) - 1} more" if weights[1:] else "") if weights else ""


def other_files(names: Collection[str], directory: Path) -> list[str]:
    """What the small files in `directory` name: the weights, and each module's own files."""
    weights = (WEIGHTS,) if WEIGHTS in names else read_index(directory)[1]
    missing = [name for name in weights if name not in names]
    if missing:
        raise ModelError(
            Reason.SHARD_MISSING,
            f"{INDEX} names {missing[0]}, which the repository does not hold ({len(missing)} of {len(weights)} "
            "shards are missing); name a revision that is complete",
        )
    folders = {folder for _, folder in read_modules(directory)} - {"."}
    modules = {f"{folder}/{file}" for folder in folders for file in (CONFIG, WEIGHTS)}
    return sorted(modules.intersection(names)) + list(weights)
