"""One request's texts to a plan: what each family's prompt makes of query and passages, and what is cut.

NIM's rule: with END the query stays whole as long as it fits, and the passage's tail is cut; with NONE an input that
is too long is an error. Template and special tokens count towards the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from reranker_runtime.artifacts.files import TOKENIZER
from reranker_runtime.artifacts.vocabulary import no_first_token
from reranker_runtime.engine.rows import Passage, Plan, Row, Truncate
from reranker_runtime.engine.tokenise import PROBE, Template, Texts
from reranker_runtime.errors import InputTooLong, InvalidRequest, ModelError, Reason
from reranker_runtime.images.limits import Limits
from reranker_runtime.models.blueprint import Blueprint, Pair, Pooling, Single, Written
from reranker_runtime.models.geometry import DecoderGeometry

PROBES: Final = (
    "word", "Word", " word", "  word", "7", "'s", ".", "...", "?!", "\n", "\n\nword", "\t", "", "-", "(a)", ":", "_",
    "é", "e\u0301", "\u0301", "漢字", "عربي", "🙂", "\u200b", "\xa0word", "\u017ft", "<", "#", "@word", "\u0130", "ﬁ",
)  # fmt: skip
"""What a passage may begin with: if none of these joins the template before it, nothing does."""
SHARED_LEAST: Final = 8
"""Tokens that rows must begin with alike before computing them once is worth a forward of its own."""


class Planner(Protocol):
    """Texts to rows, one way for each kind of prompt."""

    limit: int
    texts: Texts

    def plan(self, query: str, passages: Sequence[Passage], truncate: Truncate, instruction: str = "", /) -> Plan:
        """Tokenise one request; raises `InputTooLong` where a text is too long and truncation is off."""

    def space(self, query: str, instruction: str = "", /) -> int:
        """Tokens that a passage may have beside this query; 0 or less where the query leaves none."""


def planner_for(blueprint: Blueprint, limit: int, instruction: str = "", images: Limits = Limits()) -> Planner:  # noqa: B008
    """The planner of a model's prompt."""
    design = blueprint.design
    path = blueprint.directory / TOKENIZER
    prompt = design.prompt
    texts = Texts(path, lower_case=isinstance(prompt, Single) and prompt.lower_case)
    if isinstance(prompt, Written):
        geometry = design.body.geometry
        causal = isinstance(geometry, DecoderGeometry) and geometry.causal
        if design.vision is not None:
            from reranker_runtime.engine.see import SeeingPlanner  # noqa: PLC0415 - Pillow: only where images are read

            return SeeingPlanner(texts, prompt, limit, instruction, design.vision, images)
        return WrittenPlanner(texts, prompt, limit, instruction, causal=causal)
    pair = isinstance(prompt, Pair)
    probe = texts.probe(PROBE, PROBE) if pair else texts.probe(PROBE)
    template = Template.of(probe, 2 if pair else 1, design.body.segments)
    if design.head.pooling[0] is Pooling.CLS and not template.pieces[0]:
        raise no_first_token(path)
    return (
        SinglePlanner(texts, template, limit, prompt)
        if isinstance(prompt, Single)
        else PairPlanner(texts, template, limit)
    )


def check_text(passages: Sequence[Passage]) -> None:
    """What a model without eyes is asked: an image that nobody looks at would be ranked by its text alone."""
    number = next((n for n, passage in enumerate(passages) if passage.image is not None), None)
    if number is not None:
        raise InvalidRequest(
            "this model ranks text only; send the passage's text, or ask a model that sees images",
            at=("passages", number, "image"),
        )


def _room(specials: int, limit: int) -> int:
    room = limit - specials
    if room < 1:
        raise ModelError(
            Reason.LIMIT_EXCEEDED,
            f"a limit of {limit} tokens leaves no room for text: special and template tokens alone are {specials}; "
            "raise NIM_PIPELINE_MAX_SEQ_LEN where it is set",
        )
    return room


class PairPlanner:
    """Cross-encoders: query and passage are one sequence and share one limit."""

    def __init__(self, texts: Texts, template: Template, limit: int) -> None:
        self.limit = limit
        self.texts, self._template, self._room = texts, template, _room(template.specials, limit)

    def space(self, query: str, _: str = "") -> int:
        return self._room - len(self.texts.ids([query], self._room)[0])

    def plan(self, query: str, passages: Sequence[Passage], truncate: Truncate, _: str = "") -> Plan:
        counted = truncate is Truncate.NONE
        head, *tails = self.texts.ids([query, *(passage.text for passage in passages)], self._room, counted=counted)
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

    def __init__(self, texts: Texts, template: Template, limit: int, prompt: Single) -> None:
        self.limit = limit
        self.texts, self._template, self._room = texts, template, _room(template.specials, limit)
        self._prompt = prompt
        self._skips = [0, 0]
        if not prompt.pooled_prompt:
            first = len(template.pieces[0])
            self._skips = [first + len(ids) if ids else 0 for ids in texts.ids([prompt.query, prompt.passage])]

    def space(self, _query: str, _: str = "") -> int:
        return self._room - len(self.texts.ids([self._prompt.passage])[0])

    def plan(self, query: str, passages: Sequence[Passage], truncate: Truncate, _: str = "") -> Plan:
        texts = [self._prompt.query + query, *(self._prompt.passage + passage.text for passage in passages)]
        encoded = self.texts.ids(texts, self._room, counted=truncate is Truncate.NONE)
        over = [len(ids) - self._room for ids in encoded]
        if truncate is Truncate.NONE and max(over) > 0:
            if over[0] > 0:
                raise InputTooLong(over[0] + self.limit, self.limit, ("query",))
            raise _too_long(over[1:], self.limit, "alone")
        rows, places = _share(
            [self._template.fill(ids[: self._room], skip=self._skips[n > 0]) for n, ids in enumerate(encoded)]
        )
        return Plan(rows, places[1:], _tokens(rows, places), sum(n > 0 for n in over[1:]), 0)


@dataclass(frozen=True, slots=True)
class Cut:
    """One passage's row, and what it took to make it fit."""

    row: Row
    over: int
    """Tokens by which it was too long; 0 or less where it fits."""
    emptied: bool
    """Whether nothing is left of the passage."""


class WrittenPlanner:
    """Prompts written around the texts, as decoders read them."""

    def __init__(self, texts: Texts, prompt: Written, limit: int, instruction: str, *, causal: bool) -> None:
        self.limit = limit
        self.texts, self._prompt, self._causal = texts, prompt, causal
        texts.reserve(texts.marks((*prompt.before, *(prompt.between or ()), *prompt.after)))
        around: tuple[tuple[int, ...], ...] = ((), ())
        if prompt.bos:
            around = Template.of(texts.probe(PROBE), 1, 1).pieces
        self._before = [*around[0], *(n for piece in prompt.before for n in texts.control(piece))]
        self._between = [n for piece in prompt.between or () for n in texts.control(piece)]
        self._after = [*(n for piece in prompt.after for n in texts.control(piece)), *around[1]]
        self._room = _room(len(self._before) + len(self._between) + len(self._after), limit)
        share, parts = prompt.query_share
        self._most = min(self._room, limit * share // parts)
        self._instruction = instruction
        self._apart = prompt.between is not None or self._splits("")
        self._frame, framed = texts.ids([prompt.passage.format(passage=text) for text in ("", PROBES[0])])
        """What an empty passage is."""
        self._lead = _common([self._frame, framed])
        """Tokens before a passage's own: a blank may join its first word."""

    def _splits(self, before: str) -> bool:
        """Whether the two parts give the same tokens apart as together, whatever the passage begins with."""
        head = before + self._query_text("query")
        tails = [self._prompt.passage.format(passage=text) for text in PROBES]
        first, *rest = self.texts.ids([head, *tails])
        whole = self.texts.ids([head + tail for tail in tails])
        return all(ids == first + tail for ids, tail in zip(whole, rest, strict=True))

    def _query_text(self, query: str, instruction: str = "") -> str:
        given = instruction or self._instruction
        head = self._prompt.instructed if given and self._prompt.instructed else self._prompt.query
        return head.format(query=query, instruction=given or self._prompt.instruction)

    def space(self, query: str, instruction: str = "") -> int:
        head = self.texts.ids([self._query_text(query, instruction)], self._room)[0]
        return self._room - min(len(head), self._most) - len(self._frame)

    def plan(self, query: str, passages: Sequence[Passage], truncate: Truncate, instruction: str = "") -> Plan:
        head, ends = self._parts(self._query_text(query, instruction), passages, truncate)
        return self._planned([self._cut(head, end) for end in ends], truncate)

    def _parts(self, text: str, passages: Sequence[Passage], truncate: Truncate) -> tuple[list[int], list[list[int]]]:
        """Tokens of the query's part, and those of each passage's."""
        counted = truncate is Truncate.NONE
        tails = [self._prompt.passage.format(passage=passage.text) for passage in passages]
        if self._apart:
            head, *ends = self.texts.ids([text, *tails], self._room, counted=counted)
        else:
            head, *wholes = self.texts.ids([text, *(text + tail for tail in tails)], self._room, counted=counted)
            # What whole prompts have in common stands for the query: a token may cross its end.
            head = head[: _common([head, *wholes])]
            ends = [whole[len(head) :] for whole in wholes]
        return head, ends

    def _cut(self, head: list[int], end: list[int], block: Sequence[int] = ()) -> Cut:
        """A passage's row, cut to the limit; `block` stands before the query and is never cut."""
        most, room = self._most - len(block), self._room - len(block)
        over = max(len(head) - most, len(head) + len(end) - room)
        head = head[:most]
        space = room - len(head)
        ids = [*self._before, *block, *head, *self._between, *end[:space], *self._after]
        return Cut(Row(ids), over, space <= self._lead and end != self._frame)

    def _planned(self, cuts: Sequence[Cut], truncate: Truncate) -> Plan:
        over = [cut.over for cut in cuts]
        if truncate is Truncate.NONE and max(over) > 0:
            raise _too_long(over, self.limit, "with the query and the template")
        rows, places = _share([cut.row for cut in cuts])
        emptied = sum(cut.emptied for cut in cuts)
        plan = Plan(rows, places, _tokens(rows, places), sum(n > 0 for n in over), emptied)
        return _with_prefix(plan) if self._causal else plan


def _with_prefix(plan: Plan) -> Plan:
    """What all rows begin with, taken off them: a causal model sees it alike in each."""
    if len(plan.rows) < 2:  # noqa: PLR2004 - nothing to share
        return plan
    shared = min(_common([row.ids for row in plan.rows]), min(len(row.ids) for row in plan.rows) - 1)
    if shared < SHARED_LEAST:
        return plan
    return replace(plan, rows=[Row(row.ids[shared:]) for row in plan.rows], prefix=plan.rows[0].ids[:shared])


def _common(rows: Sequence[list[int]]) -> int:
    """Tokens that all begin with: those that the least and the greatest have in common."""
    least, greatest = min(rows), max(rows)
    end = min(len(least), len(greatest))
    return next((n for n in range(end) if least[n] != greatest[n]), end)


def _share(rows: list[Row]) -> tuple[list[Row], list[int]]:
    """Equal rows are scored once: it is quicker, and equal texts then tie exactly, whatever batch they fall into."""
    order: dict[tuple[int, ...], int] = {}
    places = [order.setdefault((row.skip, id(row.image), *row.ids), len(order)) for row in rows]
    first = {place: n for n, place in reversed(list(enumerate(places)))}
    return [rows[first[place]] for place in range(len(order))], places


def _tokens(rows: list[Row], places: list[int]) -> int:
    return sum(len(rows[place].ids) for place in places)


def _too_long(over: list[int], limit: int, how: str) -> InputTooLong:
    worst = over.index(max(over))
    return InputTooLong(over[worst] + limit, limit, ("passages", worst), how)
