"""The limit and what is cut at it, token by token. One word is one token; 506 tokens hold 503 of text."""

from __future__ import annotations

from typing import Any

import pytest


def test_query_of_200_and_passage_of_400_keep_303_of_the_passage(bert: Any, words: Any) -> None:
    query = words(200)
    cut = bert.rank(query, [words(400, 300)], truncate="END").json()
    for kept, same in ((303, True), (302, False)):
        by_hand = bert.rank(query, [words(kept, 300)]).json()
        assert (by_hand["rankings"] == cut["rankings"]) is same
        assert (by_hand["usage"] == cut["usage"]) is same
    assert cut["usage"] == {"prompt_tokens": 506, "total_tokens": 506}


def test_what_lies_beyond_the_limit_changes_nothing(bert: Any, words: Any) -> None:
    ends = [words(303, 300) + " " + words(97, start) for start in (0, 500)]
    first, second = bert.logits(words(200), ends, truncate="END")
    assert first == second


def test_a_query_of_503_keeps_none_of_the_passage_and_says_so(bert: Any, words: Any) -> None:
    before = {name: bert.metric(f"reranker_{name}_passages_total") for name in ("truncated", "emptied")}
    answer = bert.rank(words(503), ["w1", "w2 w3"], truncate="END")
    assert answer.headers["X-Reranker-Truncated"] == "2"
    assert len({item["logit"] for item in answer.json()["rankings"]}) == 1
    assert answer.json()["usage"]["total_tokens"] == 2 * 506
    for name, count in before.items():
        assert bert.metric(f"reranker_{name}_passages_total") == count + 2


def test_a_query_beyond_the_limit_is_cut_too(bert: Any, words: Any) -> None:
    assert bert.logits(words(900), ["w1"], truncate="END") == bert.logits(words(503), ["w1"], truncate="END")


def test_one_token_less_of_query_leaves_one_token_of_passage(bert: Any, words: Any) -> None:
    answer = bert.rank(words(502), ["w1 w2", "w1 w3", "w4"], truncate="END")
    assert "X-Reranker-Truncated" not in answer.headers
    first, second, other = bert.logits(words(502), ["w1 w2", "w1 w3", "w4"], truncate="END")
    assert first == second != other


def test_without_truncation_too_long_is_422_with_both_numbers(bert: Any, words: Any) -> None:
    answer = bert.rank(words(200), ["w1", words(400), words(304)])
    assert answer.status_code == 422
    error = answer.json()
    assert "Input length 603 exceeds maximum allowed token size 506" in error["message"]
    assert ": passages.1 with" in error["message"]
    assert error | {"message": ""} == {
        "object": "error",
        "message": "",
        "detail": {"passage": 1, "field": "passages.1"},
        "type": "invalid_request_error",
    }


def test_exactly_at_the_limit_is_not_too_long(bert: Any, words: Any) -> None:
    assert bert.rank(words(200), [words(303)], truncate="NONE").status_code == 200
    assert bert.rank(words(200), [words(304)], truncate=None).status_code == 422


def test_each_text_of_a_sentence_encoder_has_its_own_limit(sentence: Any, words: Any) -> None:
    # 64 tokens hold 62 of text; query and passage do not share them.
    assert sentence.rank(words(62), [words(62)]).status_code == 200
    for query, passage, where in ((63, 5, ": query;"), (5, 63, ": passages.0 alone;")):
        answer = sentence.rank(words(query), [words(passage)])
        assert answer.status_code == 422
        assert "Input length 65 exceeds maximum allowed token size 64" in answer.json()["message"]
        assert where in answer.json()["message"]
    cut, whole = sentence.logits(words(5), [words(400), words(62)], truncate="END")
    assert cut == whole


def test_usage_counts_special_tokens_and_every_passage(bert: Any, sentence: Any) -> None:
    passages = ["w1", "w2 w3", "w1"]
    assert bert.rank("w5 w6", passages).json()["usage"]["prompt_tokens"] == (2 + 3) * 3 + 1 + 2 + 1
    assert sentence.rank("w5 w6", passages).json()["usage"]["prompt_tokens"] == (2 + 2) + (1 + 2) + (2 + 2) + (1 + 2)


@pytest.mark.parametrize("query", ["", "w1"])
def test_empty_texts_are_ranked(bert: Any, query: str) -> None:
    assert len(bert.logits(query, ["", "w1", "\n\t"])) == 3
