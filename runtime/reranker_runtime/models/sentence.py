"""What a sentence encoder's directory says of itself: modules.json and the files it points at.

Written by sentence-transformers; both its older keys (pooling_mode_mean_tokens) and the newer (pooling_mode) are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from reranker_runtime.artifacts.files import CONFIG, MODULES, PROMPTS, read_json, read_object
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.blueprint import Head, Prompts

POOLING: Final = {"cls": Head.CLS, "mean": Head.MEAN, "max": Head.MAX}
OLD_POOLING: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
CHAIN: Final = (("Transformer",), ("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize"))


@dataclass(frozen=True)
class SentenceParts:
    """How token vectors become one vector. Normalize changes no cosine, so it is not recorded."""

    pooling: Head
    prompts: Prompts
    files: tuple[str, ...]


def read_sentence_parts(directory: Path) -> SentenceParts | None:
    """None where the directory is no sentence encoder: no modules.json, or one that only names the transformer."""
    path = directory / MODULES
    if not path.exists():
        return None
    modules = read_json(path)
    if not isinstance(modules, list) or not all(
        isinstance(m, dict) and isinstance(m.get("type"), str) and isinstance(m.get("path", ""), str) for m in modules
    ):
        raise ModelError(Reason.CONFIG_INVALID, f"{path} is no list of modules; copy the file from the model again")
    kinds = tuple(m["type"].rpartition(".")[2] for m in modules)
    if kinds not in CHAIN:
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{path} lists {' -> '.join(kinds)}; supported: Transformer -> Pooling [-> Normalize]",
        )
    if modules[0].get("path", "") not in ("", "."):
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{path} keeps the transformer in {modules[0]['path']!r}; supported: in the directory itself",
        )
    if len(kinds) == 1:
        return None
    pooling = _inside(path, modules[1].get("path", "")) / CONFIG
    files = [MODULES, pooling.as_posix()]
    if (directory / PROMPTS).exists():
        files.append(PROMPTS)
    return SentenceParts(
        pooling=_read_pooling(directory / pooling),
        prompts=_read_prompts(directory / PROMPTS, normalised=kinds[-1] == "Normalize"),
        files=tuple(files),
    )


def _inside(path: Path, name: str) -> PurePosixPath:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name:
        raise ModelError(Reason.CONFIG_INVALID, f"{path} points outside the directory: {name!r}")
    return inside


def _read_pooling(path: Path) -> Head:
    values = read_object(path)
    if not values:
        raise ModelError(
            Reason.CONFIG_MISSING,
            f"{path} is missing, though {MODULES} names it; copy the whole model directory, folders included",
        )
    modes: Any = values.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in OLD_POOLING.items() if values.get(key)]
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in POOLING:
        raise ModelError(Reason.VARIANT_UNSUPPORTED, f"{path} pools by {modes}; supported: one of {', '.join(POOLING)}")
    if values.get("include_prompt") is False:
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED, f"{path} leaves the prompt out of pooling; supported: include_prompt true"
        )
    return POOLING[modes[0]]


def _read_prompts(path: Path, *, normalised: bool) -> Prompts:
    values = read_object(path)
    similarity = values.get("similarity_fn_name")
    if similarity not in (None, "cosine") and not (similarity == "dot" and normalised):  # then dot is cosine
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{path} compares by {similarity!r}; supported: cosine, or dot where {MODULES} ends in Normalize",
        )
    prompts = values.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ModelError(Reason.CONFIG_INVALID, f"{path}: prompts must be an object of texts")
    default = values.get("default_prompt_name")
    fallback: str = prompts.get(default, "") if isinstance(default, str) else ""
    passage = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), fallback)
    return Prompts(query=prompts.get("query", fallback), passage=passage)
