"""What every tier shares."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOBODY = {
    **{f"GIT_{who}_{what}": f"{who}@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": "/dev/null",
}
Git = Callable[..., str]
"""`git(folder, *arguments)` gives what it said."""
LEFT = pytest.StashKey[int]()
"""How many long tests were deselected."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/output anew instead of comparing")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def as_nobody() -> dict[str, str]:
    """An environment in which git knows who commits, and nothing else of this machine."""
    return {**os.environ, **NOBODY}


@pytest.fixture(scope="session")
def git(as_nobody: dict[str, str]) -> Git:
    def run(folder: Path, *arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=folder, env=as_nobody, capture_output=True, text=True, check=True
        ).stdout.strip()

    return run


@pytest.fixture(scope="session")
def origin(root: Path, git: Git, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with what this tree holds, changes that nobody committed yet included."""
    place = tmp_path_factory.mktemp("origin") / "repository"
    for name in filter(None, git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")):
        if (root / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, place / name)
    (place / "changelog.d/+tested.added.md").write_text("What this release tells.\n")
    git(place, "init", "--quiet", "--initial-branch=main")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "Everything")
    return place


@pytest.fixture
def clone(origin: Path, git: Git, tmp_path: Path) -> Path:
    """A clone of it, of the test's own."""
    git(origin, "clone", "--quiet", str(origin), str(tmp_path / "clone"))
    return tmp_path / "clone"


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long"):
            item.config.stash[LEFT] = item.config.stash.get(LEFT, 0) + 1


@pytest.hookimpl(trylast=True)  # just above the closing line
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Nobody should think that these ran."""
    if left := config.stash.get(LEFT, 0):
        terminalreporter.write_line(f"{left} long test(s) did not run: `make test-all` runs them", yellow=True)
