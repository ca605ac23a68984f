"""A hub with a repository, and an empty cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fetching import LEFT, NAME, READ, REVISION, put
from localhub import LocalHub


@pytest.fixture
def repositories(tmp_path: Path) -> Path:
    put(tmp_path / "hub" / NAME / REVISION, READ | LEFT)
    return tmp_path / "hub"


@pytest.fixture
def serve(repositories: Path) -> Iterator[Callable[..., LocalHub]]:
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(LocalHub(repositories, **given))


@pytest.fixture
def hub(serve: Callable[..., LocalHub]) -> LocalHub:
    return serve()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
