"""Long documents in chunks that fit beside the query, of which the best counts: cut at words, not in the middle of one.

Chunks are cut from the text and not from its tokens, because a tokenizer may write the beginning of a text otherwise
than its middle: what is scored is then exactly what ranking the chunk alone would score.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from typing import Final

from reranker_runtime.engine.plan import Planner
from reranker_runtime.engine.rows import Ask, Chunking, Passage, Plan, Truncate
from reranker_runtime.engine.tokenise import Spans
from reranker_runtime.errors import InvalidRequest, RequestError

SPARE: Final = 2
"""Tokens of each chunk left free: a text cut out of another may begin with one more."""
WORD_SHARE: Final = 4
"""A chunk ends at a word where that costs it at most one part in so many."""


def plan_chunks(ask: Ask, chunking: Chunking, planner: Planner, most: int) -> Plan:
    """A plan whose rows are chunks; raises `InvalidRequest` where there would be more than `most` of them."""
    space = planner.space(ask.query, ask.instruction)
    if space < 1:  # nothing of any passage fits, in however many chunks
        return planner.plan(ask.query, ask.passages, ask.truncate, ask.instruction)
    if ask.truncate is Truncate.NONE:  # a query too long by itself is not cut in silence
        planner.plan(ask.query, [Passage()], ask.truncate, ask.instruction)
    space -= SPARE if space > WORD_SHARE * SPARE else 0
    pieces: list[Passage] = []
    owners: list[int] = []
    lost = 0
    for number, (passage, spans) in enumerate(zip(ask.passages, planner.texts.spans(ask.passages), strict=True)):
        if passage.image is not None:  # the text beside an image is what is said of it, not a document
            cut, whole = [passage.text], True
        else:
            cut, whole = chunks(spans, space, chunking, most - len(pieces))
        if len(pieces) + len(cut) > most:
            raise InvalidRequest(
                f"up to here the documents make more than {most} chunks of {space} tokens beside this query; "
                "send fewer or shorter ones, or lower max_tokens_per_doc or max_chunks_per_doc",
                at=("passages", number),
            )
        pieces += [replace(passage, text=text) for text in cut]
        owners += [number] * len(cut)
        lost += not whole
    try:
        plan = planner.plan(ask.query, pieces, Truncate.END, ask.instruction)
    except RequestError as error:
        raise error.moved(owners.__getitem__) from None  # the caller knows documents, and no chunks
    return replace(plan, owners=owners, truncated=plan.truncated + lost)


def chunks(spans: Spans, space: int, chunking: Chunking, most: int) -> tuple[list[str], bool]:
    """The text in chunks of at most `space` tokens, and whether they hold all of it; one too many ends the work."""
    text, starts = spans.text, spans.starts
    count = len(starts) if chunking.tokens is None else min(len(starts), chunking.tokens)
    end = len(text) if count == len(starts) else starts[count]
    if count <= space:
        return [text[:end]], count == len(starts)
    allowed = most + 1 if chunking.most is None else min(chunking.most, most + 1)
    found: list[str] = []
    begin = 0
    while begin < count and len(found) < allowed:
        following = begin + space
        cut = end
        if following < count:
            cut = _word_end(text, starts[begin], starts[following])
            following = max(begin + 1, bisect_left(starts, cut, begin + 1, following))
        found.append(text[starts[begin] : cut].strip())
        begin = following
    return found, begin >= count == len(starts)


def _word_end(text: str, begin: int, end: int) -> int:
    """Where the last word that ends before `end` has ended."""
    nearest = end - (end - begin) // WORD_SHARE
    space = max(text.rfind(mark, nearest, end) for mark in " \n\t")
    return end if space < 0 else space + 1
