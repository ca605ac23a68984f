"""Does tokenizer.json fit the model? Asked before serving: a token beyond the embedding table fails mid-request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from reranker_runtime.artifacts.files import read_object
from reranker_runtime.errors import ModelError, Reason

SAVE_AGAIN: Final = "write it again with transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIRECTORY)"
NEEDED: Final = {
    "BPE": ("merges",),
    "WordPiece": ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word"),
    "WordLevel": ("unk_token",),
    "Unigram": (),
}
"""What the tokenizers library asks of each type of model, beside its vocab."""
FIXED: Final = {"BertProcessing": (3, 2), "RobertaProcessing": (4, 2)}
"""Special tokens around a pair and around a single text, where no template lists them."""


class Vocabulary:
    """tokenizer.json, read once and asked several things."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = read_object(path, Reason.TOKENIZER_INVALID)
        with self._usable():
            _check_model(self._values.get("model"))
            self._highest = max(_ids(self._values))

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as error:
            raise ModelError(
                Reason.TOKENIZER_INVALID, f"{self.path} holds no usable vocabulary; {SAVE_AGAIN}"
            ) from error

    @cached_property
    def _added(self) -> dict[str, int]:
        return {added["content"]: int(added["id"]) for added in self._values.get("added_tokens") or []}

    def check_control(self, token: str) -> None:
        """A template's control token must be one: as plain text, the model would read something else."""
        with self._usable():
            known = token in self._added
        if not known:
            raise ModelError(
                Reason.TOKENIZER_INVALID,
                f"{self.path} has no added token {token!r}, which this family's template is made of; {SAVE_AGAIN}",
            )

    def check(self, rows: int) -> None:
        """Every token id must be below `rows`, the model's vocab_size."""
        if self._highest >= rows:
            raise ModelError(
                Reason.TOKENIZER_INVALID,
                f"{self.path} has token id {self._highest}, but config.json gives the model vocab_size {rows}; "
                "tokenizer and model are from different models",
            )

    def specials(self, *, pair: bool, first: bool) -> int:
        """Special tokens around a pair or a single text; with `first`, one must come first."""
        with self._usable():
            around = _around(self._values.get("post_processor"), pair=pair)
        if around is None:  # a post-processor of a kind not known here: the engine asks the tokenizer itself
            return 0
        if first and not (around and around[0]):
            raise no_first_token(self.path)
        return sum(around)

    def id(self, token: str) -> int:
        """A token that the model's score is read off, or that its template needs."""
        with self._usable():
            if token in self._added:
                return self._added[token]
            vocabulary = self._values["model"]["vocab"]
            if isinstance(vocabulary, list):
                names = {piece[0]: number for number, piece in enumerate(vocabulary)}
            else:
                names = vocabulary
        if token not in names:
            raise ModelError(
                Reason.TOKENIZER_INVALID,
                f"{self.path} has no token {token!r}, which this family's score or template needs; {SAVE_AGAIN}",
            )
        return int(names[token])


def no_first_token(path: Path) -> ModelError:
    """A head that reads the first token would read a word of the text."""
    return ModelError(
        Reason.TOKENIZER_INVALID,
        f"{path} puts no special token before the text (post_processor), but the model was trained with one there; "
        f"{SAVE_AGAIN}",
    )


def _check_model(model: Any) -> None:
    listed = isinstance(model["vocab"], list)
    kind = model.get("type")
    if kind is None:  # files of old leave it out, and the library goes by what is there
        kind = "Unigram" if listed else "BPE" if "merges" in model else "WordLevel"
    if listed != (kind == "Unigram") or not all(key in model for key in NEEDED[kind]):
        raise ValueError(kind)


def _ids(values: dict[str, Any]) -> list[int]:
    """The highest id of each place that names ids."""
    vocabulary = values["model"]["vocab"]
    # Unigram: the place in the list is the id.
    ids = [len(vocabulary) - 1 if isinstance(vocabulary, list) else max(vocabulary.values())]
    ids += [token["id"] for token in values.get("added_tokens") or []]
    for processor in _processors(values.get("post_processor")):
        match processor.get("type"):
            case "TemplateProcessing":
                ids += [number for token in processor["special_tokens"].values() for number in token["ids"]]
            case "BertProcessing" | "RobertaProcessing":
                ids += [processor["sep"][1], processor["cls"][1]]
    if not all(isinstance(number, int) for number in ids):
        raise TypeError("ids are whole numbers")
    return ids


def _processors(processor: Any) -> list[dict[str, Any]]:
    if processor is None:
        return []
    if processor["type"] != "Sequence":
        return [processor]
    return [inner for outer in processor["processors"] for inner in _processors(outer)]


def _around(processor: Any, *, pair: bool) -> list[int] | None:
    """Special tokens first, then in the rest; [] where there are none, None where that cannot be told."""
    adding = [p for p in _processors(processor) if p["type"] != "ByteLevel"]  # ByteLevel only moves offsets
    if not adding:
        return []
    if len(adding) > 1:
        return None
    kind = adding[0]["type"]
    if kind in FIXED:
        return [1, FIXED[kind][0 if pair else 1] - 1]
    if kind != "TemplateProcessing":
        return None
    pieces = adding[0]["pair" if pair else "single"]
    tokens = adding[0]["special_tokens"]
    counts = [len(tokens[p["SpecialToken"]["id"]]["ids"]) if "SpecialToken" in p else 0 for p in pieces]
    return [counts[0], sum(counts[1:])] if counts else []
