"""One model behind every rerank API: the same scores, each in the shape its clients read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from reranker_runtime.http.dialects.dialect import sigmoid

QUERY = "w1 w2"
TEXTS = ["w3 w4 w5", "w6", "w1 w2 w3", "w7 w8"]
RERANKS = ["/v1/rerank", "/v2/rerank", "/rerank", "/v1/v1/rerank", "/v1/v2/rerank"]
SCORES = ["/score", "/v1/score"]


def post(server: Any, path: str, body: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.http.post(path, content=content)


def fine(server: Any, path: str, body: Any) -> Any:
    answer = post(server, path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def scores(bert: Any) -> list[float]:
    """What every route must come to, in the order of TEXTS."""
    return [1 / (1 + math.exp(-logit)) for logit in bert.logits(QUERY, TEXTS)]


@pytest.mark.parametrize("path", RERANKS)
def test_rerank_answers_what_cohere_jina_vllm_and_voyage_clients_read(
    bert: Any, scores: list[float], path: str
) -> None:
    answer = fine(bert, path, {"query": QUERY, "documents": TEXTS, "model": "other"})
    order = sorted(range(4), key=lambda n: -scores[n])
    assert answer["results"] == [{"index": n, "relevance_score": pytest.approx(scores[n], abs=1e-7)} for n in order]
    assert answer["data"] == answer["results"]
    assert (answer["object"], answer["model"]) == ("list", "other")
    tokens = fine(bert, "/v1/ranking", {"query": {"text": QUERY}, "passages": [{"text": t} for t in TEXTS]})["usage"]
    assert answer["usage"] == tokens
    assert answer["meta"]["tokens"] == {"input_tokens": tokens["total_tokens"], "output_tokens": 0}
    assert answer["meta"]["billed_units"]["search_units"] == 1
    assert answer["id"]


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"top_n": 2}, 2),
        ({"top_k": 1}, 1),
        ({"top_n": None}, 4),
        ({"top_n": 0}, 4),
        ({"top_n": "3"}, 3),
        ({"top_n": 9}, 4),
    ],
)
def test_rerank_answers_the_best(bert: Any, fields: dict[str, Any], count: int) -> None:
    whole = fine(bert, "/v1/rerank", {"query": QUERY, "documents": TEXTS})["results"]
    assert fine(bert, "/v1/rerank", {"query": QUERY, "documents": TEXTS} | fields)["results"] == whole[:count]
    rankings = fine(bert, "/rerank", {"query": QUERY, "texts": TEXTS} | fields)
    assert [each["index"] for each in rankings] == [each["index"] for each in whole[:count]]


@pytest.mark.parametrize(("asked", "given"), [(True, True), ("true", True), ("false", False), (None, False)])
def test_documents_come_back_when_asked_for(bert: Any, asked: object, given: bool) -> None:
    documents = ["w3", {"text": "w4", "title": "kept"}]
    answer = fine(bert, "/v1/rerank", {"query": QUERY, "documents": documents, "return_documents": asked})
    back = {each["index"]: each.get("document") for each in answer["results"]}
    assert back == ({0: {"text": "w3"}, 1: {"text": "w4", "title": "kept"}} if given else {0: None, 1: None})


def test_rank_fields_stand_for_a_text(bert: Any) -> None:
    documents = [{"title": "w3", "body": "w4", "id": 7}, {"title": "w5"}]
    fields = {"query": QUERY, "documents": documents, "rank_fields": ["title", "body"]}
    plain = fine(bert, "/v1/rerank", {"query": QUERY, "documents": ["w3\nw4", "w5"]})
    assert fine(bert, "/v1/rerank", fields)["results"] == plain["results"]
    lacking = post(bert, "/v1/rerank", fields | {"rank_fields": ["abstract"]})
    assert lacking.json()["error"]["param"] == "documents.0.text"


def test_tei_and_the_others_are_told_apart_by_texts(bert: Any, scores: list[float]) -> None:
    ranked = fine(bert, "/rerank", {"query": QUERY, "texts": TEXTS})
    order = sorted(range(4), key=lambda n: -scores[n])
    assert ranked == [{"index": n, "score": pytest.approx(scores[n], abs=1e-7)} for n in order]
    for confusing in ('{"texts": 1}', '"texts":'):
        assert "results" in fine(bert, "/rerank", {"query": confusing, "documents": [confusing]})
    assert "results" in fine(bert, "/rerank", {"query": QUERY, "documents": ["w1"], "texts": ["w1", "w2"]})
    assert "results" in fine(bert, "/rerank", {"query": QUERY, "documents": [{"text": "w1", "texts": ["w2"]}]})
    assert post(bert, "/rerank", b'{"texts": [').json()["error_type"] == "Validation"
    assert "documents: Field required" in post(bert, "/v1/rerank", {"query": QUERY, "texts": TEXTS}).json()["message"]


def test_tei_has_raw_scores_texts_and_truncation(bert: Any, words: Any) -> None:
    logits = bert.logits(QUERY, TEXTS)
    body = {"query": QUERY, "texts": TEXTS, "raw_scores": True, "return_text": True}
    for each in fine(bert, "/rerank", body):
        assert each == {
            "index": each["index"],
            "score": pytest.approx(logits[each["index"]], abs=1e-6),
            "text": TEXTS[each["index"]],
        }
    long = {"query": QUERY, "texts": ["w1", words(600)]}
    refused = post(bert, "/rerank", long)
    assert refused.status_code == 413
    assert refused.json()["error_type"] == "Validation"
    assert (
        'exceeds maximum allowed token size 506: texts.1 with the query; shorten it, or send "truncate": true'
        in (refused.json()["error"])
    )
    assert len(fine(bert, "/rerank", long | {"truncate": True, "truncation_direction": "Right"})) == 2
    assert "truncation_direction" in post(bert, "/rerank", long | {"truncation_direction": "left"}).json()["error"]


@pytest.mark.parametrize("path", SCORES)
@pytest.mark.parametrize(("one", "two"), [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
def test_scores_come_in_the_order_of_the_request(bert: Any, scores: list[float], path: str, one: str, two: str) -> None:
    answer = fine(bert, path, {one: QUERY, two: TEXTS})
    assert answer["data"] == [
        {"index": n, "object": "score", "score": pytest.approx(score, abs=1e-7)} for n, score in enumerate(scores)
    ]
    assert answer["object"] == "list"
    assert answer["usage"]["total_tokens"] > 0


def test_scores_of_pairs(bert: Any) -> None:
    queries, documents = ["w1", "w1", "w2", "w1"], ["w5", "w6", "w5", "w7"]
    answer = fine(bert, "/score", {"text_1": queries, "text_2": documents, "use_activation": False})
    single = [bert.logits(query, [document])[0] for query, document in zip(queries, documents, strict=True)]
    assert [each["score"] for each in answer["data"]] == pytest.approx(single, abs=1e-5)
    wrong = post(bert, "/score", {"text_1": ["w1", "w2"], "text_2": ["w3"]})
    assert wrong.status_code == 422
    assert "text_1: 2 given for 1 in text_2" in wrong.json()["error"]["message"]


def test_a_fault_in_one_of_many_pairs_names_its_place(bert: Any, words: Any) -> None:
    pairs = {"text_1": ["w1", "w2", "w3"], "text_2": ["w4", "w5", words(600)]}
    refused = post(bert, "/score", pairs)
    assert refused.json()["error"]["param"] == "text_2.2"
    assert "text_2.2 with the query" in refused.json()["message"]
    assert len(fine(bert, "/score", pairs | {"truncate_prompt_tokens": -1})["data"]) == 3


def nim(answer: dict[str, Any]) -> str:
    assert set(answer) == {"object", "message", "detail", "type"}
    return answer["message"]


def superset(answer: dict[str, Any]) -> str:
    assert set(answer) == {"message", "detail", "error"}
    assert answer["message"] == answer["detail"] == answer["error"]["message"]
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    return answer["message"]


def either(answer: dict[str, Any]) -> str:
    """Where nobody knows yet whether one of TEI's clients asks."""
    assert set(answer) == {"message", "detail", "error", "error_type"}
    assert answer["message"] == answer["detail"] == answer["error"]
    return answer["message"]


def tei(answer: dict[str, Any]) -> str:
    assert set(answer) == {"error", "error_type"}
    return answer["error"]


def bodies() -> Iterator[tuple[str, str, Any, Any]]:
    """path, the list's name, a good body, the shape of its errors."""
    yield "/v1/ranking", "passages", {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}, nim
    yield "/v1/retrieval/a/b/reranking", "passages", {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}, nim
    for path in RERANKS:
        yield path, "documents", {"query": "w1", "documents": ["w2"]}, superset
    yield "/rerank", "texts", {"query": "w1", "texts": ["w2"]}, tei
    for path in SCORES:
        yield path, "text_2", {"text_1": "w1", "text_2": ["w2"]}, superset


@pytest.mark.parametrize(("path", "field", "body", "shape"), [*bodies()])
def test_what_is_wrong_is_told_in_the_shape_and_the_words_of_the_api(
    bert: Any, words: Any, path: str, field: str, body: dict[str, Any], shape: Any
) -> None:
    def told(changes: dict[str, Any], *statuses: int) -> str:
        answer = post(bert, path, body | changes)
        assert answer.status_code in statuses, answer.text
        return shape(answer.json())

    item = body[field][0]
    assert post(bert, path, body).status_code == 200
    assert f"{field}: give at least one" in told({field: []}, 422, 413)
    assert f"{field}: 513 given, at most 512" in told({field: [item] * 513}, 422, 413)
    assert f"{field}.1" in told({field: [item, 7]}, 422, 413)
    assert "my_org/tiny-bert_1.0, other" in told({"model": "nobody"}, 404)
    assert shape(post(bert, path, b"{" if field != "texts" else b'{"texts":').json()).startswith("the body is not JSON")
    large = post(bert, path, json.dumps(body | {"unheard": "x" * 4_000_000}).encode())
    assert large.status_code == 413
    assert "RERANKER_MAX_BODY_BYTES" in (either if path == "/rerank" else shape)(large.json())
    assert fine(bert, path, body | {"instruction": "for models that take one", "unheard": {"of": [1]}})


DOCUMENTS = {"query": "w1", "documents": ["w2", "w3"]}
PASSAGES = {"query": {"text": "w1"}, "passages": [{"text": "w2"}] * 3}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/rerank", DOCUMENTS | {"documents": ["w2", {"text": 7}]}, "documents.1.text"),
        ("/v2/rerank", {"documents": ["w2"]}, "query"),
        ("/rerank", DOCUMENTS | {"query": 7, "documents": [8]}, "query"),
        ("/rerank", DOCUMENTS | {"documents": []}, "documents"),
        ("/v1/rerank", DOCUMENTS | {"documents": ["w2"] * 513}, "documents"),
        ("/v1/rerank", DOCUMENTS | {"documents": ["w2"] * 100_001}, "documents"),
        ("/v1/rerank", DOCUMENTS | {"rank_fields": ["title", 7]}, "rank_fields.1"),
        ("/v1/rerank", DOCUMENTS | {"instruction": "x" * 10_001}, "instruction"),
        ("/v1/rerank", DOCUMENTS | {"model": "nobody"}, "model"),
        ("/v1/rerank", [], None),
        ("/v1/rerank", b"{", None),
        ("/score", {"text_1": "w1", "text_2": ["w2", 7]}, "text_2.1"),
        ("/score", {"queries": ["w1", 7], "documents": ["w2", "w3"]}, "queries.1"),
        ("/score", {"text_1": ["w1", "w2"], "text_2": ["w3"]}, "text_1"),
        ("/score", {"text_1": ["w1"] * 100_001, "text_2": ["w3"]}, "text_1"),
        ("/v1/ranking", PASSAGES | {"passages": [*PASSAGES["passages"], {"text": 7}]}, "passages.3.text"),
        ("/v1/ranking", PASSAGES | {"passages": [*PASSAGES["passages"], {}]}, "passages.3.text"),
        ("/v1/ranking", PASSAGES | {"truncate": "START"}, "truncate"),
        ("/v1/ranking", b"{", None),
    ],
)
def test_an_error_has_the_path_of_its_field(bert: Any, path: str, body: Any, field: str | None) -> None:
    told = post(bert, path, body).json()
    assert (told["error"]["param"] if "error" in told else told["detail"].get("field")) == field
    if path == "/v1/ranking":
        assert told["detail"].get("passage") == (3 if field == "passages.3.text" else None)


def test_strict_mode_has_the_path_of_an_unknown_field(strict: Any) -> None:
    told = post(strict, "/v1/ranking", PASSAGES | {"passages": [{"text": "w1", "cut": 1}]}).json()
    assert told["detail"] == {"field": "passages.0.cut", "passage": 0}


def test_what_no_json_number_can_be_comes_back_as_null(bert: Any) -> None:
    held = b'{"text": "w1", "n": 1%s, "few": 12345678901234567890123, "more": [1e999, true]}' % (b"0" * 4000)
    answer = fine(bert, "/v1/rerank", b'{"query": "w1", "documents": [%s], "return_documents": true}' % held)
    back = {"text": "w1", "n": None, "few": 12345678901234567890123, "more": [None, True]}
    assert answer["results"][0]["document"] == back


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/ranking", nim),
        ("/v1/retrieval/a/b/reranking", nim),
        ("/v1/rerank", superset),
        ("/v1/v2/rerank", superset),
        ("/score", superset),
        ("/rerank", either),
        ("/nowhere/rerank", nim),
    ],
)
def test_a_wrong_method_is_told_in_the_shape_of_the_api(bert: Any, path: str, shape: Any) -> None:
    answer = bert.http.get(path)
    if path.startswith("/nowhere"):
        assert (answer.status_code, "/nowhere/rerank" in shape(answer.json())) == (404, True)
    else:
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
        assert shape(answer.json()) == f"GET is not allowed on {path}; use POST"


def test_every_example_of_the_description_is_answered_as_described(bert: Any) -> None:
    description = bert.http.get("/openapi.json").json()
    seen = 0
    for path, methods in description["paths"].items():
        if "post" not in methods:
            continue
        operation = methods["post"]
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        told = operation["responses"]["200"]["content"]["application/json"]["examples"]
        for name, example in examples.items():
            answer = fine(bert, path.replace("{model}", "nvidia/any"), example["value"])
            assert type(answer) is type(told[name]["value"])
            if isinstance(answer, dict):
                assert set(answer) == set(told[name]["value"])
            seen += 1
    assert seen >= 6


@pytest.mark.parametrize("logit", [-800.0, -40.0, -1.5, 0.0, 0.25, 18.0, 36.0, 800.0])
def test_scores_are_sigmoids_in_double_precision(logit: float) -> None:
    want = 0.0 if logit < -700 else 1 / (1 + math.exp(-logit))
    assert sigmoid(logit) == pytest.approx(want, rel=1e-15)
    if abs(logit) < 30:  # half precision would tie from 8 on, single from 17
        assert sigmoid(logit) < sigmoid(logit + 0.001) < 1
