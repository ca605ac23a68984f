"""Reading safetensors headers, so that a broken or incomplete download is named before anything is loaded.

The format: 8 bytes little-endian length, that many bytes of JSON {name: {dtype, shape, data_offsets}}, then the data.
https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reranker_runtime.artifacts.files import INDEX, WEIGHTS, read_object, require_regular
from reranker_runtime.errors import ModelError, Reason

MAX_HEADER: Final = 100_000_000  # the format's own limit
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
DTYPES: Final = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
"""Number types that weights may be stored in, by the names that people use."""

COPY_AGAIN: Final = "the copy is incomplete or damaged: copy the file again"


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies. `file` is relative to the model directory."""

    file: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def read_tensors(directory: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Every tensor of a model directory by name, and the files that hold them.

    As in the libraries that write such directories, one model.safetensors wins over an index.
    """
    if (directory / WEIGHTS).exists():
        return read_header(directory, WEIGHTS), (WEIGHTS,)
    if not (directory / INDEX).exists():
        raise _no_weights(directory)
    weight_map, files = read_index(directory)
    missing = [f for f in files if not (directory / f).exists()]
    if missing:
        raise ModelError(
            Reason.SHARD_MISSING,
            f"{missing[0]} is not in {directory}, though {INDEX} names it ({len(missing)} of {len(files)} shards are "
            "missing); copy the whole model directory again",
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_header(directory, file)
    lost = next((name for name, file in weight_map.items() if name not in tensors or tensors[name].file != file), None)
    if lost is not None:
        raise ModelError(
            Reason.SHARD_INVALID,
            f"{INDEX} in {directory} says that {lost} is in {weight_map[lost]}, but it is not; "
            "index and shards are from different models: copy the whole directory again",
        )
    return tensors, files


def read_index(directory: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The shard of each tensor by name, and the shards; a shard that is no file beside the index is refused."""
    weight_map = read_object(directory / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(f, str) for f in weight_map.values()):
        raise ModelError(Reason.CONFIG_INVALID, f"{directory / INDEX} has no weight_map; {COPY_AGAIN}")
    files = tuple(sorted(set(weight_map.values())))
    outside = next((f for f in files if "/" in f or "\\" in f or not f.endswith(".safetensors")), None)
    if outside is not None:
        raise ModelError(
            Reason.CONFIG_INVALID,
            f"{directory / INDEX} names {outside!r}: a shard is a .safetensors file beside the index",
        )
    return weight_map, files


def _no_weights(directory: Path) -> ModelError:
    stray = sorted(p.name for p in directory.glob("*.safetensors"))
    if stray:
        return ModelError(
            Reason.SHARD_MISSING,
            f"{directory} holds {stray[0]} but neither {WEIGHTS} nor {INDEX}; "
            "copy the index too, or name a single file model.safetensors",
        )
    return ModelError(
        Reason.WEIGHTS_MISSING,
        f"no weights in {directory}: neither {WEIGHTS} nor {INDEX}; save the model with save_pretrained(...)",
    )


def read_header(directory: Path, file: str) -> dict[str, Tensor]:
    """The tensors of one safetensors file, after comparing every offset with the file's size."""
    path = directory / file
    try:
        require_regular(path, Reason.SHARD_INVALID)
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            start = stream.read(8)
            if len(start) < 8:  # noqa: PLR2004 - the format's length field
                raise ModelError(Reason.SHARD_TRUNCATED, f"{path} has only {size} bytes; {COPY_AGAIN}")
            length = struct.unpack("<Q", start)[0]
            if length > MAX_HEADER:
                raise _invalid(path, f"its header claims {length} bytes")
            if 8 + length > size:
                raise ModelError(
                    Reason.SHARD_TRUNCATED,
                    f"{path} has {size} bytes, its header alone needs {8 + length}; {COPY_AGAIN}",
                )
            header = stream.read(length)
    except OSError as error:
        raise ModelError(
            Reason.DIRECTORY_UNREADABLE,
            f"cannot read {path}: {error.strerror}; make it readable for user {os.getuid()}",
        ) from error
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError):
        raise _invalid(path, "its header is not JSON") from None
    if not isinstance(entries, dict):
        raise _invalid(path, "its header is not a JSON object")
    notes = entries.pop("__metadata__", None)
    if notes is not None and not (isinstance(notes, dict) and all(isinstance(text, str) for text in notes.values())):
        raise _invalid(path, "its __metadata__ is no object of texts")
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in entries.items():
        tensors[name], span = _tensor(path, file, name, entry)
        spans.append(span)
    _check_spans(path, spans, size - 8 - length)
    return tensors


def _invalid(path: Path, why: str) -> ModelError:
    return ModelError(Reason.SHARD_INVALID, f"{path} is not a safetensors file ({why}); copy the file again")


def _tensor(path: Path, file: str, name: str, entry: Any) -> tuple[Tensor, tuple[int, int]]:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise _invalid(path, f"tensor {name!r} has no dtype, shape and data_offsets")
    if dtype not in BITS or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise _invalid(path, f"tensor {name!r} has dtype {dtype!r} and shape {shape!r}")
    tensor = Tensor(file, dtype, tuple(shape))
    if not 0 <= begin <= end or (end - begin) * 8 != tensor.size * BITS[dtype]:
        raise _invalid(path, f"tensor {name!r} of {dtype} {shape} cannot fill bytes {begin} to {end}")
    return tensor, (begin, end)


def _check_spans(path: Path, spans: list[tuple[int, int]], data: int) -> None:
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            raise _invalid(path, f"tensors overlap or leave a gap at byte {reached}")
        reached = end
    if reached > data:
        raise ModelError(
            Reason.SHARD_TRUNCATED,
            f"{path} holds {data} bytes of tensors, its header promises {reached}; {COPY_AGAIN}",
        )
    if reached < data:
        raise _invalid(path, f"{data - reached} bytes follow the last tensor")
