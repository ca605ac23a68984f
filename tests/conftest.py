"""What every tier shares."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT = pytest.StashKey[int]()
"""How many long tests were deselected."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/output anew instead of comparing")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("long"):
            item.config.stash[LEFT] = item.config.stash.get(LEFT, 0) + 1


@pytest.hookimpl(trylast=True)  # just above the closing line
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Nobody should think that these ran."""
    if left := config.stash.get(LEFT, 0):
        terminalreporter.write_line(f"{left} long test(s) did not run: `make test-all` runs them", yellow=True)
