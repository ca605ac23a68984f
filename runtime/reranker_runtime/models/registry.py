"""From a model directory to a `Blueprint`, or the reason why not. The light half: verify runs it without torch.

An architecture that is not in the table is an error, never a guess: a wrong guess ranks, and ranks wrongly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from reranker_runtime.artifacts import files
from reranker_runtime.artifacts.tensors import DTYPES, Tensor, read_tensors
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models import (
    bert,
    deberta,
    electra,
    gemma,
    llama_bidirec,
    modernbert,
    mxbai,
    nemotron_vl,
    qwen3,
    roberta,
    sentence,
)
from reranker_runtime.models.blueprint import Blueprint, Family
from reranker_runtime.models.config import Config
from reranker_runtime.models.sentence import read_modules
from reranker_runtime.models.source import Source

FAMILIES: Final[tuple[Family, ...]] = tuple(
    module.FAMILY
    for module in (
        llama_bidirec, nemotron_vl, qwen3, mxbai, gemma, bert, electra, roberta, modernbert, deberta, sentence,
    )
)  # fmt: skip
ARCHITECTURES: Final = {name: family for family in FAMILIES for name in family.architectures}


def describe(path: Path) -> Blueprint:
    """Check everything that sizes, headers and configuration can tell; raises `ModelError` with the reason."""
    try:
        return _describe(path)
    except OSError as error:
        raise ModelError(
            Reason.DIRECTORY_UNREADABLE,
            f"cannot read {error.filename or path}: {error.strerror}; make it readable for user {os.getuid()}",
        ) from error
    except (ValueError, OverflowError, TypeError, RecursionError, MemoryError) as error:
        # A value that no check foresaw.
        raise ModelError(
            Reason.CONFIG_INVALID,
            f"the configuration in {path} cannot be used ({type(error).__name__}: {error}); "
            "copy the files from the model again",
        ) from error


def _describe(path: Path) -> Blueprint:
    directory = files.open_directory(path)
    config_path = directory / files.CONFIG
    if not config_path.exists():
        raise ModelError(
            Reason.CONFIG_MISSING,
            f"no {files.CONFIG} in {directory}; give the folder that save_pretrained(...) wrote",
        )
    config = Config(config_path, files.read_object(config_path))
    architecture = _architecture(config)
    modules = read_modules(directory)
    pools = any(kind == "Pooling" for kind, _ in modules)
    family = sentence.FAMILY if pools and architecture in sentence.UNDER_ANOTHER_NAME else ARCHITECTURES[architecture]
    present, shards = read_tensors(directory)
    design = family.read(Source(directory, config, architecture, present, modules))
    index = () if shards == (files.WEIGHTS,) else (files.INDEX,)
    optional = [files.TOKENIZER_CONFIG, *index]
    read = {files.CONFIG, files.TOKENIZER, *shards, *design.files}
    read |= {name for name in optional if (directory / name).exists()}
    floats = [tensor for tensor in present.values() if tensor.dtype in DTYPES]
    return Blueprint(
        directory=directory,
        architecture=architecture,
        family=family.name,
        design=design,
        parameters=sum(tensor.size for tensor in floats),
        dtype=_main_dtype(floats),
        files=tuple(sorted(read)),
        size=sum((directory / name).stat().st_size for name in read),
    )


def _architecture(config: Config) -> str:
    names = config.values.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise config.wrong("architectures", "a list with one name")
    if names[0] not in ARCHITECTURES:
        raise ModelError(
            Reason.ARCHITECTURE_UNKNOWN,
            f"{config.path}: architecture {names[0]} is not served; served: {', '.join(ARCHITECTURES)}",
        )
    return names[0]


def _main_dtype(tensors: list[Tensor]) -> str:
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
    return DTYPES[max(sizes, key=lambda name: sizes[name])]
