"""Long texts in chunks: nothing is lost, nothing is too long, words stay whole where they can."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker_runtime.engine.chunk import chunks, plan_chunks
from reranker_runtime.engine.rows import Ask, Chunking, Passage, Truncate
from reranker_runtime.engine.tokenise import Spans
from reranker_runtime.errors import InvalidRequest
from reranker_runtime.images.decode import decode

ALL = 10_000
WHOLE = Chunking()


def spans(text: str, size: int = 3) -> Spans:
    """Tokens of at most so many letters, as a tokenizer that cuts words into pieces has them."""
    starts = []
    begin = 0
    for word in text.split(" "):
        starts += range(begin, begin + len(word), size)
        begin += len(word) + 1
    return Spans(text, starts)


def tokens(text: str) -> int:
    return len(spans(text).starts)


texts = st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=60).map(" ".join)


@given(texts, st.integers(1, 30))
def test_all_of_the_text_is_in_one_chunk_after_the_other(text: str, space: int) -> None:
    found, whole = chunks(spans(text), space, WHOLE, ALL)
    assert whole
    assert "".join(found).replace(" ", "") == text.replace(" ", "")
    assert all(found)
    assert all(tokens(chunk) <= space + 1 for chunk in found), "a word cut in two may begin anew: the token left free"


@given(texts, st.integers(20, 40))
def test_words_stay_whole_where_a_quarter_of_the_chunk_holds_one(text: str, space: int) -> None:
    found, _ = chunks(spans(text), space, WHOLE, ALL)
    assert [word for chunk in found for word in chunk.split()] == text.split()


@given(texts, st.integers(1, 20), st.integers(1, 5))
def test_at_most_so_many_chunks_are_read(text: str, space: int, most: int) -> None:
    every, _ = chunks(spans(text), space, WHOLE, ALL)
    found, whole = chunks(spans(text), space, Chunking(most=most), ALL)
    assert found == every[:most]
    assert whole == (len(every) <= most)


@given(texts, st.integers(1, 20), st.integers(1, 40))
def test_at_most_so_many_tokens_are_read(text: str, space: int, most: int) -> None:
    found, whole = chunks(spans(text), space, Chunking(tokens=most), ALL)
    starts = spans(text).starts
    read = text if len(starts) <= most else text[: starts[most]]
    assert "".join(found).replace(" ", "") == read.replace(" ", "")
    assert whole == (len(starts) <= most)


def test_one_chunk_more_than_is_allowed_ends_the_work() -> None:
    found, whole = chunks(spans("abc " * 1000), 1, WHOLE, 5)
    assert len(found) == 6
    assert not whole


def test_a_text_without_tokens_is_one_chunk() -> None:
    assert chunks(Spans("", []), 5, WHOLE, ALL) == ([""], True)
    assert chunks(Spans(" \n", []), 5, Chunking(tokens=3, most=1), ALL) == ([" \n"], True)


def test_an_image_is_named_by_its_document_and_not_by_its_chunk() -> None:
    class Planner:
        texts = SimpleNamespace(spans=lambda passages: [spans(passage.text) for passage in passages])

        def space(self, *_: object) -> int:
            return 3

        def plan(self, _: str, passages: list[Passage], *__: object) -> None:
            for number, passage in enumerate(passages):
                if passage.image is not None:
                    decode(passage.image, ("passages", number, "image"))

    planner: Any = Planner()
    ask = Ask("q", [Passage("abc " * 20), Passage(image="AAAA")], Truncate.END)
    with pytest.raises(InvalidRequest) as refused:
        plan_chunks(ask, WHOLE, planner, ALL)
    assert refused.value.at == ("passages", 1, "image")
    assert refused.value.detail["passage"] == 1
