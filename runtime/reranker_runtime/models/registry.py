"""From a model directory to a `Blueprint`, or the reason why not. The light half: verify runs it without torch.

An architecture that is not in the table is an error, never a guess: a wrong guess ranks, and ranks wrongly.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from reranker_runtime.artifacts import files
from reranker_runtime.artifacts.tensors import DTYPES, Tensor, read_tensors
from reranker_runtime.artifacts.vocabulary import check_vocabulary
from reranker_runtime.errors import ModelError, Reason
from reranker_runtime.models.bert import encoder_shapes, find_tensors, head_shapes, read_geometry
from reranker_runtime.models.blueprint import FIRST_TOKEN, Blueprint, Config, Family, Head
from reranker_runtime.models.sentence import SentenceParts, read_sentence_parts


@dataclass(frozen=True)
class Kind:
    """One architecture name of config.json."""

    roberta: bool
    head: Head | None
    """None: an encoder without a ranking head, served only with a modules.json that says how to pool."""


ARCHITECTURES: Final = {
    "BertForSequenceClassification": Kind(roberta=False, head=Head.BERT),
    "RobertaForSequenceClassification": Kind(roberta=True, head=Head.ROBERTA),
    "XLMRobertaForSequenceClassification": Kind(roberta=True, head=Head.ROBERTA),
    "BertModel": Kind(roberta=False, head=None),
    "BertForMaskedLM": Kind(roberta=False, head=None),
    "RobertaModel": Kind(roberta=True, head=None),
    "RobertaForMaskedLM": Kind(roberta=True, head=None),
    "XLMRobertaModel": Kind(roberta=True, head=None),
    "XLMRobertaForMaskedLM": Kind(roberta=True, head=None),
}


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
    kind = ARCHITECTURES[architecture]
    parts = read_sentence_parts(directory)
    if kind.head is None and parts is None:
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{architecture} in {config_path} has no ranking head, and no {files.MODULES} beside it says how to pool; "
            "use a cross-encoder, or a sentence-transformers directory with its module folders",
        )
    if kind.head is not None and parts is not None:
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{architecture} in {config_path} is a cross-encoder, yet {files.MODULES} adds pooling; remove one of them",
        )
    geometry = read_geometry(config, roberta=kind.roberta)
    head = parts.pooling if parts else kind.head
    specials = _check_tokenizer(directory, geometry.vocabulary, pair=parts is None, first=head in FIRST_TOKEN)
    present, shards = read_tensors(directory)
    # More layers than tensors cannot be there, and a slip of the pen that says a billion must not be listed.
    needed = encoder_shapes(replace(geometry, layers=min(geometry.layers, len(present) + 1)))
    prefix = "roberta." if kind.roberta else "bert."
    if kind.head is not None:
        _check_labels(config, kind.head, present)
        needed |= head_shapes(kind.head, geometry)
    prefixes = (prefix,) if kind.head is not None else ("", prefix)
    tensors = find_tensors(needed, present, prefixes, str(directory))
    limit, lower_case = _limit(directory, geometry.positions, specials, sentence=parts is not None)
    read = [files.CONFIG, files.TOKENIZER, *shards, *(parts.files if parts else ())]
    index = "" if shards == (files.WEIGHTS,) else files.INDEX
    optional = (files.TOKENIZER_CONFIG, files.SENTENCE_CONFIG if parts else "", index)
    read += [name for name in optional if name and (directory / name).exists()]
    floats = [tensor for tensor in present.values() if tensor.dtype in DTYPES]
    return _with_parts(
        Blueprint(
            directory=directory,
            architecture=architecture,
            family=Family.CROSS_ENCODER,
            head=kind.head or Head.CLS,
            geometry=geometry,
            tensors=tensors,
            limit=limit,
            parameters=sum(tensor.size for tensor in floats),
            dtype=_main_dtype(floats),
            files=tuple(sorted(read)),
            size=sum((directory / name).stat().st_size for name in read),
            lower_case=lower_case,
        ),
        parts,
    )


def _with_parts(blueprint: Blueprint, parts: SentenceParts | None) -> Blueprint:
    if parts is None:
        return blueprint
    return replace(blueprint, family=Family.SENTENCE_ENCODER, head=parts.pooling, prompts=parts.prompts)


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


def _check_labels(config: Config, head: Head, present: dict[str, Tensor]) -> None:
    last = present.get("classifier.weight" if head is Head.BERT else "classifier.out_proj.weight")
    if last is not None and last.shape and last.shape[0] != 1:
        raise ModelError(
            Reason.VARIANT_UNSUPPORTED,
            f"{config.path.parent} classifies into {last.shape[0]} labels; a reranker gives one score: "
            "use a model trained with num_labels 1",
        )


def _check_tokenizer(directory: Path, vocabulary: int, *, pair: bool, first: bool) -> int:
    """The number of special tokens around the texts."""
    path = directory / files.TOKENIZER
    if not path.exists():
        raise ModelError(
            Reason.TOKENIZER_MISSING,
            f"no {files.TOKENIZER} in {directory}; write one with "
            "transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIRECTORY)",
        )
    return check_vocabulary(path, vocabulary, pair=pair, first=first)


def _limit(directory: Path, positions: int, specials: int, *, sentence: bool) -> tuple[int, bool]:
    """The least of what the model, its tokenizer and its modules allow; and whether text is lower-cased first."""
    limits = {
        f"max_position_embeddings in {files.CONFIG}": positions,
        f"model_max_length in {files.TOKENIZER_CONFIG}": files.read_object(directory / files.TOKENIZER_CONFIG).get(
            "model_max_length"
        ),
    }
    lower_case = False
    if sentence:
        values = files.read_object(directory / files.SENTENCE_CONFIG)
        limits[f"max_seq_length in {files.SENTENCE_CONFIG}"] = values.get("max_seq_length")
        lower_case = values.get("do_lower_case") is True
    # transformers writes 1e30 where it knows no limit; anything that is no positive number says as little.
    known = {where: n for where, n in limits.items() if isinstance(n, int | float) and n >= 1}
    where = min(known, key=lambda name: known[name])
    limit = int(known[where])
    if limit <= specials:
        raise ModelError(
            Reason.LIMIT_EXCEEDED,
            f"{where} of {directory} allows {limit} tokens, and the tokenizer's special tokens alone are {specials}: "
            "no room is left for text; correct that value",
        )
    return limit, lower_case


def _main_dtype(tensors: list[Tensor]) -> str:
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
    return DTYPES[max(sizes, key=lambda name: sizes[name])]
