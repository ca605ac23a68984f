"""Chromium, driven as a person would: no page may ask another host, break its policy, or complain in the console."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MISSING = (
    "the browser tier did not run: `chromium` is not on the PATH and $CHROMIUM names none; "
    "`make tools` installs it by apt-get"
)
SCREENSHOTS = Path(__file__).parents[3] / ".cache/screenshots"
DEADLINE = 60_000.0
"""Milliseconds for a fact to come true."""


class Visit:
    """One person's browser at one server, and everything that went wrong there."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base, self.faults, self.statuses = base.rstrip("/"), list[str](), list[int]()
        self.asked, self.dropped = list[str](), list[str]()
        self._expected = set[int]()
        self.page: Page = context.new_page()
        self.page.set_default_timeout(DEADLINE)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._request)
        self.page.on("requestfailed", lambda request: self.dropped.append(request.post_data or ""))
        self.page.on("response", self._response)

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.base + path)
        return self.page

    def expect(self, *statuses: int) -> None:
        """Answers of these statuses are what the test is about; Chromium reports each as an error."""
        self._expected.update(statuses)

    def picture(self, name: str) -> None:
        """For people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def obstacles(self) -> list[str]:
        """What keeps people with assistive technology out, contrast included, by axe-core."""
        found = Axe().run(self.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
        return [
            f"{fault['id']}: {node['html']} {node['failureSummary']}"
            for fault in found.response["violations"]
            for node in fault["nodes"]
        ]

    def _console(self, message: ConsoleMessage) -> None:
        if any(f"responded with a status of {status} " in message.text for status in self._expected):
            return
        self.faults.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if request.url.startswith(f"{self.base}/"):
            if request.url.endswith("/v1/ranking"):
                self.asked.append(request.post_data or "")
        elif not request.url.startswith("data:"):
            self.faults.append(f"asked elsewhere: {request.url}")

    def _response(self, response: Response) -> None:
        self.statuses.append(response.status)


@pytest.fixture(scope="module")  # no longer: while it runs, this thread has an event loop, and no other can start
def chromium() -> Iterator[Browser]:
    path = shutil.which(os.environ.get("CHROMIUM") or "chromium")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    expect.set_options(timeout=DEADLINE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """`visit(url, **context)`: a fresh browser window; the test fails where anything went wrong in it."""
    visits: list[Visit] = []
    contexts: list[BrowserContext] = []

    def begin(base: str, **options: Any) -> Visit:
        contexts.append(chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options)))
        visits.append(Visit(contexts[-1], base))
        return visits[-1]

    yield begin
    for context in contexts:
        context.close()
    assert [fault for one in visits for fault in one.faults] == []
