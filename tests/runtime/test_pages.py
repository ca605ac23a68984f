"""The pages over HTTP: what they allow themselves, that they are whole, and where they are not served."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

PAGES = ["/", "/docs"]
FILES = ["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/favicon.png"]


@pytest.fixture(scope="module")
def playground(start_for_all: Callable[..., Any], models: Any) -> httpx.Client:
    """A server with the playground; pages are there while the model loads."""
    server = start_for_all(models.bert, RERANKER_PLAYGROUND="true")
    server.wait(lambda: server.http.get("/v1/health/live").status_code == 200, "alive")
    client: httpx.Client = server.http
    return client


def policy(answer: httpx.Response) -> dict[str, set[str]]:
    directives = [part.split() for part in answer.headers["content-security-policy"].split(";")]
    return {name: set(values) for name, *values in directives}


def digests(html: str, tag: str) -> set[str]:
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
    return {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts}


def test_the_playground_is_there_when_switched_on(playground: httpx.Client, bert: Any) -> None:
    on, off = playground.get("/"), bert.http.get("/")
    assert (on.status_code, off.status_code) == (200, 200)
    assert on.headers["content-type"] == off.headers["content-type"] == "text/html; charset=utf-8"
    assert ('id="query"' in on.text, 'id="query"' in off.text) == (True, False)
    assert "RERANKER_PLAYGROUND=true" in off.text


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_its_own_scripts_only(playground: httpx.Client, path: str) -> None:
    answer = playground.get(path)
    allowed = policy(answer)
    own = {"'self'"} if path == "/docs" else set()
    assert allowed["script-src"] == digests(answer.text, "script") | own
    assert allowed["style-src"] == digests(answer.text, "style") | own
    assert {name: allowed[name] for name in ("default-src", "base-uri", "form-action", "frame-ancestors")} == {
        name: {"'none'"} for name in ("default-src", "base-uri", "form-action", "frame-ancestors")
    }
    assert allowed["connect-src"] == {"'self'"}
    assert not re.search(r"\s(on\w+|style)=", re.sub(r"<(script|style)>.*?</\1>", "", answer.text, flags=re.DOTALL))


def test_the_index_runs_nothing(bert: Any) -> None:
    answer = bert.http.get("/")
    assert not {"script-src", "connect-src"} & set(policy(answer))
    assert "<script" not in answer.text


@pytest.mark.parametrize("path", PAGES + FILES)
def test_what_is_served_says_how_to_treat_it(playground: httpx.Client, path: str) -> None:
    answer = playground.get(path)
    assert answer.status_code == 200
    wanted = {
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
    }
    assert {name: answer.headers[name] for name in wanted} == wanted
    again = playground.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert playground.get(path, headers={"If-None-Match": '"another"'}).content == answer.content
    head = playground.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize("path", PAGES)
def test_addresses_are_relative_and_lead_somewhere(playground: httpx.Client, bert: Any, path: str) -> None:
    for client in (playground, bert.http):
        html = client.get(path).text
        found = set(re.findall(r'\b(?:href|src)="([^"]*)"', html))
        assert found
        for address in found:
            if not address.startswith("data:"):
                assert not re.match(r"/|\w+:", address), f"{address} in {path} leaves a proxy's prefix"
                assert client.get(f"/{address.removeprefix('./')}").status_code in (200, 503), address


@pytest.mark.parametrize("path", ["/docs/redoc.standalone.js", "/docs/", "/docs/..%2fcore.py", "/static/theme.css"])
def test_nothing_else_is_served(bert: Any, path: str) -> None:
    answer = bert.http.get(path)
    assert (answer.status_code, answer.json()["object"]) == (404, "error")


def test_pages_are_for_the_api_port_and_not_part_of_the_api(bert: Any) -> None:
    for path in PAGES + FILES:
        assert httpx.get(bert.internal + path).status_code == 404
    assert not {*PAGES, *FILES} & set(bert.http.get("/openapi.json").json()["paths"])
    answer = bert.http.post("/")
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
