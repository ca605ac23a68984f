"""What a running server tells of itself: numbers that add up, one line for each request, and never what was ranked."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from reranker_runtime.logs import JsonFormatter, TextFormatter
from reranker_runtime.metrics import Metrics
from reranker_runtime.settings import Env, Settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/operations.md"
LIMIT = 506
BUDGET = 512
ALICE, BOB = "alice-has-a-long-key", "bob-has-a-long-key-too"
FORGERIES = [
    "two\nlines",
    "two\r\nlines",
    "2026-01-01T00:00:00.000Z info    GET /forged status=200",
    "next\u0085line",
    "line\u2028and\u2029paragraph",
    "\x1b[2J\x1b]0;title\x07",
    "\u202eright to left",
    "nul\x00 tab\t feed\x0c",
    'quotes " status=200 \\',
]

Sample = tuple[str, tuple[tuple[str, str], ...]]


def sample(name: str, **labels: str) -> Sample:
    return name, tuple(sorted(labels.items()))


def scraped(server: Any) -> dict[Sample, float]:
    """By the internal port, which asks for no key."""
    families = text_string_to_metric_families(httpx.get(f"{server.internal}/metrics").text)
    return {sample(each.name, **each.labels): each.value for family in families for each in family.samples}


def changed(server: Any, do: Callable[[], object]) -> dict[Sample, float]:
    """How much each counter, sum and count grew meanwhile, without those of time and of the scrapes themselves."""
    before = scraped(server)
    do()
    return {
        key: value - before.get(key, 0)
        for key, value in scraped(server).items()
        if key[0].startswith("reranker_")
        and key[0].endswith(("_total", "_sum", "_count"))
        and not key[0].endswith("_seconds_sum")
        and dict(key[1]).get("route") != "/metrics"
        and value != before.get(key, 0)
    }


@pytest.fixture(scope="module")
def servers(models: Any, start_for_all: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    keys = tmp_path_factory.mktemp("keys")
    (keys / "alice").write_text(ALICE)
    (keys / "bob").write_text(BOB)
    fixed = {"NIM_PRECISION": "fp32", "NIM_PIPELINE_MAX_SEQ_LEN": LIMIT, "RERANKER_LOG_TEXTS": "true"}
    return {
        "watched": start_for_all(
            models.bert,
            NIM_SERVED_MODEL_NAME="watched,alias",
            NIM_JSONL_LOGGING="1",
            RERANKER_API_KEYS_DIR=keys,
            RERANKER_BATCH_TOKENS=BUDGET,
            **fixed,
        ),
        "debugged": start_for_all(models.bert, NIM_LOG_LEVEL="debug", RERANKER_STRICT_JSON="true", **fixed),
    }


@pytest.fixture(scope="module")
def early(servers: dict[str, Any]) -> dict[Sample, float]:
    """What was counted of a request that came before the model was loaded."""
    server = servers["watched"]
    server.wait(lambda: bool(httpx.get(f"{server.internal}/v1/health/live").status_code == 200), "live")
    server.http.headers["Authorization"] = f"Bearer {ALICE}"
    counted = changed(server, lambda: server.rank("w1", ["w2"]))
    server.ready()
    return counted


@pytest.fixture
def watched(servers: dict[str, Any], early: object) -> Any:
    """With two clients' keys, JSON lines, and nobody else who asks."""
    return servers["watched"]


@pytest.fixture
def debugged(servers: dict[str, Any]) -> Any:
    """Text lines with everything in them."""
    return servers["debugged"].ready()


def requests(route: str, status: int, *, model: str = "", client: str = "alice") -> Sample:
    return sample("reranker_requests_total", route=route, model=model, client=client, status=str(status))


# Metrics


def test_a_request_is_counted_exactly(watched: Any, words: Callable[[int], str]) -> None:
    passages = ["w2 w3", "w2 w3", words(600), ""]
    counted = changed(watched, lambda: watched.logits("w1", passages, truncate="END"))
    fill = counted.pop(sample("reranker_batch_fill_ratio_sum"))
    batches = counted.pop(sample("reranker_batch_fill_ratio_count"))
    assert {counted.pop(sample(f"reranker_batch_{what}_count")) for what in ("rows", "tokens", "seconds")} == {batches}
    # Each pair has 3 special tokens and the query's one; the second passage is the first again.
    assert fill == pytest.approx((6 + LIMIT + 4) / BUDGET)
    assert counted == {
        requests("/v1/ranking", 200, model="watched"): 1,
        sample("reranker_request_seconds_count", route="/v1/ranking"): 1,
        sample("reranker_passages_total"): 4,
        sample("reranker_request_passages_sum"): 4,
        sample("reranker_request_passages_count"): 1,
        sample("reranker_tokens_total"): 6 + 6 + LIMIT + 4,
        sample("reranker_tokenised_characters_total"): sum(map(len, ["w1", *passages])),
        sample("reranker_truncated_passages_total"): 1,
        sample("reranker_duplicate_passages_total"): 1,
        sample("reranker_batch_rows_sum"): 3,
        sample("reranker_batch_tokens_sum"): 6 + LIMIT + 4,
        sample("reranker_tokenise_seconds_count"): 1,
        sample("reranker_queue_seconds_count"): 1,
        sample("reranker_score_seconds_count"): 1,
    }


def test_a_query_that_leaves_nothing_is_counted(watched: Any, words: Callable[[int], str]) -> None:
    counted = changed(watched, lambda: watched.logits(words(600), ["w2", ""], truncate="END"))
    assert counted[sample("reranker_emptied_passages_total")] == 1
    assert counted[sample("reranker_tokens_total")] == 2 * LIMIT


def test_what_is_refused_ranks_nothing(watched: Any, words: Callable[[int], str]) -> None:
    counted = changed(watched, lambda: watched.rank("w1", [words(600)]))
    assert counted == {
        sample("reranker_tokenised_characters_total"): len("w1" + words(600)),
        requests("/v1/ranking", 422, model="watched"): 1,
        sample("reranker_request_seconds_count", route="/v1/ranking"): 1,
    }


def test_chunks_are_counted(watched: Any, words: Callable[[int, int], str]) -> None:
    body = {"query": "w1", "documents": [words(900, 7), "w5"], "max_chunks_per_doc": 3, "model": "alias"}
    counted = changed(watched, lambda: watched.http.post("/v1/rerank", json=body).raise_for_status())
    assert counted[requests("/v1/rerank", 200, model="alias")] == 1
    assert counted[sample("reranker_chunks_total")] == 2 + 1
    assert counted[sample("reranker_passages_total")] == 2
    assert counted[sample("reranker_tokens_total")] == 900 + 2 * 4 + 5
    assert sample("reranker_truncated_passages_total") not in counted


def test_prefix_tokens_saved(causal: Any) -> None:
    before = {name: causal.metric(name) for name in ("reranker_tokens_total", "reranker_batch_tokens_sum")}
    saved = causal.metric("reranker_prefix_tokens_saved_total")
    causal.logits("which way", ["two roads", "a stew", "bread"])
    grown = {name: causal.metric(name) - value for name, value in before.items()}
    prefix, rest = divmod(grown["reranker_tokens_total"] - grown["reranker_batch_tokens_sum"], 3)
    assert (prefix > 0, rest) == (True, 0)
    assert causal.metric("reranker_prefix_tokens_saved_total") - saved == 2 * prefix


def test_a_server_that_is_not_ready_says_so(early: dict[Sample, float]) -> None:
    assert early == {
        requests("/v1/ranking", 503): 1,
        sample("reranker_request_seconds_count", route="/v1/ranking"): 1,
        sample("reranker_refused_total", cause="not_ready"): 1,
    }


def test_labels_are_those_of_the_server_and_not_of_its_callers(watched: Any) -> None:
    good = {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}
    bob = {"X-API-Key": BOB}

    def ask() -> None:
        for n in range(20):
            watched.http.get(f"/nowhere/{n}")
            watched.http.request("PROPFIND", f"/v1/ranking?{n}")
            watched.http.post("/v1/ranking", json=good | {"model": f"unknown-{n}"})
            watched.http.post("/v1/ranking", json=good, headers={"Authorization": f"Bearer key-{n}"})
            watched.http.post(f"/v1/retrieval/some/model-{n}/reranking", json=good, headers=bob)
            watched.http.post("/v1/ranking", content=b"{")

    counted = changed(watched, ask)
    assert {key: value for key, value in counted.items() if key[0] == "reranker_requests_total"} == {
        requests("other", 404): 20,
        requests("/v1/ranking", 405): 20,
        requests("/v1/ranking", 404): 20,
        requests("/v1/ranking", 401, client=""): 20,
        requests("/v1/ranking", 400): 20,
        # Alice's header comes with Bob's: of two keys the bearer's is the client.
        requests("reranking", 200, model="watched"): 20,
    }


@pytest.mark.parametrize("path", ["/v1/models", "/v1/v1/models"])
def test_other_spellings_of_a_path_are_counted_by_their_own(watched: Any, path: str) -> None:
    counted = changed(watched, lambda: watched.http.get(path).raise_for_status())
    assert counted[requests(path, 200)] == 1


def test_each_key_is_its_client(watched: Any) -> None:
    body = {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}

    def ask() -> None:
        for headers in ({"Authorization": f"Bearer {BOB}"}, {"X-API-Key": BOB}):
            httpx.post(f"{watched.url}/v1/ranking", json=body, headers=headers).raise_for_status()

    assert changed(watched, ask)[requests("/v1/ranking", 200, model="watched", client="bob")] == 2
    assert ALICE not in httpx.get(f"{watched.internal}/metrics").text


def test_bodies_on_their_way_are_counted(watched: Any) -> None:
    def held() -> float:
        return scraped(watched)[sample("reranker_request_bytes")]

    assert held() == 0
    with socket.create_connection(("127.0.0.1", watched.port)) as caller:
        head = f"POST /v1/ranking HTTP/1.1\r\nHost: a\r\nX-API-Key: {ALICE}\r\nContent-Length: 2000\r\n\r\n"
        caller.sendall(head.encode() + b" " * 1234)
        watched.wait(lambda: held() == 1234, "held 1234 bytes")
        assert scraped(watched)[sample("reranker_connections", port="api")] >= 1
    watched.wait(lambda: held() == 0, "let go of the body")


def test_what_runs_and_that_nothing_waits(watched: Any) -> None:
    now = scraped(watched)
    (build,) = [dict(labels) for name, labels in now if name == "reranker_build_info"]
    said = httpx.get(f"{watched.url}/v1/metadata", headers={"X-API-Key": ALICE}).json()
    assert build["version"] == said["version"]
    assert (build["device"], build["dtype"]) == (said["device"], said["dtype"])
    assert build["torch"]
    assert now[sample("reranker_ready")] == 1
    assert now[sample("reranker_tokens_per_second")] > 0
    for name in ("queue_requests", "queue_tokens", "running_requests", "estimated_wait_seconds"):
        assert now[sample(f"reranker_{name}")] == 0


def test_names_follow_the_conventions(watched: Any) -> None:
    text = httpx.get(f"{watched.internal}/metrics").text
    units = ("_seconds", "_bytes", "_tokens", "_requests", "_rows", "_passages", "_ratio", "_connections")
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation, family.name
        assert re.fullmatch(r"(reranker|process|python)(_[a-z]+)+", family.name)
        if family.name.startswith("reranker_") and family.type != "counter":
            kinds = units + ("_ready", "_info", "_per_second") * (family.type == "gauge")
            assert family.name.endswith(kinds), family.name
        for each in family.samples:
            assert each.name.endswith("_total") == (family.type == "counter"), each.name
            assert all(re.fullmatch("[a-z]+", label) for label in each.labels), each.labels


# docs/operations.md


def test_the_page_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/operations_page.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGE.read_text(), "docs/operations.md is not up to date: make generate"


def test_the_page_has_every_metric_and_every_setting(watched: Any) -> None:
    rows = re.findall(r"^\| `(\w+)`", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows))
    names = {family.name + "_total" * (family.type == "counter") for family in Metrics().registry.collect()}
    assert {name for name in names if name.startswith("reranker_")} <= set(rows)
    live = {name for name, _ in scraped(watched)}
    assert {name for name in live if re.sub(r"_(sum|count|bucket)$", "", name) not in rows} == {
        name for name in live if name.startswith(("process_", "python_"))
    }
    variables = {
        name.partition("#")[0]
        for field in Settings.model_fields.values()
        for item in field.metadata
        if isinstance(item, Env)
        for name in item.names
    }
    assert [name for name in variables if f"`{name}`" not in PAGE.read_text()] == []


# Logs


def lines(server: Any, do: Callable[[], object]) -> list[str]:
    """What was logged meanwhile; by every notion of a line the same."""
    begin = mark(server)
    do()
    end = mark(server)
    said = server.log[begin : server.log.rindex("\n", 0, end - 1) + 1]
    assert said.splitlines() == said.split("\n")[:-1]
    return list(said.splitlines())


def mark(server: Any) -> int:
    """Where the log stands, now that everything is in it: a line is written after its answer."""
    identity = uuid.uuid4().hex
    server.http.get("/mark", headers={"X-Request-Id": identity})
    server.wait(lambda: re.search(f"{identity}.*\n", server.log) is not None, f"logged {identity}")
    found = re.search(f"{identity}.*\n", server.log)
    assert found is not None
    return found.end()


def test_one_line_of_json_for_each_request(watched: Any, words: Callable[[int], str]) -> None:
    def ask() -> None:
        watched.rank("w1", ["w2", words(600)], truncate="END")
        watched.rank("w1", ["w2", words(600)])
        watched.http.get("/v1/models", headers={"X-Request-Id": "mine"})
        watched.http.get("/v1/models", headers={"Authorization": "Bearer wrong", "X-API-Key": "too"})
        watched.http.get("/v1/health/ready")
        watched.http.get("/v1/metrics")

    ranked, refused, listed, unknown = (json.loads(line) for line in lines(watched, ask))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ranked.pop("time"))
    assert re.fullmatch("[0-9a-f]{32}", ranked.pop("request_id"))
    assert ranked.pop("ms") > 0
    assert ranked == {
        "level": "info",
        "logger": "reranker_runtime.access",
        "message": "POST /v1/ranking",
        "status": 200,
        "client": "alice",
        "model": "watched",
        "passages": 2,
        "tokens": 5 + LIMIT,
        "truncated": 1,
    }
    assert (refused["status"], refused["model"]) == (422, "watched")
    assert "Input length 604 exceeds" in refused["error"]
    assert (listed["request_id"], listed["client"], listed["message"]) == ("mine", "alice", "GET /v1/models")
    assert (unknown["status"], "client" in unknown) == (401, False)
    assert "a valid API key is needed" in unknown["error"]


def test_one_line_of_text_for_each_request(debugged: Any) -> None:
    def ask() -> None:
        debugged.http.get("/v1/models", headers={"X-Request-Id": "mine"})
        debugged.http.post("/v1/ranking", content=b"{")
        debugged.http.get("/v1/health/live", headers={"X-Request-Id": 'a"=b\\'})

    listed, refused, probe = lines(debugged, ask)
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(at + r" info    GET /v1/models status=200 ms=[\d.]+ request_id=mine", listed)
    assert re.fullmatch(
        at + r' info    POST /v1/ranking status=400 ms=[\d.]+ error="the body is not JSON: [^"]+" request_id=\w{32}',
        refused,
    )
    found = re.fullmatch(at + r" debug   GET /v1/health/live status=200 ms=[\d.]+ (.*)", probe)
    assert found is not None
    assert found.group(1) == r'request_id="a\"=b\\"'


@pytest.mark.parametrize("junk", ["", "two words", "x" * 129, "caf\u00e9", "tab\there", "\u0085"])
def test_a_request_id_that_is_none_is_replaced(watched: Any, junk: str) -> None:
    def ask() -> httpx.Response:
        return watched.http.get("/v1/models", headers={"X-Request-Id": junk.encode("latin-1")})  # type: ignore[no-any-return]

    answers: list[httpx.Response] = []
    (line,) = lines(watched, lambda: answers.append(ask()))
    given = answers[0].headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", given)
    assert json.loads(line)["request_id"] == given


def test_texts_are_logged_only_where_that_was_asked_for(watched: Any, debugged: Any, bert: Any) -> None:
    texts = [f"secret{place}" for place in ("query", "passage", "instruction", "field", "body", "argument", "header")]
    query, passage, instruction, field, body, argument, header = texts

    def ask(server: Any) -> None:
        good = {"query": {"text": query}, "passages": [{"text": f"{passage}\n{passage}"}]}
        for wrong in ({}, {"truncate": field}, {"passages": [{"text": {field: field}}]}, {"query": field}):
            server.http.post("/v1/ranking", json=good | wrong)
        long = {"query": query, "documents": [passage * 5000], "truncation": False, "instruction": instruction}
        server.http.post("/v1/rerank", json=long)
        server.http.post("/v1/rerank", json=long | {"truncation": True, "max_chunks_per_doc": 2})
        server.http.post("/rerank", json={"query": query, "texts": [passage, 7]})
        server.http.post("/v1/score", json={"text_1": query, "text_2": [passage]})
        server.http.post(f"/nowhere?{argument}=1", content=body, headers={"X-Secret": header, "Cookie": header})
        server.http.post("/v1/ranking", content=f'{{"query": {{"text": "{query}"}}, {body}'.encode())

    for server in (bert, watched):  # debug without the switch, the switch without debug
        assert len(lines(server, partial(ask, server))) >= 10
        assert "secret" not in server.log
    told = lines(debugged, lambda: ask(debugged))
    shown = [line for line in told if "secret" in line]
    assert all(" debug " in line for line in shown)
    assert {text for text in texts if any(text in line for line in shown)} >= {query, passage}
    assert not [line for line in told if argument in line or header in line or body in line]
    assert r"secretpassage\nsecretpassage" in shown[0]


@pytest.mark.parametrize("name", ["watched", "debugged"])
@pytest.mark.parametrize("forgery", FORGERIES)
def test_nobody_forges_a_line(servers: dict[str, Any], watched: Any, debugged: Any, name: str, forgery: str) -> None:
    server = servers[name]
    body = {"query": {"text": "w1"}, "passages": [{"text": "w2"}], "model": forgery}
    quoted = "".join(f"%{byte:02X}" for byte in forgery.encode())[:126]

    def ask() -> None:
        assert server.http.post("/v1/ranking", json=body).status_code == 404
        assert server.http.get(f"/{quoted}", headers={"X-Request-Id": quoted}).status_code == 404
        assert server.http.post("/v1/ranking", json=body | {"model": None, forgery: 1}).status_code in (200, 400)

    said = lines(server, ask)
    said = [line for line in said if " debug " not in line]
    assert len(said) == 3
    assert all(line.isprintable() for line in said)
    if name == "watched":
        first, second, _ = map(json.loads, said)
        assert (first["message"], second["message"][:5]) == ("POST /v1/ranking", "GET /")
        assert second["request_id"] == quoted
        return
    fields = [re.sub(r'"(?:[^"\\]|\\.)*"', "quoted", line) for line in said]
    plain = r"\S+ info    (POST /v1/ranking|GET /[\w%.:;/-]+)( [a-z_]+=[^ =]+)+"
    assert [line for line in fields if not re.fullmatch(plain, line)] == []
    assert [line.count(" status=") for line in fields] == [1, 1, 1]


@pytest.mark.parametrize("name", ["watched", "debugged"])
def test_what_is_quoted_is_bounded(servers: dict[str, Any], watched: Any, debugged: Any, name: str) -> None:
    huge = "x" * 1_000_000
    body = {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}
    answers = []

    def ask() -> None:
        answers.append(servers[name].http.post("/v1/ranking", json=body | {"model": huge}))
        answers.append(servers[name].http.post("/v1/ranking", json=body | {huge: 1, huge + "y": 1}))
        answers.append(servers[name].http.get("/" + huge[:60_000]))

    said = lines(servers[name], ask)
    assert [answer.status_code for answer in answers] == [404, 400 if name == "debugged" else 200, 404]
    assert "served: " in answers[0].json()["message"]
    assert all(len(answer.content) < 10_000 for answer in answers)
    assert len(said) == 3 + (name == "debugged")  # the texts of what could be read
    assert all(len(line) < 10_000 for line in said)


def test_a_traceback_cannot_pass_for_events() -> None:
    def fail(message: str) -> None:
        raise ValueError(message)

    try:
        fail("first\n2026-01-01T00:00:00.000Z info    forged\u2028\x1b[2J" + "x" * 100_000)
    except ValueError:
        record = logging.LogRecord("name", logging.ERROR, __file__, 1, "it %s", ("failed\nbadly",), sys.exc_info())
    head, *rest = TextFormatter().format(record).split("\n")
    assert head.endswith(r" error   it failed\nbadly")
    assert len(rest) > 3
    assert all(line.startswith("    ") and line.isprintable() and len(line) < 10_000 for line in rest)
    line = JsonFormatter().format(record)
    assert line.isprintable()
    assert "forged" in json.loads(line)["exception"]
