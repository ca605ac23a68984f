"""What every tier shares."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/output anew instead of comparing")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
