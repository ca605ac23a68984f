"""Clients in environments of their own, and a server that asks them for a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients.environments import Environments


@pytest.fixture(scope="session")
def environments(root: Path) -> Environments:
    return Environments(root)


@pytest.fixture(scope="session")
def key() -> str:
    return "the-key-that-opens-the-door"


@pytest.fixture(scope="session")
def guarded(started: dict[str, Any], models: Any, key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The server `bert`, but with a key; it starts while others do."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text(f"tester {key}\n")
    server = type(started["bert"])(
        models.bert,
        folder / "log",
        NIM_PRECISION="fp32",
        NIM_PIPELINE_MAX_SEQ_LEN=506,
        NIM_SERVED_MODEL_NAME="my_org/tiny-bert_1.0",
        RERANKER_API_KEYS_FILE=folder / "keys",
    )
    yield server
    assert server.stop() == 0, server.log
