"""docs/threat-model.md: each boundary names what guards it, and what it names exists."""

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/threat-model.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
BOUNDARIES = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("file", "name"), sorted(set(TEST.findall(PAGE.read_text()))))
def test_what_is_said_to_guard_exists(root: Path, file: str, name: str) -> None:
    assert (root / file).exists(), f"there is no {file}"
    functions = [each for each in ast.parse((root / file).read_text()).body if isinstance(each, ast.FunctionDef)]
    assert name.startswith("test_")
    assert name in {each.name for each in functions}, f"{file} has no {name}"


@pytest.mark.parametrize(("title", "text"), BOUNDARIES, ids=[title for title, _ in BOUNDARIES])
def test_each_row_names_a_test_or_says_that_there_is_none(title: str, text: str) -> None:
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows, f"{title} has no table"
    for row in rows:
        assert len(row) == 3, row
        assert TEST.search(row[2]) or row[2].startswith("nothing here"), row
