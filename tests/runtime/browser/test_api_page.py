"""The API page and the index, as people read them, also below a reverse proxy's prefix."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

PREFIX = "/search/reranker"


@pytest.fixture
def proxied(bert: Any) -> Iterator[str]:
    """The server below a prefix, as an ingress shows it."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass(b"")

        def do_POST(self) -> None:
            self._pass(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass(self, body: bytes) -> None:
            assert self.path.startswith(PREFIX), self.path
            given = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx.request(self.command, bert.url + self.path[len(PREFIX) :], headers=given, content=body)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
        server.shutdown()


@pytest.mark.parametrize("where", ["server", "proxied"])
def test_the_api_page_shows_the_ranking_and_tries_it(
    visit: Callable[..., Any], bert: Any, request: pytest.FixtureRequest, where: str
) -> None:
    there = visit(bert.url if where == "server" else request.getfixturevalue("proxied"))
    page = there.open("/docs")
    operation = page.locator(".opblock-post", has=page.locator("[data-path='/v1/ranking']"))
    operation.locator(".opblock-summary-control").click()
    body = operation.locator("textarea.body-param__text")
    body.fill('{"query": {"text": "w1 w2"}, "passages": [{"text": "w1"}, {"text": "w3 w4"}]}')
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response").first
    expect(answer.locator(".response-col_status")).to_contain_text("200")
    expect(answer).to_contain_text("rankings")
    there.picture(f"docs-{where}")


def test_the_index_leads_everywhere(visit: Callable[..., Any], bert: Any) -> None:
    there = visit(bert.url)
    page = there.open()
    there.picture("index")
    assert there.obstacles() == []
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.locator(".opblock").first).to_be_visible()
    page.get_by_role("link", name="Start").click()
    expect(page).to_have_title("Reranker runtime")


def test_the_pages_follow_the_dark(visit: Callable[..., Any], bert: Any) -> None:
    there = visit(bert.url, color_scheme="dark")
    page = there.open("/docs")
    expect(page.locator("html.dark-mode")).to_have_count(1)
    expect(page.locator(".opblock").first).to_be_visible()
    there.picture("docs-dark")
    there.open("/")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 19, 17)"
