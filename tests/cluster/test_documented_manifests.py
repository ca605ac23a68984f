"""Manifests in pages that no test follows are taken by the server as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rerankers import KIND, Rerankers, spec_of

ROOT = Path(__file__).parents[2]
FOLLOWED = ("docs/guides/", "docs/tutorials/")
"""Folders whose pages test_guides.py, test_scaling.py and test_tutorials.py apply."""
OTHERS = {
    ("docs/migrate-from-tei.md", "apiVersion"): "test_migration.py applies both of its manifests",
    ("docs/supply-chain.md", "apiVersion"): "policies of Kyverno and sigstore, whose kinds the test's server has not",
    ("docs/operations.md", "relabel_configs"): "a part of Prometheus' own configuration",
}
"""Blocks of something else, by their page and first word, and why they are not applied."""


def blocks() -> dict[str, list[str]]:
    """Blocks of `yaml` by page."""
    found = {}
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        name = str(page.relative_to(ROOT))
        parts = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
        if parts and not name.startswith(FOLLOWED):
            found[name] = parts
    return found


def first_word(block: str) -> str:
    return re.sub(r"^#.*\n", "", block, flags=re.MULTILINE).partition(":")[0].strip()


BLOCKS = blocks()


def test_what_is_left_out_is_still_there() -> None:
    there = {(page, first_word(block)) for page, parts in BLOCKS.items() for block in parts}
    assert set(OTHERS) <= there


@pytest.mark.parametrize("page", BLOCKS)
def test_manifests_are_taken(rerankers: Rerankers, page: str) -> None:
    for block in BLOCKS[page]:
        if (page, first_word(block)) in OTHERS:
            continue
        for given in yaml.safe_load_all(block):
            whole = manifest(rerankers, page, given)
            flags = ["--validate=strict", "--dry-run=server"]
            rerankers.cluster.kubectl("apply", *flags, "-f", "-", stdin=json.dumps(whole))


def manifest(rerankers: Rerankers, page: str, given: Any) -> dict[str, Any]:
    """A whole service, in the test's namespace; a part of one is put into one that works."""
    if given.get("kind") == KIND:
        return {**given, "metadata": {**given["metadata"], "namespace": rerankers.namespace}}
    assert list(given) == ["spec"], f"{page}: neither a {KIND} nor a part of one; if it is not to be: list it in OTHERS"
    return {**rerankers.manifest("docs"), "spec": {**spec_of(), **given["spec"]}}
