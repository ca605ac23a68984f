"""What is amiss with a page fails the build of the site, and is told with the page's name and line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = {
    "README.md": "# The project\n\n[the site](docs/index.md)\n",
    "docs/index.md": "# Start\n\n## All of it\n\n- [README](../README.md)\n- [tasks](tasks/README.md)\n",
    "docs/tasks/README.md": "# Tasks\n\n| task | page |\n|---|---|\n| one | [one](one.md) |\n",
    "docs/tasks/one.md": "# One\n\n[rules](../../Makefile), [code](../../scripts), [start](../index.md#all-of-it)\n",
    "Makefile": "all:\n\techo done\n",
}


@pytest.fixture
def tree(tmp_path: Path, root: Path) -> Path:
    """A repository of a few pages, built with the same script and the same environment."""
    for path, text in GOOD.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    shutil.copytree(root / "docs/_site", tmp_path / "docs/_site", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ("scripts/build_site.py", "requirements/docs.txt"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(root / path, tmp_path / path)
    (root / ".cache/docs").mkdir(parents=True, exist_ok=True)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/docs").symlink_to(root / ".cache/docs")
    return tmp_path


def build(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/build_site.py", *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, env=environment)


def test_pages_and_what_they_link_to_become_a_site(tree: Path) -> None:
    done = build(tree)
    assert (done.returncode, done.stderr) == (0, "")
    site = tree / ".cache/site"
    assert "docs/index.html" in (site / "index.html").read_text()
    one = (site / "docs/tasks/one.html").read_text()
    assert 'href="../../source/Makefile.html"' in one
    assert 'href="../index.html#all-of-it"' in one
    shown = re.sub(r"<[^>]+>", "", (site / "source/Makefile.html").read_text())
    assert "echo done" in shown
    assert "build_site.py" in (site / "source/scripts.html").read_text()


def test_every_fault_is_told_at_once(tree: Path) -> None:
    (tree / "docs/tasks/one.md").write_text(
        "# One\n\n[a](nowhere.md) [b](../index.md#nothing) [c](../../no/file.py)\n\n![d](missing.svg)\n"
    )
    (tree / "docs/alone.md").write_text("# Alone\n\nNobody lists this.\n")
    done = build(tree)
    assert done.returncode == 1
    assert "each line above names a page" in done.stdout
    for page, fault in {
        "one.md:3": ("nowhere.md", "nothing", "../../no/file.py"),
        "one.md:5": ("missing.svg",),
        "alone.md": ("toctree",),
    }.items():
        for word in fault:
            assert any(page in line and word in line for line in done.stderr.splitlines()), (page, word, done.stderr)


def test_a_directory_with_something_else_in_it_is_left_alone(tree: Path) -> None:
    (tree / "mine").mkdir()
    (tree / "mine/letter").write_text("dear reader")
    done = build(tree, "mine")
    assert done.returncode == 1
    assert "holds something else than a site" in done.stderr
    assert (tree / "mine/letter").exists()
