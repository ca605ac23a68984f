"""Model directories: whatever is wrong with one, `verify` says so in one line, soon and in little memory.

An input is no directory but a list of edits to a good one, so that a finding can be read and kept:
{"model": "bert", "edits": [{"file": "config.json", "at": ["hidden_size"], "put": "raw:huge"}]}
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import tempfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from fuzz.targets.shapes import ODD, change, odd, spell, tweaked
from fuzz.targets.target import Target

from reranker_runtime.artifacts.verify import LINE_LIMIT, one_line, verify
from reranker_runtime.errors import Reason

MODELS = ("bert", "xlmr", "modernbert-mean", "deberta-v2", "qwen3-tied", "mxbai-v2", "bge-gemma", "sentence-dense",
          "qwen3-sentence", "llama-bidirec", "llama-nemotron-vl")  # fmt: skip
"""Families that read a directory in ways of their own."""
ROOT = Path(os.environ.get("FUZZ_MODELS", ""))
"""Where the good ones are, by these names."""
NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
KEYS = (
    "architectures", "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_labels", "id2label",
    "vocab_size", "head_dim", "num_key_value_heads", "max_position_embeddings", "intermediate_size", "hidden_act",
    "rope_scaling", "rope_parameters", "rope_theta", "pooling", "torch_dtype", "quantization_config", "layer_types",
    "model_max_length", "max_seq_length", "dtype", "shape", "data_offsets", "__metadata__", "weight_map", "vocab", "id",
    "added_tokens", "post_processor", "special_tokens", "ids", "type", "path", "text_config", "vision_config",
    "sliding_window",
)  # fmt: skip
KEPT = tempfile.TemporaryDirectory(prefix="fuzz-models-")  # removed at the end of the process
SCRATCH = Path(KEPT.name)


@cache
def good(model: str) -> dict[str, Any]:
    """A good model's files: JSON as values, safetensors as the value of their header, others not at all."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / model).rglob("*")):
        name = path.relative_to(ROOT / model).as_posix()
        if path.suffix == ".json":
            found[name] = json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            with path.open("rb") as stream:
                found[name] = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    return found


@cache
def scratch(model: str) -> Path:
    """A copy of a good model that is edited in place and put back."""
    return Path(shutil.copytree(ROOT / model, SCRATCH / model, copy_function=os.symlink))


def check(data: bytes) -> None:
    try:
        asked = json.loads(data)
        model, edits = asked["model"], [edit for edit in asked["edits"] if NAME.fullmatch(edit["file"])][:8]
    except (ValueError, RecursionError, LookupError, TypeError):
        return  # bytes that are no list of edits
    if model not in MODELS:
        return
    directory = scratch(model)
    try:
        for name, content, size in _written(model, edits):
            _write(directory / name, content, size)
        report = verify(directory, quick=True)
    finally:
        for edit in edits:
            _put_back(directory / edit["file"], ROOT / model / edit["file"])
    line = one_line(report)
    assert len(line) < LINE_LIMIT + 1, len(line)
    assert "\n" not in line
    assert json.loads(line)["ok"] is report["ok"]
    if report["ok"]:
        assert report["maxTokens"] >= 1, report
        assert report["parameters"] >= 1, report
    else:
        assert Reason(report["reason"])
        assert report["message"].strip()
        assert "cannot be used (" not in report["message"], f"nobody foresaw this: {report['message'][:300]}"


def _written(model: str, edits: list[dict[str, Any]]) -> list[tuple[str, bytes | None, int]]:
    """Files to write: the name, what they begin with (None: no file), the bytes of zeros behind it."""
    values: dict[str, Any] = {}
    raw: dict[str, tuple[bytes | None, int]] = {}
    for edit in edits:
        name = edit["file"]
        if "at" in edit:
            value = values.setdefault(name, json.loads(json.dumps(good(model).get(name, {}))))
            _apply(value, edit)
        elif edit.get("gone"):
            raw[name] = None, 0
        else:
            raw[name] = str(edit.get("text", "")).encode("utf-8", "replace"), _least(edit.get("zeros"))
    for name, value in values.items():
        if name not in raw:
            raw[name] = (
                _packed(ROOT / model / name, spell(value), edits) if "safetensors" in name else (spell(value), 0)
            )
    return [(name, content, size) for name, (content, size) in raw.items()]


def _packed(path: Path, header: bytes, edits: list[dict[str, Any]]) -> tuple[bytes, int]:
    """A safetensors file with another header; edits may misstate its length and its data's."""
    if not path.exists() or path.suffix != ".safetensors":
        return header, 0
    with path.open("rb") as stream:
        data = path.stat().st_size - 8 - struct.unpack("<Q", stream.read(8))[0]
    misstated = next((edit["length"] for edit in edits if isinstance(edit.get("length"), int)), len(header))
    added = next((edit["added"] for edit in edits if isinstance(edit.get("added"), int)), 0)
    return struct.pack("<Q", misstated % 2**64) + header, _least(data + added)


def _least(value: Any) -> int:
    return min(max(value, 0), 2**40) if isinstance(value, int) else 0


def _apply(value: Any, edit: dict[str, Any]) -> None:
    """Put something at a place, or drop what is there; a place that is not there stays so."""
    if not isinstance(edit["at"], list) or not edit["at"]:
        return
    *way, last = edit["at"]
    try:
        for part in way:
            value = value[part]
        if edit.get("drop"):
            del value[last]
        else:
            value[last] = edit.get("put")
    except (LookupError, TypeError):
        return


def _write(path: Path, content: bytes | None, zeros: int) -> None:
    if path.is_dir():
        return
    path.unlink(missing_ok=True)
    if content is None:
        return
    if not path.parent.exists():
        path.parent.mkdir()
    with path.open("wb") as stream:
        stream.write(content)
        stream.truncate(len(content) + zeros)  # a hole, which takes no room


def _put_back(path: Path, original: Path) -> None:
    if path.is_dir():
        return
    path.unlink(missing_ok=True)
    if original.exists():
        path.symlink_to(original)
    elif path.parent.parent == SCRATCH and path.parent.exists():
        return


def mutate(data: bytes, random: Random) -> bytes | None:
    try:
        asked = json.loads(data)
        edits = asked["edits"]
    except (ValueError, RecursionError, LookupError, TypeError):
        asked, edits = {"model": random.choice(MODELS), "edits": []}, []
    if not isinstance(edits, list) or asked.get("model") not in MODELS:
        return None
    match random.randrange(8):
        case 0 if edits:
            del edits[random.randrange(len(edits))]
        case 1 if edits:
            edits[:] = [change(edits, random, KEYS)] if random.random() < 0.1 else edits[-1:]
        case 2:
            asked["model"] = random.choice(MODELS)
        case _:
            edits.append(_edit(asked["model"], random))
    asked["edits"] = [edit for edit in edits if isinstance(edit, dict) and isinstance(edit.get("file"), str)][-6:]
    return json.dumps(asked).encode()


def _edit(model: str, random: Random) -> dict[str, Any]:
    files = good(model)
    name = random.choice(list(files))
    way, held = _place(files[name], random)
    match random.randrange(12):
        case 0:
            return {"file": name, "gone": True}
        case 1:
            return {"file": name, "text": random.choice(("", "{", "[]", "null", '"a"', "{}", "\ufeff{}", "[" * 2000))}
        case 2:
            return {"file": name, "at": way, "length": random.choice((0, 1, 8, 2**27, 2**63, 2**64 - 1)), "put": held}
        case 3:
            return {"file": name, "at": way, "added": random.choice((-1, 1, -(2**20), 2**30)), "put": held}
        case 4:
            return {"file": name, "at": way, "drop": True}
        case 5:
            return {"file": name, "at": [random.choice(KEYS)], "put": random.choice(ODD)}
        case 6:
            other = random.choice(MODELS)
            return {"file": name, "at": way, "put": _place(random.choice(list(good(other).values())), random)[1]}
        case 7 | 8:
            return {"file": name, "at": way, "put": odd(random)}
        case _:
            return {"file": name, "at": way, "put": tweaked(held, random)}


def _place(value: Any, random: Random) -> tuple[list[Any], Any]:
    """A place in a value, by its path, and what is there; the deeper the rarer."""
    way: list[Any] = []
    while isinstance(value, dict | list) and value and (not way or random.random() < 0.7):
        key = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
        way.append(key)
        value = value[key]
    return way, value if len(repr(value)) < 2000 else None


TARGET = Target(check, mutate, [json.dumps({"model": model, "edits": []}).encode() for model in MODELS])
