"""The OpenAPI description against the servers that it tells of: paths, statuses, bounds, and every example."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from clients.environments import Environments
from peers import Peer, post

from reranker_runtime.http.doors import DOORS

KEY, GREEDY = "a-key-that-opens-the-door", "a-key-of-a-client-that-asks-much"
LOW = {
    "RERANKER_MAX_BODY_BYTES": 2048,
    "RERANKER_BODY_TIMEOUT_SECONDS": 0.5,
    "RERANKER_MAX_IMAGE_BYTES": 4096,
    "RERANKER_MAX_IMAGE_PIXELS": 100,
    "RERANKER_MAX_PASSAGES": 8,
    "RERANKER_TOKENS_PER_MINUTE": 50,
}
STATUSES = {"200", "400", "401", "404", "405", "408", "413", "415", "422", "429", "500", "503", "504"}
DEPENDS = ("no such model", "too long", "no tokens left")
"""Failures whose words are of one request or one server, so that an example can only have the same fields."""
# Reads pairs of a schema and a value, answers what is wrong with each; by a validator that knows nothing of us.
VALIDATE = """
import json, sys, jsonschema_rs
def wrong(schema, value):
    return [str(e) for e in jsonschema_rs.validator_for(schema).iter_errors(value)]
json.dump([wrong(*pair) for pair in json.load(sys.stdin)], sys.stdout)
"""


@pytest.fixture(scope="module")
def low(models: Any, start_for_all: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of low limits that asks for keys."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"tester {KEY}\ngreedy {GREEDY}\n")
    server = start_for_all(models.bert, **LOW, NIM_PRECISION="fp32", RERANKER_API_KEYS_FILE=keys)
    server.http.headers["Authorization"] = f"Bearer {KEY}"
    return server.ready()


def described(server: Any) -> dict[str, Any]:
    found: dict[str, Any] = server.http.get("/openapi.json").json()
    return found


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, told in methods.items():
            yield path, method, told


def contents(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whatever has a schema and examples, and where it stands."""
    for path, method, told in operations(description):
        for kind, content in told.get("requestBody", {}).get("content", {}).items():
            yield f"{method} {path}: {kind}", content
        for status, response in told["responses"].items():
            for kind, content in response["content"].items():
                yield f"{method} {path}: {status} {kind}", content


def faults_of(tools: Environments, description: dict[str, Any], pairs: list[tuple[Any, Any]]) -> list[list[str]]:
    whole = {"components": description["components"]}
    asked = json.dumps([[schema | whole, value] for schema, value in pairs])
    done = tools.run("schemathesis", "-c", VALIDATE, stdin=asked)
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["bert", "strict", "low"])
def test_every_example_is_what_its_schema_says(name: str, request: pytest.FixtureRequest, tools: Environments) -> None:
    description = described(request.getfixturevalue(name))
    pairs, places = [], []
    for place, content in contents(description):
        assert content["examples"], place
        for example, held in content["examples"].items():
            pairs.append((content["schema"], held["value"]))
            places.append(f"{place}, {example}")
    wrong = [
        f"{place}: {said}" for place, said in zip(places, faults_of(tools, description, pairs), strict=True) if said
    ]
    assert not wrong
    # And the validator does see what is wrong.
    assert all(faults_of(tools, description, [(schema, [{"no": "answer"}]) for schema, _ in pairs]))


def test_the_statuses_of_a_ranking_are_all_there_are(bert: Any) -> None:
    told = {path: set(told["responses"]) for path, method, told in operations(described(bert)) if method == "post"}
    assert told.pop("/rerank") == STATUSES | {"424"}
    assert all(statuses == STATUSES for statuses in told.values())


def test_the_statuses_of_a_page_are_all_there_are(bert: Any) -> None:
    told = {path: set(told["responses"]) for path, method, told in operations(described(bert)) if method == "get"}
    assert told.pop("/v1/health/ready") == {"200", "401", "405", "503"}
    assert all(statuses == {"200", "401", "405"} for statuses in told.values())


def test_a_status_of_several_meanings_names_them_all(bert: Any) -> None:
    responses = described(bert)["paths"]["/rerank"]["post"]["responses"]
    assert responses["503"]["description"].startswith("Not ready; Retry-After says when to come back. Or: ")
    assert "Or: Overloaded; " in responses["503"]["description"]
    assert "Or: Overloaded; Retry-After says when to come back (to TEI's clients)" in responses["429"]["description"]
    for part in ("The body is too large", "Or: A text is too long (to TEI's clients)", "Or: More than 512 passages"):
        assert part in responses["413"]["description"]
    examples = responses["503"]["content"]["application/json"]["examples"]
    assert {"either: not ready", "rerank: queue full"} <= set(examples)


def test_every_path_is_named(bert: Any) -> None:
    page = json.dumps(described(bert))
    paths = [door.path.replace(":path", "") for door in DOORS] + ["/v1/v1/models"]
    assert [path for path in paths if f'"{path}"' not in page and f"`{path}`" not in page] == []


def test_bounds_are_those_of_the_settings(low: Any, bert: Any) -> None:
    for server, bytes_, marks, file, pixels, most in (
        (low, 2048, 10_000 + 8 * 256, 4096, 100, 8),
        (bert, 4_000_000, 10_000 + 512 * 256, 33_554_432, 50_000_000, 512),
    ):
        ranking = described(server)["paths"]["/v1/ranking"]["post"]
        body = ranking["requestBody"]
        assert f"at most {bytes_} bytes (RERANKER_MAX_BODY_BYTES), and {marks} commas" in body["description"]
        passages = body["content"]["application/json"]["schema"]["properties"]["passages"]
        assert (passages["minItems"], passages["maxItems"]) == (1, most)
        image = passages["items"]["properties"]["image"]["description"]
        assert f"{file} bytes as a file" in image
        assert f"{pixels} pixels" in image
    score = described(low)["paths"]["/v1/score"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert [score["properties"][name]["anyOf"][1]["maxItems"] for name in ("text_1", "text_2")] == [8, 8]


def test_strict_mode_describes_what_it_reads(strict: Any) -> None:
    for path in ("/v1/ranking", "/v1/retrieval/{model}/reranking"):
        body = described(strict)["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert set(body["schema"]["properties"]) == {"model", "query", "passages", "truncate"}
        passage = body["schema"]["properties"]["passages"]["items"]
        assert set(passage["properties"]) == {"text", "image"}
        assert not body["schema"]["additionalProperties"]
        assert not passage["additionalProperties"]


def test_headers_are_told_of(bert: Any) -> None:
    responses = described(bert)["paths"]["/v1/ranking"]["post"]["responses"]
    assert all("X-Request-Id" in response["headers"] for response in responses.values())
    assert {status for status, told in responses.items() if "Retry-After" in told["headers"]} == {"429", "503"}
    assert set(responses["200"]["headers"]) == {"X-Request-Id", "X-Reranker-Truncated"}
    told = bert.rank("w1 " * 505, ["w2"], truncate="END").headers
    assert set(map(str.lower, responses["200"]["headers"])) <= set(told)


BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "nim": ("passages", {"query": {"text": "w1"}, "passages": [{"text": "w2"}]}),
    "rerank": ("documents", {"query": "w1", "documents": ["w2"], "truncation": False}),
    "score": ("text_2", {"text_1": "w1", "text_2": ["w2"]}),
    "tei": ("texts", {"query": "w1", "texts": ["w2"]}),
}


def spoken(path: str) -> list[str]:
    """Whose bodies a path reads."""
    if path == "/rerank":
        return ["tei", "rerank"]
    return ["nim" if path.endswith("ranking") else path.rpartition("/")[2]]


@pytest.fixture
def provoked(tools: Environments) -> Callable[..., None]:
    """`provoked(server, path, name, answer)`: the answer is what the description has under that name."""

    def check(server: Any, path: str, name: str, answer: httpx.Response) -> None:
        description = described(server)
        told = description["paths"][path]["post"]["responses"][str(answer.status_code)]
        content = told["content"]["application/json"]
        example, body = content["examples"][name]["value"], answer.json()
        if name.partition(": ")[2] in DEPENDS:
            assert shape(body) == shape(example), name
        else:
            assert body == example, name
        assert {each.lower() for each in told["headers"]} <= set(answer.headers), name
        assert faults_of(tools, description, [(content["schema"], body)]) == [[]]

    return check


def shape(body: dict[str, Any]) -> dict[str, Any]:
    """Its fields, and those that are no free text."""
    return {
        name: shape(held) if name == "error" and isinstance(held, dict) else type(held).__name__
        for name, held in body.items()
    }


PATHS = ["/v1/ranking", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/v1/retrieval/{model}/reranking"]


@pytest.mark.parametrize("path", PATHS)
def test_failures_are_as_described(path: str, bert: Any, words: Any, provoked: Any) -> None:
    url = path.replace("{model}", "my-reranker")

    def sent(body: object, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        found: httpx.Response = bert.http.post(url, content=content, headers=headers)
        return found

    whole = "either" if path == "/rerank" else spoken(path)[0]
    provoked(bert, path, f"{whole}: wrong method", bert.http.get(url))
    for dialect in spoken(path):
        items, good = BODIES[dialect]
        broken = b'{"texts":' if dialect == "tei" else b'{"query":'
        provoked(bert, path, f"{dialect}: not JSON", sent(broken))
        provoked(bert, path, f"{dialect}: no such model", sent(good | {"model": "nobody"}))
        provoked(bert, path, f"{dialect}: wrong field", sent(good | {items: 7}))
        provoked(bert, path, f"{dialect}: many values", sent(good | {"unheard": [[]] * 150_000}))
        provoked(bert, path, f"{dialect}: too many", sent(good | {items: good[items] * 513}))
        long = {"text": words(600)} if dialect == "nim" else words(600)
        provoked(bert, path, f"{dialect}: too long", sent(good | {items: [long]}))
        provoked(bert, path, f"{whole}: compressed", sent(good, **{"Content-Encoding": "gzip"}))
    if path == "/rerank":
        both = {"unheard": {"texts": 1}, "documents": ["w2"], "query": "w1", "more": [[]] * 150_000}
        provoked(bert, path, "either: many values", sent(both))


@pytest.mark.parametrize("path", PATHS)
def test_failures_of_low_limits_are_as_described(path: str, low: Any, provoked: Any) -> None:
    url = path.replace("{model}", "my-reranker")
    whole = "either" if path == "/rerank" else spoken(path)[0]
    _, good = BODIES[spoken(path)[-1]]
    provoked(low, path, f"{whole}: no key", httpx.post(low.url + url, json=good))
    provoked(low, path, f"{whole}: large body", low.http.post(url, content=b" " * 4096))
    with Peer(low.port) as slow:
        slow.send(post(json.dumps(good).encode(), f"Authorization: Bearer {KEY}", path=url)[:-1])
        [(status, headers, body)] = slow.answers(1)
    provoked(low, path, f"{whole}: slow body", httpx.Response(status, headers=headers, json=body))
    greedy = {"Authorization": f"Bearer {GREEDY}"}
    low.http.post("/v1/rerank", json={"query": "w1", "documents": ["w2 " * 200]}, headers=greedy)
    provoked(low, path, f"{whole}: no tokens left", low.http.post(url, json=good, headers=greedy))


TITLED = {"query": "w1", "documents": [{"title": "w2"}, "w3"], "rank_fields": ["title"]}
READ: list[tuple[str, dict[str, Any]]] = [
    *((path, TITLED) for path in ("/v1/rerank", "/v2/rerank", "/rerank")),
    ("/v1/score", {"text_1": "w1", "text_2": {"text": "w2"}}),
    ("/v1/score", {"text_1": "w1", "text_2": {"text": "w2", "title": "w3"}}),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("/v1/score", {"text_1": "w1", "text_2": {"title": "w2"}}),
    ("/v1/score", {"text_1": "w1", "text_2": [{"title": "w2"}]}),
    ("/v1/ranking", {"query": {"text": "w1"}, "passages": [{"title": "w2"}]}),
    ("/v1/rerank", {"query": "w1", "documents": [7]}),
]


def test_bodies_are_described_as_they_are_read(bert: Any, tools: Environments) -> None:
    description = described(bert)
    bodies = [*READ, *REFUSED]
    answered = [bert.http.post(path, json=body).status_code for path, body in bodies]
    assert answered == [200] * len(READ) + [422] * len(REFUSED)
    schemas = [
        description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"] for path, _ in bodies
    ]
    pairs = [(schema, body) for schema, (_, body) in zip(schemas, bodies, strict=True)]
    fits = [not wrong for wrong in faults_of(tools, description, pairs)]
    assert fits == [True] * len(READ) + [False] * len(REFUSED)


def test_strict_mode_refuses_as_described(strict: Any, provoked: Any) -> None:
    _, good = BODIES["nim"]
    provoked(strict, "/v1/ranking", "nim: unknown field", strict.http.post("/v1/ranking", json=good | {"top_k": 1}))


def test_pages_refuse_and_answer_as_described(low: Any, tools: Environments) -> None:
    description = described(low)
    pairs, mine = [], []
    for path, method, told in operations(description):
        if method != "get":
            continue
        for status, answer in (
            ("200", low.http.get(path)),
            ("405", low.http.post(path)),
            ("401", httpx.get(low.url + path)),
        ):
            if answer.status_code == 200 and status == "401":
                assert path.startswith("/v1/health/")  # which needs no key
                continue
            assert str(answer.status_code) == status, path
            response = told["responses"][status]
            assert {name.lower() for name in response["headers"]} <= set(answer.headers), path
            kind = answer.headers["content-type"].partition(";")[0]
            content = response["content"][kind]
            pairs.append((content["schema"], answer.text if kind == "text/plain" else answer.json()))
            [example] = content["examples"].values()
            if kind == "text/plain":
                assert example["value"].splitlines()[0] in answer.text
            elif status == "200":
                assert set(answer.json()) == set(example["value"]), path
            else:
                assert answer.json() == example["value"]
            mine.append(path)
    assert len(mine) >= 25
    assert not [found for found in zip(mine, faults_of(tools, description, pairs), strict=True) if found[1]]
