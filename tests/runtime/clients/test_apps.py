"""Applications that are no Python packages: their requests as captured, their answers read as their code reads them."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

MODEL = "my_org/tiny-bert_1.0"
QUERY = "w1 w2 w3"
BEARER = {"Authorization": "Bearer sk-none"}


@pytest.fixture(scope="module")
def texts(words: Callable[..., str]) -> list[str]:
    return [words(5, 37 * n) for n in range(5)]


@pytest.fixture(scope="module")
def logits(bert: Any, texts: list[str]) -> list[float]:
    found: list[float] = bert.logits(QUERY, texts)
    return found


@pytest.fixture(scope="module")
def scores(logits: list[float]) -> list[float]:
    return [1 / (1 + math.exp(-logit)) for logit in logits]


def answered(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("endpoint", ["", "/v1"])
@pytest.mark.parametrize("key", ["", "Bearer sk-none"])
def test_dify(bert: Any, texts: list[str], scores: list[float], endpoint: str, key: str) -> None:
    """OpenAI-API-compatible: without a key it sends an empty Authorization, and a threshold of its own."""
    body = {"model": MODEL, "query": QUERY, "documents": texts, "top_n": 3, "return_documents": True}
    body |= {"score_threshold": 0.1}
    found = answered(bert.http.post(f"{endpoint}/rerank", json=body, headers={"Authorization": key}))
    read = [
        (item.get("index"), item.get("relevance_score"), item.get("document", {}).get("text"))
        for item in found.get("results", [])
    ]
    best = sorted(range(len(texts)), key=lambda n: -scores[n])[:3]
    assert [(index, text) for index, _, text in read] == [(n, texts[n]) for n in best]
    assert [score for _, score, _ in read] == pytest.approx([scores[n] for n in best], abs=1e-6)
    assert found["usage"]["total_tokens"] > 0


def spread(found: Any, size: int) -> list[float]:
    """As RAGFlow does: results in any order, put back into the order of the texts."""
    rank = [0.0] * size
    for item in found["results"]:
        rank[item["index"]] = item["relevance_score"]
    return rank


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
def test_ragflow_openai_compatible(bert: Any, texts: list[str], scores: list[float], path: str) -> None:
    body = {"model": MODEL, "query": QUERY, "documents": texts, "top_n": len(texts)}
    found = answered(bert.http.post(path, json=body, headers=BEARER))
    assert spread(found, len(texts)) == pytest.approx(scores, abs=1e-6)
    assert found["usage"]["total_tokens"] > 0


def test_ragflow_xinference(bert: Any, texts: list[str], scores: list[float]) -> None:
    """Booleans as strings, and both numbers of tokens are added up."""
    body = {"model": MODEL, "query": QUERY, "return_documents": "true", "return_len": "true", "documents": texts}
    found = answered(bert.http.post("/v1/rerank", json=body))
    assert spread(found, len(texts)) == pytest.approx(scores, abs=1e-6)
    assert {item["index"]: item["document"]["text"] for item in found["results"]} == dict(enumerate(texts))
    tokens = found["meta"]["tokens"]
    assert tokens["input_tokens"] + tokens["output_tokens"] == found["usage"]["total_tokens"]


def test_ragflow_siliconflow(bert: Any, texts: list[str], scores: list[float]) -> None:
    """Asks for chunks that it hardly needs, and for an overlap that does not exist here."""
    body = {"model": MODEL, "query": QUERY, "documents": texts, "top_n": len(texts), "return_documents": False}
    body |= {"max_chunks_per_doc": 1024, "overlap_tokens": 80}
    found = answered(bert.http.post("/v1/rerank", json=body, headers=BEARER))
    assert spread(found, len(texts)) == pytest.approx(scores, abs=1e-6)
    assert not any("document" in item for item in found["results"])


@pytest.mark.parametrize("base", ["/", "/v1/", "/v1/retrieval/nvidia/"])
@pytest.mark.parametrize("path", ["nv-rerankqa-mistral-4b-v3/reranking", "reranking"])
def test_ragflow_nvidia(bert: Any, texts: list[str], logits: list[float], base: str, path: str) -> None:
    body = {"model": MODEL, "query": {"text": QUERY}, "passages": [{"text": text} for text in texts]}
    body |= {"truncate": "END", "top_n": len(texts)}
    found = answered(bert.http.post(base + path, json=body, headers=BEARER))
    rank = [0.0] * len(texts)
    for item in found["rankings"]:
        rank[item["index"]] = item["logit"]
    assert rank == pytest.approx(logits, abs=1e-6)


def test_ragflow_tells_what_is_wrong(bert: Any, texts: list[str]) -> None:
    """Its log shows the whole answer when a field is missing: the model's name must be in it."""
    body = {"model": "BAAI/bge-reranker-v2-m3", "query": QUERY, "documents": texts, "top_n": len(texts)}
    found = bert.http.post("/rerank", json=body)
    assert found.status_code == 404
    assert MODEL in found.text


def test_open_webui(bert: Any, texts: list[str], scores: list[float]) -> None:
    """Posts to the URL as it was typed, with headers about its user, and wants as many results as documents."""
    headers = BEARER | {f"X-OpenWebUI-User-{name}": "someone" for name in ("Name", "Id", "Email", "Role")}
    body = {"model": MODEL, "query": QUERY, "documents": texts, "top_n": len(texts)}
    found = answered(bert.http.post("/v1/rerank", json=body, headers=headers))
    ordered = sorted(found["results"], key=lambda item: item["index"])
    assert [item["relevance_score"] for item in ordered] == pytest.approx(scores, abs=1e-6)


@dataclass(frozen=True)
class App:
    """What an application sends for a query and texts."""

    path: str
    items: str
    body: Callable[[list[str]], dict[str, Any]]

    def ask(self, server: Any, texts: list[str], key: str = "sk-none") -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        found: httpx.Response = server.http.post(self.path, json=self.body(texts), headers=headers)
        return found


def documents(texts: list[str], **more: object) -> dict[str, Any]:
    return {"model": MODEL, "query": QUERY, "documents": texts} | more


APPS = {
    "Dify": App(
        "/v1/rerank", "documents", lambda t: documents(t, top_n=3, return_documents=True, score_threshold=0.1)
    ),
    "RAGFlow": App("/rerank", "documents", lambda t: documents(t, top_n=len(t))),
    "RAGFlow, Xinference": App("/v1/rerank", "documents", lambda t: documents(t, return_documents="true")),
    "RAGFlow, NVIDIA": App(
        "/nv-rerankqa-mistral-4b-v3/reranking",
        "passages",
        lambda t: {
            "model": MODEL, "query": {"text": QUERY}, "passages": [{"text": text} for text in t],
            "truncate": "END", "top_n": len(t),
        },
    ),
    "Open WebUI": App("/v1/rerank", "documents", lambda t: documents(t, top_n=len(t))),
}  # fmt: skip
every_app = pytest.mark.parametrize("app", APPS.values(), ids=APPS)


@every_app
def test_an_app_with_a_wrong_key_is_told(guarded: Any, key: str, texts: list[str], app: App) -> None:
    assert app.ask(guarded.ready(), texts, key).status_code == 200
    refused = app.ask(guarded, texts, "not-the-key-that-opens")
    assert refused.status_code == 401
    assert "a valid API key is needed" in refused.json()["message"]


@every_app
def test_an_app_gets_long_texts_cut(bert: Any, texts: list[str], words: Callable[..., str], app: App) -> None:
    """None of them says how, and none could do anything about a refusal."""
    long = words(600, 3)
    found = answered(app.ask(bert, [long, *texts[:2]]))
    cut = bert.logits(QUERY, [long, *texts[:2]], truncate="END")
    if app.items == "passages":
        assert {each["index"]: each["logit"] for each in found["rankings"]} == pytest.approx(
            dict(enumerate(cut)), abs=1e-6
        )
    else:
        assert spread(found, 3) == pytest.approx([1 / (1 + math.exp(-logit)) for logit in cut], abs=1e-6)


@every_app
def test_an_app_with_nothing_to_rank_is_told(bert: Any, app: App) -> None:
    refused = app.ask(bert, [])
    assert refused.status_code == 422
    assert refused.json()["message"].startswith(f"{app.items}: give at least one ")


def test_nvidias_operator_starts_it_with_variables_of_its_own(models: Any, start: Callable[..., Any]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    server = start(
        models.bert,
        NIM_CACHE_PATH="/model-store",
        NIM_SERVER_PORT=port,
        NIM_HTTP_API_PORT=port,
        NIM_JSONL_LOGGING=1,
        NIM_LOG_LEVEL="INFO",
        NGC_API_KEY="nvapi-of-somebody",
    )
    url = f"http://127.0.0.1:{port}"
    server.wait(lambda: httpx.get(f"{url}/v1/health/live").status_code == 200, "live")
    server.wait(lambda: httpx.get(f"{url}/v1/health/ready").status_code == 200, "ready")
    assert [each["root"] for each in httpx.get(f"{url}/v1/models").json()["data"]] == ["bert"]
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert {line["level"] for line in lines} == {"info"}  # none of them is unknown
    assert "nvapi-of-somebody" not in server.log


def test_nvidias_operator(bert: Any) -> None:
    """It takes the service for ready, and learns the model's name, from the list of models."""
    found = answered(bert.http.get("/v1/models"))
    assert found["object"] == "list"
    assert [(each["object"], each["id"], each["root"]) for each in found["data"]] == [
        ("model", MODEL, MODEL),
        ("model", "other", "other"),
    ]


@pytest.mark.parametrize("path", ["/v1/v1/rerank", "/v1/v2/rerank"])
def test_prefixes_that_are_doubled(bert: Any, texts: list[str], scores: list[float], path: str) -> None:
    """Users paste a base that ends in /v1 where the client adds it once more."""
    found = answered(bert.http.post(path, json={"query": QUERY, "documents": texts}))
    assert spread(found, len(texts)) == pytest.approx(scores, abs=1e-6)


def test_prefix_that_is_doubled_for_nim(bert: Any, texts: list[str], logits: list[float]) -> None:
    body = {"query": {"text": QUERY}, "passages": [{"text": text} for text in texts]}
    found = answered(bert.http.post("/v1/v1/ranking", json=body))
    assert [item["logit"] for item in found["rankings"]] == pytest.approx(sorted(logits, reverse=True), abs=1e-6)


@pytest.mark.parametrize("none", [None, 0, "0", ""])
def test_top_n_that_means_all(bert: Any, texts: list[str], none: object) -> None:
    body = {"query": QUERY, "documents": texts, "top_n": none, "top_k": none}
    assert len(answered(bert.http.post("/v1/rerank", json=body))["results"]) == len(texts)


def test_vllm_scores_in_the_order_given(bert: Any, texts: list[str], scores: list[float]) -> None:
    for names in (("text_1", "text_2"), ("queries", "documents")):
        body = {"model": MODEL, names[0]: QUERY, names[1]: texts}
        found = answered(bert.http.post("/score", json=body))
        assert [item["score"] for item in found["data"]] == pytest.approx(scores, abs=1e-6)
        assert [item["index"] for item in found["data"]] == list(range(len(texts)))


def test_text_embeddings_inference(bert: Any, texts: list[str], logits: list[float]) -> None:
    """All fields that its own documentation shows."""
    body = {"query": QUERY, "texts": texts, "raw_scores": True, "return_text": True, "truncate": False}
    found = answered(bert.http.post("/rerank", json=body | {"truncation_direction": "Right"}))
    order = sorted(range(len(texts)), key=lambda n: -logits[n])
    assert [(item["index"], item["text"]) for item in found] == [(n, texts[n]) for n in order]
    assert [item["score"] for item in found] == pytest.approx([logits[n] for n in order], abs=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "status", "shown"),
    [
        ("/v1/ranking", {"query": {"text": QUERY}, "passages": []}, 422, ["/message", "/type"]),
        ("/v1/rerank", {"query": QUERY, "documents": []}, 422, ["/message", "/detail", "/error/message"]),
        ("/score", {"text_1": QUERY, "text_2": []}, 422, ["/error/message"]),
        ("/rerank", {"query": QUERY, "texts": []}, 413, ["/error", "/error_type"]),
    ],
)
def test_each_api_finds_the_error_where_it_looks(
    bert: Any, path: str, body: dict[str, Any], status: int, shown: list[str]
) -> None:
    found = bert.http.post(path, json=body)
    assert found.status_code == status
    for pointer in shown:
        value = found.json()
        for part in pointer.strip("/").split("/"):
            value = value[part]
        assert isinstance(value, str)
        assert value
