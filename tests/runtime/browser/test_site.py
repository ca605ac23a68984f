"""The documentation's site, built and opened: nothing is loaded from elsewhere, and everybody can read it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

PAGES = {
    "home": "/docs/index.html",
    "guide": "/docs/guides/scale.html",
    "fields": "/docs/reference/fields.html",
    "concept": "/docs/concepts/readiness.html",
    "source": "/source/examples/quickstart.yaml.html",
}
WINDOWS = {"light": {"width": 1280, "height": 900}, "dark": {"width": 390, "height": 844}}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(root / "scripts/build_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_by_everybody(visit: Callable[..., Any], site: str, scheme: str) -> None:
    there = visit(site, color_scheme=scheme, viewport=WINDOWS[scheme])
    for name, path in PAGES.items():
        page = there.open(path)
        expect(page.locator("h1")).to_be_visible()
        there.picture(f"site-{name}-{scheme}")
        assert there.obstacles() == [], path
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} pixels wider than the window"


@pytest.mark.long
def test_the_root_leads_in_and_the_side_bar_leads_on(visit: Callable[..., Any], site: str) -> None:
    page = visit(site).open("/")
    expect(page).to_have_url(f"{site}/docs/index.html")
    page.locator(".sidebar-tree").get_by_role("link", name="Conditions", exact=True).click()
    expect(page.locator("h1")).to_contain_text("Conditions")
    page.get_by_role("link", name="A guide", exact=True).click()
    expect(page.locator("h1")).to_contain_text("Find out why a service is not Ready")


@pytest.mark.long
def test_search_finds_a_field(visit: Callable[..., Any], site: str) -> None:
    page = visit(site).open("/docs/index.html")
    page.get_by_placeholder("Search").fill("surgeTimeoutSeconds")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li a", has_text="Fields of a RerankerService").first
    expect(found).to_be_visible()
    found.click()
    expect(page.locator("h1")).to_contain_text("Fields of a RerankerService")
    expect(page.get_by_text("spec.rollout.surgeTimeoutSeconds", exact=True)).to_be_visible()
