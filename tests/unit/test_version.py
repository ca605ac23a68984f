"""`scripts/version.py`: a version that is set stands everywhere, and a place that was left behind is named."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

NEXT = "987.6.5"
Git = Callable[..., str]
ELSEWHERE = {
    "CHANGELOG.md": "what was released",
    "*go.mod": "versions of others, as below",
    "*go.sum": "",
    "requirements": "",
    "*/requirements": "",
    "docs/supply-chain.md": "the version of an example, as below",
    "scripts/release.py": "",
    "tests/cluster/test_chart.py": "a version that a test makes up, as below",
    "tests/cluster/test_release.py": "",
    "tests/alerts": "what was measured of operators and runtimes of some version",
    "tests/golden/convert": "tags of NVIDIA's images",
    "runtime/reranker_runtime/http/catalogue.py": "the API's version, which is NVIDIA's",
}
"""Where three numbers with dots mean something else, and what."""


def version(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/version.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_nothing_says_the_old_version_after_a_new_one_was_set(clone: Path, git: Git) -> None:
    before = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["version"]
    done = version(clone, "--set", NEXT)
    assert done.returncode == 0, done.stderr
    assert version(clone).stdout.strip() == NEXT
    files = git(clone, "ls-files", "--", *(f":!{each}" for each in ELSEWHERE)).splitlines()
    whole = re.compile(rf"(?<![\d.])(?<!==){re.escape(before)}(?![\d.])".encode())  # name==0.1.0 is a pin of another
    assert [name for name in files if whole.search((clone / name).read_bytes())] == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("charts/reranker-operator/Chart.yaml", "\nappVersion: {}"),
        ("deploy/operator/deployment.yaml", "/reranker-operator:{}"),
        ("docs/guides/gitops.md", "?ref=v{}"),
        ("docs/images.md", "--build-arg VERSION={}"),
        ("docs/diagnose.md", "by reranker-operator {}. Secrets"),
        ("docs/reference/command-line.md", "/reranker-runtime:{}`"),
    ],
)
def test_a_place_that_was_left_behind_is_named(file: str, text: str, clone: Path) -> None:
    now = version(clone).stdout.strip()
    assert version(clone, "--check").returncode == 0
    page = clone / file
    before = page.read_text()
    assert text.format(now) in before
    page.write_text(before.replace(text.format(now), text.format("0.0.1"), 1))
    checked = version(clone, "--check")
    assert checked.returncode == 1
    assert checked.stderr.startswith(f"version: {file}:")
    assert f"says 0.0.1, pyproject.toml says {now}" in checked.stderr
    assert version(clone, "--set", now).returncode == 0
    assert page.read_text() == before
