"""From texts to token ids, and the special tokens that a tokenizer puts around them; engine/plan.py makes rows of them.

No torch: the tokenizers library does the work, in one call for all texts that runs on all cores.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.models import Unigram

from reranker_runtime.artifacts.files import read_object
from reranker_runtime.artifacts.vocabulary import SAVE_AGAIN
from reranker_runtime.engine.errand import proceed
from reranker_runtime.engine.rows import Passage, Row
from reranker_runtime.errors import ModelError, Reason

PROBE: Final = "a"
LETTERS: Final = 16
"""Characters that a token has at most, in nearly all texts."""
MARGIN: Final = 64
"""Tokens beyond those that matter: where a text was cut off, they may be others."""
COUNTED: Final = 1_000_000
"""Characters of all texts together whose tokens are counted to tell by how much one is too long."""
PART: Final = 1_000_000
"""Characters that are tokenised at a time: the library takes up to two hundred bytes for each, until it is done."""

MARK: Final = re.compile(r"<[^\s<>]+>")


@dataclass(frozen=True)
class Spans:
    """A text and where its tokens begin, in characters."""

    text: str
    starts: array[int]


class Texts:
    """The tokenizer, without the truncation and padding that tokenizer.json may ask for."""

    def __init__(self, path: Path, *, lower_case: bool = False) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(Reason.TOKENIZER_INVALID, f"{path} cannot be used ({error}); {SAVE_AGAIN}") from error
        self.path = path
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A passage that says "[SEP]" is a text about [SEP]: user text never becomes a control token.
        self._tokenizer.encode_special_tokens = True
        self._lower_case = lower_case
        added = self._tokenizer.get_added_tokens_decoder()
        self._specials = frozenset(number for number, token in added.items() if token.special)
        self._unknown = self._unknown_id()

    def ids(self, texts: Sequence[str], most: int | None = None, *, counted: bool = False) -> list[list[int]]:
        """Token ids of each text alone, without special tokens.

        Where only the first `most` matter, a text far longer than those is read as far as they need, and has more than
        `most` ids all the same; `counted` asks for all of them, where there are not enormously many.
        """
        reach = len(max(texts, key=len, default="")) if most is None else LETTERS * (most + MARGIN)
        if counted:
            reach = max(reach, COUNTED // max(1, len(texts)))
        found = self._ids([text if len(text) <= reach else _beginning(text, reach) for text in texts])
        for n, text in enumerate(texts):
            if most is not None and len(text) > reach and len(found[n]) < most + MARGIN:
                found[n] = self._first_ids(
                    text, most + MARGIN
                )  # spaces without end, or a vocabulary of very long words
        return found

    def _first_ids(self, text: str, enough: int) -> list[int]:
        found: list[int] = []
        for _, part in _parts(text):
            found += self._ids([part])[0]
            if len(found) >= enough:
                break
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        if self._lower_case:
            texts = [text.lower() for text in texts]
        return [
            self._without_specials(encoding.ids)
            for batch in _batches(texts)
            for encoding in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        ]

    def spans(self, passages: Sequence[Passage]) -> list[Spans]:
        """Each passage's text, as the model reads it, and where its tokens begin in it."""
        texts = [passage.text.lower() if self._lower_case else passage.text for passage in passages]
        found = [Spans(text, array("q")) for text in texts]
        places = [(spans.starts, begin, part) for spans in found for begin, part in _parts(spans.text)]
        encoded = (
            encoding
            for batch in _batches([part for _, _, part in places])
            for encoding in self._tokenizer.encode_batch(batch, add_special_tokens=False)
        )
        for (starts, begin, _), encoding in zip(places, encoded, strict=True):
            starts.extend(begin + start for start, _ in encoding.offsets)
        return found

    def reserve(self, tokens: Sequence[str]) -> None:
        """Tokens that no user's text may become, whether or not tokenizer.json calls them special."""
        self._tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
        numbers = map(self._tokenizer.token_to_id, tokens)
        self._specials |= {number for number in numbers if number is not None}

    def marks(self, pieces: Sequence[str]) -> list[str]:
        """Added tokens in a template's pieces that tokenizer.json does not call special: Qwen3's `</think>` is one."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        found = (token.content for token in added if not token.special and MARK.fullmatch(token.content))
        return [mark for mark in found if any(mark in piece for piece in pieces)]

    def control(self, text: str) -> list[int]:
        """Token ids of a template's piece, in which control tokens are what they say. Only while starting."""
        self._tokenizer.encode_special_tokens = False
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        finally:
            self._tokenizer.encode_special_tokens = True
        return ids

    def _without_specials(self, ids: list[int]) -> list[int]:
        # encode_special_tokens is not enough where the vocabulary holds "</s>" as a piece, as XLM-R's does.
        if self._specials.isdisjoint(ids):
            return ids
        kept = (self._unknown if number in self._specials else number for number in ids)
        return [number for number in kept if number is not None]

    def _unknown_id(self) -> int | None:
        model = self._tokenizer.model
        if isinstance(model, Unigram):  # the only model that does not tell
            number = read_object(self.path)["model"].get("unk_id")
            return number if isinstance(number, int) else None
        name = getattr(model, "unk_token", None)
        return None if name is None else self._tokenizer.token_to_id(name)

    def probe(self, *texts: str) -> Encoding:
        """One text or a pair with its special tokens; every text must leave a trace."""
        encoding = self._tokenizer.encode(texts[0], texts[1] if len(texts) > 1 else None)
        if not set(range(len(texts))) <= set(encoding.sequence_ids):
            raise ModelError(Reason.TOKENIZER_INVALID, f"{self.path} finds no token in {PROBE!r}; check its vocabulary")
        return encoding


def _beginning(text: str, end: int, begin: int = 0) -> str:
    space = text.rfind(" ", max(begin + 1, end - 1000), end)
    return text[begin : end if space < 0 else space]


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """All of a text in order, and where each part begins."""
    begin = 0
    while len(text) - begin > PART:
        part = _beginning(text, begin + PART, begin)
        yield begin, part
        begin += len(part)
    yield begin, text[begin:]


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """All texts in order, so many at a time that memory holds what the library makes of them.

    Raises `Abandoned` between two where nobody waits for them any more.
    """
    batch: list[str] = []
    letters = 0
    for text in texts:
        if batch and letters + len(text) > PART:
            proceed(letters)
            yield batch
            batch, letters = [], 0
        batch.append(text)
        letters += len(text)
    if batch:
        proceed(letters)
        yield batch


@dataclass(frozen=True)
class Template:
    """Special tokens before, between and after the texts, with the segment of each part."""

    pieces: tuple[tuple[int, ...], ...]
    segments: tuple[tuple[int, ...], ...]
    """Of the pieces' tokens."""
    types: tuple[int, ...]
    """Of the texts' tokens."""

    @classmethod
    def of(cls, encoding: Encoding, count: int, segments: int) -> Template:
        """Read off an encoded probe; a model with one segment only (RoBERTa) gets segment 0 throughout."""
        pieces: list[list[int]] = [[] for _ in range(count + 1)]
        kinds: list[list[int]] = [[] for _ in range(count + 1)]
        types = [0] * count
        place = 0
        for token, segment, sequence in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
            segment_id = segment if segments > 1 else 0
            if sequence is None:
                pieces[place].append(token)
                kinds[place].append(segment_id)
            else:
                place = sequence + 1
                types[sequence] = segment_id
        return cls(tuple(map(tuple, pieces)), tuple(map(tuple, kinds)), tuple(types))

    @property
    def specials(self) -> int:
        return sum(map(len, self.pieces))

    @property
    def segmented(self) -> bool:
        return any(self.types) or any(map(any, self.segments))

    def fill(self, *texts: list[int], skip: int = 0) -> Row:
        ids = list(self.pieces[0])
        for piece, text in zip(self.pieces[1:], texts, strict=True):
            ids += text
            ids += piece
        if not self.segmented:
            return Row(ids, None, skip)
        types = list(self.segments[0])
        for piece, text, segment in zip(self.segments[1:], texts, self.types, strict=True):
            types += [segment] * len(text)
            types += piece
        return Row(ids, types, skip)
