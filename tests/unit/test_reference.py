"""The generated reference leaves nothing out: looked up from the other end, the CRD and the programs themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reranker_operator.api import EventReason


def paths(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, each in schema.get("properties", {}).items():
        yield f"{path}.{name}", each
        yield from paths(each, f"{path}.{name}")
        yield from paths(each.get("items", {}), f"{path}.{name}[]")


def test_every_field_of_the_crd_has_a_row(root: Path) -> None:
    crd = yaml.safe_load((root / "crds/reranking.dev_rerankerservices.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    text = (root / "docs/reference/fields.md").read_text()
    rows = dict(re.findall(r"^\| `((?:spec|status)[^`]*)` \| (.*?) \|", text, re.MULTILINE))
    # What is handed on to pods has Kubernetes' own reference, which the row names.
    handed_on = tuple(path for path, kind in rows.items() if re.search(r" of (a pod|autoscaling/v2)", kind))
    missing = [
        path
        for part in ("spec", "status")
        for path, _ in paths(schema[part], part)
        if path not in rows and not path.startswith(tuple(f"{each}{sign}" for each in handed_on for sign in ".["))
    ]
    assert missing == []


def test_defaults_are_those_of_the_crd(root: Path) -> None:
    crd = yaml.safe_load((root / "crds/reranking.dev_rerankerservices.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    text = (root / "docs/reference/fields.md").read_text()
    lines = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `spec")}
    for path, schema in paths(spec, "spec"):
        default = schema.get("default")
        if path in lines and isinstance(default, str | int) and not isinstance(default, bool):
            assert f"default `{default}`" in lines[path], path


def test_every_event_is_told(root: Path) -> None:
    text = (root / "docs/reference/events.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| (?:Normal|Warning) \|", text, re.MULTILINE) == [x.value for x in EventReason]


@pytest.mark.parametrize("program", ["reranker-operator", "reranker-runtime"])
def test_every_option_is_told(root: Path, program: str) -> None:
    text = (root / "docs/reference/command-line.md").read_text()
    tool = Path(sys.executable).with_name(program)

    def printed(*arguments: str) -> str:
        return subprocess.run([tool, *arguments, "--help"], capture_output=True, text=True, check=True).stdout

    commands = re.findall(r"^  (\w+) ", printed().partition("Commands:")[2], re.MULTILINE)
    assert commands
    for command in commands:
        section = text.partition(f"### {program} {command}\n")[2].partition("\n### ")[0]
        assert section, f"{program} {command} is not in the page"
        for option in re.findall(r"^  (?:-\w, )?(--[\w-]+)", printed(command), re.MULTILINE):
            assert option == "--help" or f"`{option}`" in section, f"{program} {command} {option}"
