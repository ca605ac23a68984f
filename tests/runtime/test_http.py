"""NIM's HTTP API as its clients see it: answers, errors, names, health and metadata."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

GOOD: dict[str, Any] = {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}


def post(server: Any, body: Any, path: str = "/v1/ranking") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.http.post(path, content=content)


def error(answer: httpx.Response, status: int) -> str:
    """The message, after checking that the shape is NIM's."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"object", "message", "detail", "type"}
    assert body["object"] == "error"
    assert isinstance(body["detail"], dict)
    assert isinstance(body["type"], str)
    assert "\n" not in body["message"]
    return body["message"]


def test_answers_are_sorted_best_first_with_ties_by_index(bert: Any) -> None:
    passages = ["w1", "w5 w6", "w1", "w7", "w1"]
    rankings = bert.rank("w2", passages).json()["rankings"]
    assert [set(item) for item in rankings] == [{"index", "logit"}] * 5
    assert rankings == sorted(rankings, key=lambda item: (-item["logit"], item["index"]))
    assert [item["index"] for item in rankings if item["index"] in (0, 2, 4)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("extra", "count"),
    [
        ({"top_n": 2}, 2),
        ({"top_k": 1, "top_n": 3}, 1),
        ({"top_n": "2"}, 2),
        ({"top_n": 2.0}, 2),
        ({"top_n": 2.5}, 4),
        ({"top_n": 99}, 4),
        ({"top_n": None}, 4),
        ({"top_n": 0}, 4),
        ({"top_n": "many", "top_k": -1}, 4),
        ({"return_documents": "true", "unheard": {"of": 1}}, 4),
    ],
)
def test_fields_that_nim_lacks(bert: Any, extra: dict[str, Any], count: int) -> None:
    everything = bert.rank("w1", ["w2", "w3", "w4", "w5"]).json()
    some = bert.rank("w1", ["w2", "w3", "w4", "w5"], **extra).json()
    assert some["rankings"] == everything["rankings"][:count]
    assert some["usage"] == everything["usage"]


@pytest.mark.parametrize(
    "name",
    [None, "my_org/tiny-bert_1.0", "my.org/tiny-bert.1.0", "my_org/tiny_bert".replace("_bert", "-bert_1_0"), "other"],
)
def test_served_names_with_dots_and_underscores_folded(bert: Any, name: str | None) -> None:
    assert post(bert, GOOD | {"model": name}).status_code == 200


def test_another_name_is_404_with_the_served_ones(bert: Any) -> None:
    answer = post(bert, GOOD | {"model": "nvidia/nothing"})
    message = error(answer, 404)
    assert "nvidia/nothing" in message
    assert "my_org/tiny-bert_1.0, other" in message


def test_512_passages_are_ranked_and_513_refused(bert: Any) -> None:
    passages = [f"w{n}" for n in range(513)]
    assert len(bert.rank("w1", passages[:512]).json()["rankings"]) == 512
    message = error(bert.rank("w1", passages), 422)
    assert "513" in message
    assert "512" in message


def test_the_number_of_passages_is_a_setting(strict: Any) -> None:
    assert len(strict.logits("w1", ["w2"] * 600)) == 600
    assert "600" in error(strict.rank("w1", ["w2"] * 601), 422)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "query: Field required; passages: Field required"),
        ({"query": "w1", "passages": [{"text": "a"}]}, "query: Input should be an object"),
        ({"query": {}, "passages": [{"text": "a"}]}, "query.text: Field required"),
        (GOOD | {"passages": []}, "passages: give at least one"),
        (GOOD | {"passages": "w1"}, "passages: Input should be a valid array"),
        (GOOD | {"passages": ["w1"]}, "passages.0: Input should be an object"),
        (GOOD | {"passages": [{"text": "a"}, {"text": 7}]}, "passages.1.text: Input should be a valid string"),
        (GOOD | {"passages": [{"text": "a"}, {}]}, "passages.1.text: Field required"),
        (GOOD | {"passages": [{"text": "a", "image": "data:image/png;base64,AAAA"}]}, "passages.0.image: "),
        (GOOD | {"truncate": "START"}, "truncate: Input should be 'NONE' or 'END'"),
        (GOOD | {"model": 7}, "model: Input should be a valid string"),
        ([], "the body: Input should be an object"),
    ],
)
def test_a_wrong_body_is_422_and_names_the_field(bert: Any, body: Any, said: str) -> None:
    assert said in error(post(bert, body), 422)


@pytest.mark.parametrize("kind", ["bert", "strict"])
def test_a_list_of_passages_is_read_only_as_far_as_needed(started: Any, kind: str) -> None:
    server = started[kind].ready()
    wrong = error(post(server, GOOD | {"passages": [7] * 120_000}), 422)
    assert wrong.startswith("passages.0: Input should be an object")
    assert "passages.1" not in wrong
    assert "more" not in wrong
    many = post(server, {"text_1": "w1", "text_2": ["w2"] * 120_000}, "/score")
    assert many.status_code == 422
    assert many.json()["message"].startswith("text_2: more than 100000 given, at most")


def test_a_body_of_too_many_values_is_not_parsed(bert: Any, strict: Any) -> None:
    for field in ("passages", "unheard"):
        assert "commas and brackets" in error(post(bert, GOOD | {field: [{}] * 75_000}), 413)
    # More where more passages are allowed, and what is in a text is none.
    assert "75000 given, at most 600" in error(post(strict, GOOD | {"passages": [{"text": ""}] * 75_000}), 422)
    assert post(bert, GOOD | {"unheard": '[{,"\\' * 350_000}).status_code == 200
    rich = [{"text": "w2"} | {f"field{n}": n for n in range(200)}] * 512
    assert post(bert, GOOD | {"passages": rich}).status_code == 200


def test_a_document_of_very_many_fields_is_refused(bert: Any) -> None:
    document = {"text": "w1"} | {f"k{n}": 1 for n in range(200_000)}
    body = json.dumps({"query": "w1", "documents": [document], "return_documents": True}, separators=(",", ":"))
    answer = post(bert, body.encode(), "/v1/rerank")
    assert answer.status_code == 413
    assert "fewer fields beside their texts" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/v1/ranking", "/v1/rerank", "/rerank"])
def test_a_compressed_body_is_415_and_says_what_to_send(bert: Any, path: str) -> None:
    body = json.dumps(GOOD | {"documents": ["w2"]} if path == "/v1/ranking" else {"query": "w1", "documents": ["w2"]})
    for coding in ("gzip", "identity, br"):
        headers = {"Content-Encoding": coding}
        answer = bert.http.post(path, content=gzip.compress(body.encode()), headers=headers)
        assert answer.status_code == 415
        assert answer.headers["Accept-Encoding"] == "identity"
        assert (
            f"Content-Encoding: {coding.split()[-1]} is not read here; send the body as it is"
            in answer.json()["message"]
        )
    for coding in ("identity", "Identity, identity", ""):
        assert bert.http.post(path, content=body, headers={"Content-Encoding": coding}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/ranking", "/v1/rerank", "/rerank"])
def test_a_byte_order_mark_is_no_part_of_the_body(bert: Any, strict: Any, path: str) -> None:
    body = GOOD if path == "/v1/ranking" else {"query": "w1", "documents": ["w2"]}
    for server in (bert, strict):
        assert post(server, b"\xef\xbb\xbf" + json.dumps(body).encode(), path).status_code == 200
    texts = post(bert, b'\xef\xbb\xbf{"query": "w1", "texts": ["w2"]}', "/rerank")
    assert texts.json()[0]["index"] == 0
    assert "not JSON" in error(post(bert, b"\xef\xbb\xbf" * 2 + json.dumps(GOOD).encode()), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"query": {"text": "\\ud800"}}', b"[" * 100_000])
def test_a_body_that_is_no_json_is_400(bert: Any, body: bytes) -> None:
    assert "not JSON" in error(post(bert, body), 400)


def test_strict_json_refuses_unknown_fields(strict: Any) -> None:
    said = error(post(strict, GOOD | {"top_k": 1}), 400)
    assert said == "top_k: unknown field, expected one of model, query, passages, truncate"
    assert "passages.0.title: unknown" in error(post(strict, GOOD | {"passages": [{"text": "a", "title": "b"}]}), 400)
    assert post(strict, GOOD | {"truncate": "END", "model": None}).status_code == 200


def test_a_body_beyond_the_limit_is_413(bert: Any) -> None:
    large = GOOD | {"passages": [{"text": "w1 " * 1_500_000}]}
    assert "RERANKER_MAX_BODY_BYTES" in error(post(bert, large), 413)

    def pieces() -> Any:  # without a Content-Length
        yield from [b"x" * 1_000_000] * 5

    assert "4000000 bytes" in error(bert.http.post("/v1/ranking", content=pieces()), 413)


def test_a_large_body_within_the_limit_is_read(bert: Any, words: Any) -> None:
    assert len(bert.logits("w1", [words(20_000), words(303)], truncate="END")) == 2


def test_unknown_routes_and_methods_have_nims_shape(bert: Any) -> None:
    assert "/v1/rankings" in error(bert.http.post("/v1/rankings"), 404)
    assert "/v1/ranking/" in error(post(bert, GOOD, "/v1/ranking/"), 404)
    answer = bert.http.get("/v1/ranking")
    assert "use POST" in error(answer, 405)
    assert answer.headers["Allow"] == "POST"
    error(bert.http.delete("/v1/models"), 405)


@pytest.mark.parametrize("path", ["/v1/retrieval/nvidia/tiny/reranking", "/v1/nv-rerankqa-mistral-4b-v3/reranking"])
def test_aliases(bert: Any, path: str) -> None:
    assert post(bert, GOOD | {"top_k": 1}, path).json() == post(bert, GOOD).json()


def test_junk_credentials_are_ignored(bert: Any) -> None:
    headers = {"Authorization": "Bearer **********"}
    assert bert.http.post("/v1/ranking", json=GOOD, headers=headers).status_code == 200


def test_request_ids_and_the_revision_are_sent_back(bert: Any) -> None:
    for path in ("/v1/models", "/nowhere"):
        answer = bert.http.get(path, headers={"X-Request-Id": "mine-1"})
        assert answer.headers["X-Request-Id"] == "mine-1"
        assert answer.headers["X-Reranker-Revision"] == "abc123"
    own = [bert.http.get("/v1/models", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"] for _ in range(2)]
    assert len({*own, "a b"}) == 3


def test_models(bert: Any, strict: Any) -> None:
    listed = bert.http.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [item["id"] for item in listed["data"]] == ["my_org/tiny-bert_1.0", "other"]
    assert all(item["object"] == "model" and item["root"] == item["id"] for item in listed["data"])
    assert strict.http.get("/v1/models").json()["data"][0]["id"] == "sharded"


def test_health_and_metrics_on_both_ports(bert: Any) -> None:
    for base in (bert.url, bert.internal):
        live, ready = httpx.get(f"{base}/v1/health/live"), httpx.get(f"{base}/v1/health/ready")
        assert live.json() == {"object": "health.response", "message": "Service is live.", "status": "live"}
        assert ready.status_code == 200
        said = {"object": "health.response", "message": "Service is ready.", "status": "ready", "ready": True}
        assert said.items() <= ready.json().items()
        metrics = httpx.get(f"{base}/v1/metrics")
        assert metrics.headers["Content-Type"].startswith("text/plain")
        assert "reranker_ready 1.0" in metrics.text
    error(httpx.post(f"{bert.internal}/v1/ranking", json=GOOD), 404)


def test_metrics_count_what_was_ranked(bert: Any) -> None:
    names = ("reranker_passages_total", "reranker_tokens_total", "reranker_requests_total")
    before = [bert.metric(name) for name in names]
    bert.rank("w1", ["w2", "w3"])
    after = [bert.metric(name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)][:2] == [2, 10]
    assert after[2] > before[2]


def test_metadata(bert: Any, strict: Any, models: Any, run: Any) -> None:
    said = bert.http.get("/v1/metadata").json()
    report = json.loads(run("verify", models.bert).stdout)
    assert said["digest"] == report["digest"]
    assert said["architecture"] == "BertForSequenceClassification"
    assert (said["dtype"], said["device"], said["family"]) == ("float32", "cpu", "bert")
    assert said["limits"]["maxTokens"] == 506
    assert said["modelInfo"][0] == {"shortName": "my_org/tiny-bert_1.0", "modelUrl": str(models.bert)}
    assert said["version"] == bert.http.get("/v1/version").json()["release"]
    assert {"assetInfo", "licenseInfo", "repository_override"} <= set(said)
    other = strict.http.get("/v1/metadata").json()
    assert (other["dtype"], other["limits"]["maxTokens"], other["limits"]["maxPassages"]) == ("bfloat16", 514, 600)


def test_logs_have_one_line_a_request_and_never_a_text(bert: Any, strict: Any) -> None:
    bert.http.post("/v1/ranking", json={"query": {"text": "secretquery"}, "passages": [{"text": "secretpassage"}]})
    strict.http.post("/v1/ranking", json=GOOD, headers={"X-Request-Id": "find-me"})
    post(bert, GOOD | {"passages": [{"text": {"secret": "secretfield"}}]})
    assert "secret" not in bert.log
    assert "POST /v1/ranking status=200" in bert.log
    lines = [json.loads(line) for line in strict.log.splitlines()]
    mine = [line for line in lines if line.get("request_id") == "find-me"]
    assert len(mine) == 1
    assert {"status": 200, "passages": 1, "level": "info"}.items() <= mine[0].items()


def test_the_openapi_description_tells_every_route_and_the_body_of_a_ranking(bert: Any) -> None:
    described = bert.http.get("/openapi.json").json()
    assert {"/v1/ranking", "/v1/models", "/v1/metadata", "/v1/health/live", "/v1/health/ready"} <= set(
        described["paths"]
    )
    content = described["paths"]["/v1/ranking"]["post"]["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    assert schema["required"] == ["query", "passages"]
    assert schema["properties"]["passages"]["items"]["properties"]["text"]
    assert "$ref" not in json.dumps(schema)
