"""What a request may ask beyond a ranking: an instruction, chunks of long documents, more passages than are allowed."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zoo

QUERY = 10
"""Words, each of them a token."""
CHUNK = 503 - QUERY - 2
"""Tokens that a chunk may have on the server `bert`, two of them left free."""
SPLIT = {"RERANKER_SPLIT_LARGE_REQUESTS": "true", "NIM_PRECISION": "fp32"}
DOORS = {
    "/v1/ranking": lambda query, texts: {"query": {"text": query}, "passages": [{"text": text} for text in texts]},
    "/v2/rerank": lambda query, texts: {"query": query, "documents": texts},
    "/rerank": lambda query, texts: {"query": query, "texts": texts, "raw_scores": True},
    "/score": lambda query, texts: {"text_1": query, "text_2": texts, "use_activation": False},
}


def places(answer: Any, count: int) -> list[float]:
    """Scores in the order of the request, whatever the API."""
    listed = answer if isinstance(answer, list) else answer.get("rankings", answer.get("data"))
    found = {each["index"]: each.get("logit", each.get("score", each.get("relevance_score"))) for each in listed}
    return [found[n] for n in range(count)]


@pytest.fixture(scope="module")
def parted(models: Any, start_for_all: Any) -> Any:
    """At most five passages in one ranking, and larger requests in parts."""
    variables = {
        "RERANKER_MAX_PASSAGES": 5,
        "RERANKER_MAX_QUEUE_TOKENS": 50_000,
        "NIM_PIPELINE_MAX_SEQ_LEN": 506,
    }
    return start_for_all(models.bert, **SPLIT, **variables)


@pytest.fixture(scope="module")
def instructed(made: Any, start_for_all: Any) -> Any:
    """As `causal`, with an instruction for all requests."""
    variables = {"RERANKER_INSTRUCTION": "wabc waab", "NIM_PIPELINE_MAX_SEQ_LEN": 200, "NIM_PRECISION": "fp32"}
    return start_for_all(made("qwen3-tied"), **variables)


@pytest.mark.parametrize("path", DOORS)
def test_an_instruction_of_a_request_is_as_good_as_one_of_the_settings(causal: Any, instructed: Any, path: str) -> None:
    texts = ["waaa", "waab wabc", zoo.words(5)]
    body = DOORS[path]("wabb", texts)
    told = causal.http.post(path, json=body | {"instruction": "wabc waab"})
    settled = instructed.ready().http.post(path, json=body)
    plain = causal.http.post(path, json=body)
    assert places(told.json(), 3) == pytest.approx(places(settled.json(), 3), abs=1e-5)
    assert max(abs(a - b) for a, b in zip(places(told.json(), 3), places(plain.json(), 3), strict=True)) > 1e-3
    assert causal.http.get("/v1/metadata").json()["instruction"] is True


def test_an_instruction_has_a_length_and_control_tokens_in_it_are_text(causal: Any) -> None:
    long = causal.http.post("/v1/rerank", json={"query": "a", "documents": ["b"], "instruction": "x" * 10_001})
    assert long.status_code == 422
    assert long.json()["error"]["param"] is None or "instruction" in long.json()["message"]
    assert "instruction" in long.json()["message"]
    sly = causal.http.post("/v1/rerank", json={"query": "a", "documents": ["b"], "instruction": "<|im_end|>"})
    assert sly.json()["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("path", DOORS)
def test_the_best_chunk_of_a_long_document_counts(bert: Any, words: Any, path: str) -> None:
    query, document = words(QUERY, 900), words(1200, 3)
    chunks = [words(CHUNK, 3), words(CHUNK, 3 + CHUNK), words(1200 - 2 * CHUNK, 3 + 2 * CHUNK)]
    body = DOORS[path](query, [document, "w5"])
    answer = bert.http.post(path, json=body | {"max_chunks_per_doc": 10}).json()
    alone = places(bert.http.post(path, json=DOORS[path](query, [*chunks, "w5"])).json(), 4)
    assert places(answer, 2) == pytest.approx([max(alone[:3]), alone[3]], abs=1e-6)
    two = places(bert.http.post(path, json=body | {"max_chunks_per_doc": "2"}).json(), 2)
    assert two[0] == pytest.approx(max(alone[:2]), abs=1e-6)
    some = places(bert.http.post(path, json=body | {"max_tokens_per_doc": CHUNK + 7}).json(), 2)
    seven = places(bert.http.post(path, json=DOORS[path](query, [words(7, 3 + CHUNK), "w5"])).json(), 2)
    assert some[0] == pytest.approx(max(alone[0], seven[0]), abs=1e-6)
    few = places(bert.http.post(path, json=body | {"max_tokens_per_doc": 7}).json(), 2)
    first = places(bert.http.post(path, json=DOORS[path](query, [words(7, 3), "w5"])).json(), 2)
    assert few == pytest.approx(first, abs=1e-6)


def test_chunks_are_counted_as_what_they_are(bert: Any, words: Any) -> None:
    names = ("reranker_passages_total", "reranker_chunks_total", "reranker_truncated_passages_total")
    before = [bert.metric(name) for name in names]
    body = {"query": words(QUERY, 900), "documents": [words(1200), words(1200, 5), "w5"], "max_chunks_per_doc": 2}
    usage = bert.http.post("/v1/rerank", json=body).json()["usage"]
    assert usage["total_tokens"] == 4 * (CHUNK + QUERY + 3) + 1 + QUERY + 3
    assert [bert.metric(name) - was for name, was in zip(names, before, strict=True)] == [3, 5, 2]


def test_chunks_work_for_every_kind_of_prompt(sentence: Any, causal: Any, words: Any) -> None:
    # 62 of 64 tokens are text in a sentence encoder, and the query takes none of them.
    chunks = [words(60), words(60, 60), words(10, 120)]
    whole = sentence.logits("w900", [words(130)], max_chunks_per_doc=5)
    assert whole == pytest.approx([max(sentence.logits("w900", chunks))], abs=1e-6)
    assert causal.rank("wabc", [zoo.words(100)] * 2, max_chunks_per_doc=9).status_code == 200
    long = causal.rank("wabc", [zoo.words(900)], max_chunks_per_doc=2, truncate="NONE")
    assert long.status_code == 200, long.text
    assert long.json()["usage"]["total_tokens"] <= 2 * 200


@pytest.mark.parametrize("kind", ["bert", "sentence"])
def test_a_query_that_is_too_long_is_not_cut_because_documents_may_be(started: Any, words: Any, kind: str) -> None:
    server = started[kind].ready()
    answer = server.rank(words(700), ["w1", words(600)], max_chunks_per_doc=3)
    assert answer.status_code == 422
    assert "exceeds maximum allowed token size" in answer.json()["message"]
    assert server.rank(words(700), ["w1", words(600)], max_chunks_per_doc=3, truncate="END").status_code == 200


def test_large_requests_are_ranked_in_parts_where_the_server_says_so(bert: Any, parted: Any, words: Any) -> None:
    texts = [words(1 + n % 7, 3 * n) for n in range(23)]
    want = bert.rank("w1 w2", texts).json()
    before = parted.ready().metric("reranker_request_passages_count")
    got = parted.rank("w1 w2", texts).json()
    assert parted.metric("reranker_request_passages_count") == before + 1
    assert [each["index"] for each in got["rankings"]] == [each["index"] for each in want["rankings"]]
    assert got["usage"] == want["usage"]
    logits = {each["index"]: each["logit"] for each in got["rankings"]}
    for each in want["rankings"]:
        assert logits[each["index"]] == pytest.approx(each["logit"], abs=1e-5)
    assert parted.http.get("/v1/metadata").json()["limits"]["splitsLargeRequests"] is True


def field(answer: Any) -> Any:
    """The path of the field at fault, where the API tells it by itself."""
    told = answer.json()
    if "error_type" in told:
        return None
    return told["error"]["param"] if "error" in told else told["detail"]["field"]


@pytest.mark.parametrize("path", DOORS)
def test_large_requests_are_ranked_in_parts_by_every_api(bert: Any, parted: Any, words: Any, path: str) -> None:
    texts = [words(1 + n % 7, 3 * n) for n in range(23)]
    body = DOORS[path]("w1 w2", texts)
    want = bert.http.post(path, json=body).json()
    got = parted.ready().http.post(path, json=body)
    assert got.status_code == 200, got.text
    assert places(got.json(), 23) == pytest.approx(places(want, 23), abs=1e-5)
    if isinstance(want, dict):
        assert got.json()["usage"] == want["usage"]


@pytest.mark.parametrize("path", DOORS)
def test_a_wrong_passage_of_a_later_part_is_told_by_its_own_number(parted: Any, words: Any, path: str) -> None:
    body = DOORS[path]("w1 w2", ["w3"] * 23)
    items = list(body)[1]
    body["truncation"] = False  # /v2/rerank cuts what is too long unless it is told not to
    item = body[items][17]
    body[items][17] = {"text": words(600)} if isinstance(item, dict) else words(600)
    answer = parted.ready().http.post(path, json=body)
    assert answer.status_code == (413 if items == "texts" else 422)
    assert f"{items}.17 with the query" in answer.json().get("message", answer.text)
    assert field(answer) == (None if items == "texts" else f"{items}.17")
    if items == "passages":
        assert answer.json()["detail"]["passage"] == 17


def test_a_large_request_that_was_let_in_is_ranked_to_its_end(models: Any, start: Any, words: Any) -> None:
    # All its parts together take much longer than a request may wait, and nothing but they is in the queue.
    server = start(
        models.slow, **SPLIT, RERANKER_MAX_PASSAGES=10, RERANKER_MAX_QUEUE_SECONDS=0.5, RERANKER_GRACE_SECONDS=100
    ).ready()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(server.rank, "w1", [words(450, n) for n in range(100)])
        server.wait(lambda: server.metric("reranker_passages_total") >= 10, "ranking")
        assert server.metric("reranker_running_requests") == 1
        server.process.send_signal(signal.SIGTERM)
        server.wait(lambda: server.rank("w1", ["w2"]).status_code == 503, "stopping")
        answer = running.result()
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["rankings"]) == 100
    assert server.process.wait(30) == 0


def test_the_time_limit_is_for_all_parts_together(models: Any, start: Any, words: Any) -> None:
    server = start(models.slow, **SPLIT, RERANKER_MAX_PASSAGES=10, NIM_REQUEST_TIMEOUT_S=1).ready()
    answer = server.rank("w1", [words(450, n) for n in range(500)])
    assert answer.status_code == 504
    assert "NIM_REQUEST_TIMEOUT_S" in answer.json()["message"]


def test_a_query_that_leaves_one_token_does_not_make_a_chunk_of_each_word(parted: Any, words: Any) -> None:
    answer = parted.ready().rank(words(502), ["w1", words(5000)], max_tokens_per_doc=100_000)
    assert answer.status_code == 422
    said = json.loads(answer.text)
    assert "passages.1: up to here the documents make more than 98 chunks of 1 tokens" in said["message"]
    assert said["detail"] == {"passage": 1, "field": "passages.1"}
