"""From texts to rows of token ids, with NIM's truncation rule. No torch: the tokenizers library does the work.

A pair's special tokens come from the tokenizer's own post-processor, found by encoding a probe once, so that query and
passages can be tokenised apart: the query once, the passages in one call that runs on all cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from tokenizers import Encoding, Tokenizer
from tokenizers.models import Unigram

from reranker_runtime.artifacts.files import read_object
from reranker_runtime.artifacts.vocabulary import no_first_token
from reranker_runtime.errors import InputTooLong, ModelError, Reason
from reranker_runtime.models.blueprint import FIRST_TOKEN, Blueprint, Family

PROBE: Final = "a"


class Truncate(StrEnum):
    """What happens to a text that is too long."""

    NONE = "NONE"
    """An error, so that nothing is cut unseen."""
    END = "END"
    """The passage's tail is cut; the query stays whole as long as it fits."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence: token ids, and the segment that each belongs to."""

    ids: list[int]
    types: list[int]


@dataclass(frozen=True)
class Plan:
    """What is to be scored for one request."""

    rows: list[Row]
    places: list[int]
    """Passage -> its row; passages with equal tokens share one."""
    tokens: int
    """Tokens of the request as it was sent: shared rows count as often as they were asked for."""
    truncated: int
    """Passages that lost tokens."""
    emptied: int
    """Passages that lost every token, because the query alone fills the limit."""


class Planner(Protocol):
    """Texts to rows, one way for each family."""

    limit: int

    def plan(self, query: str, passages: Sequence[str], truncate: Truncate) -> Plan:
        """Tokenise one request; raises `InputTooLong` where a text is too long and truncation is off."""


class Texts:
    """The tokenizer, without the truncation and padding that tokenizer.json may ask for."""

    def __init__(self, path: Path, *, lower_case: bool = False) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(
                Reason.TOKENIZER_INVALID,
                f"{path} cannot be used ({error}); write it again with "
                "transformers.AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIRECTORY)",
            ) from error
        self._path = path
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A passage that says "[SEP]" is a text about [SEP]: user text never becomes a control token.
        self._tokenizer.encode_special_tokens = True
        self._lower_case = lower_case
        added = self._tokenizer.get_added_tokens_decoder()
        self._specials = frozenset(number for number, token in added.items() if token.special)
        self._unknown = self._unknown_id()

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text alone, without special tokens."""
        if self._lower_case:
            texts = [text.lower() for text in texts]
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._without_specials(encoding.ids) for encoding in encoded]

    def _without_specials(self, ids: list[int]) -> list[int]:
        # encode_special_tokens is not enough where the vocabulary holds "</s>" as a piece, as XLM-R's does.
        if self._specials.isdisjoint(ids):
            return ids
        kept = (self._unknown if number in self._specials else number for number in ids)
        return [number for number in kept if number is not None]

    def _unknown_id(self) -> int | None:
        model = self._tokenizer.model
        if isinstance(model, Unigram):  # the only model that does not tell
            number = read_object(self._path)["model"].get("unk_id")
            return number if isinstance(number, int) else None
        name = getattr(model, "unk_token", None)
        return None if name is None else self._tokenizer.token_to_id(name)

    def probe(self, *texts: str) -> Encoding:
        """One text or a pair with its special tokens; every text must leave a trace."""
        encoding = self._tokenizer.encode(texts[0], texts[1] if len(texts) > 1 else None)
        if not set(range(len(texts))) <= set(encoding.sequence_ids):
            raise ModelError(
                Reason.TOKENIZER_INVALID, f"{self._path} finds no token in {PROBE!r}; check its vocabulary"
            )
        return encoding


@dataclass(frozen=True)
class Template:
    """Special tokens before, between and after the texts, with the segment of each part."""

    pieces: tuple[Row, ...]
    types: tuple[int, ...]

    @classmethod
    def of(cls, encoding: Encoding, count: int, segments: int) -> Template:
        """Read off an encoded probe; a model with one segment only (RoBERTa) gets segment 0 throughout."""
        pieces, types = [Row([], []) for _ in range(count + 1)], [0] * count
        place = 0
        for token, segment, sequence in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
            segment_id = segment if segments > 1 else 0
            if sequence is None:
                pieces[place].ids.append(token)
                pieces[place].types.append(segment_id)
            else:
                place = sequence + 1
                types[sequence] = segment_id
        return cls(tuple(pieces), tuple(types))

    @property
    def specials(self) -> int:
        return sum(len(piece.ids) for piece in self.pieces)

    def fill(self, *texts: list[int]) -> Row:
        first, *rest = self.pieces
        ids, types = list(first.ids), list(first.types)
        for piece, text, segment in zip(rest, texts, self.types, strict=True):
            ids += text
            ids += piece.ids
            types += [segment] * len(text)
            types += piece.types
        return Row(ids, types)


def planner_for(blueprint: Blueprint, tokenizer: Path, limit: int) -> Planner:
    """The planner of a model's family."""
    texts = Texts(tokenizer, lower_case=blueprint.lower_case)
    segments = blueprint.geometry.types
    pair = blueprint.family is Family.CROSS_ENCODER
    template = Template.of(texts.probe(PROBE, PROBE) if pair else texts.probe(PROBE), 2 if pair else 1, segments)
    if blueprint.head in FIRST_TOKEN and not template.pieces[0].ids:
        raise no_first_token(tokenizer)
    return PairPlanner(texts, template, limit) if pair else SinglePlanner(texts, template, limit, blueprint)


def _room(template: Template, limit: int) -> int:
    room = limit - template.specials
    if room < 1:
        raise ModelError(
            Reason.LIMIT_EXCEEDED,
            f"a limit of {limit} tokens leaves no room for text: the special tokens alone are {template.specials}; "
            "raise NIM_PIPELINE_MAX_SEQ_LEN where it is set",
        )
    return room


class PairPlanner:
    """Cross-encoders: query and passage are one sequence and share one limit."""

    def __init__(self, texts: Texts, template: Template, limit: int) -> None:
        self.limit = limit
        self._texts, self._template, self._room = texts, template, _room(template, limit)

    def plan(self, query: str, passages: Sequence[str], truncate: Truncate) -> Plan:
        head, *tails = self._texts.ids([query, *passages])
        over = [len(head) + len(tail) - self._room for tail in tails]
        if truncate is Truncate.NONE and max(over) > 0:
            raise _too_long(over, self.limit, "with the query")
        head = head[: self._room]
        space = self._room - len(head)
        rows, places = _share([self._template.fill(head, tail[:space]) for tail in tails])
        emptied = sum(space == 0 and len(tail) > 0 for tail in tails)
        return Plan(rows, places, _tokens(rows, places), sum(n > 0 for n in over), emptied)


class SinglePlanner:
    """Sentence encoders: every text is its own sequence with its own limit. Row 0 is the query."""

    def __init__(self, texts: Texts, template: Template, limit: int, blueprint: Blueprint) -> None:
        self.limit = limit
        self._texts, self._template, self._room = texts, template, _room(template, limit)
        self._prompts = blueprint.prompts

    def plan(self, query: str, passages: Sequence[str], truncate: Truncate) -> Plan:
        texts = [self._prompts.query + query, *(self._prompts.passage + text for text in passages)]
        encoded = self._texts.ids(texts)
        over = [len(ids) - self._room for ids in encoded]
        if truncate is Truncate.NONE and max(over) > 0:
            if over[0] > 0:
                raise InputTooLong(over[0] + self.limit, self.limit, "the query", {"query": True})
            raise _too_long(over[1:], self.limit, "alone")
        rows, places = _share([self._template.fill(ids[: self._room]) for ids in encoded])
        return Plan(rows, places[1:], _tokens(rows, places), sum(n > 0 for n in over[1:]), 0)


def _share(rows: list[Row]) -> tuple[list[Row], list[int]]:
    """Equal rows are scored once: it is quicker, and equal texts then tie exactly, whatever batch they fall into."""
    order: dict[tuple[int, ...], int] = {}
    places = [order.setdefault(tuple(row.ids), len(order)) for row in rows]
    first = {place: n for n, place in reversed(list(enumerate(places)))}
    return [rows[first[place]] for place in range(len(order))], places


def _tokens(rows: list[Row], places: list[int]) -> int:
    return sum(len(rows[place].ids) for place in places)


def _too_long(over: list[int], limit: int, how: str) -> InputTooLong:
    worst = over.index(max(over))
    return InputTooLong(over[worst] + limit, limit, f"passage {worst} {how}", {"passage": worst})
