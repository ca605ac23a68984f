"""The API as its own description tells it: schemathesis makes requests of it, and holds every answer against it.

The server must keep its word on each field, status, header and content type, fail at nothing, and be as large
afterwards as before.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clients.environments import ALONE, Environments

HERE = Path(__file__).parent
log = logging.getLogger("fuzz")
KEY = "a-key-that-opens-the-door-to-the-fuzzer"
FEW = 4
"""Random requests for each operation that `make test` makes, beside those that a description always gives rise to."""
ALIKE = ("/v1/rerank", "/v2/rerank", "/v1/retrieval/{model}/reranking")
"""Spoken at other paths, too: `make test` asks here at random only."""
SHARE = 0.1
"""Of the minutes that `make fuzz` has, for one server: a quarter to warm up."""
GROWTH = 1.05


@pytest.fixture(scope="module")
def servers(start_for_all: Callable[..., Any], models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One that everybody may ask, and such that ask for keys, read strictly, or rank large requests in parts."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"fuzzer {KEY}\n")
    # Few passages, as requests are made for both sides of that bound.
    alike = {"NIM_PRECISION": "fp32", "RERANKER_WORKERS": 1, "RERANKER_MAX_PASSAGES": 8}
    return {
        "open": start_for_all(models.bert, **alike),
        "keyed": start_for_all(models.bert, **alike, RERANKER_API_KEYS_FILE=keys),
        "strict": start_for_all(models.bert, **alike, RERANKER_STRICT_JSON="true"),
        "split": start_for_all(models.bert, **alike, RERANKER_SPLIT_LARGE_REQUESTS="true"),
    }


@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "name", ["keyed", *(pytest.param(name, marks=pytest.mark.long) for name in ("open", "strict", "split"))]
)
def test_the_server_does_what_its_description_says(
    name: str, servers: dict[str, Any], tools: Environments, budget: Any, tmp_path: Path
) -> None:
    server = servers[name].ready()

    def ask(seed: int, *extent: object) -> None:
        headers = ["--header", f"Authorization:Bearer {KEY}"] if name == "keyed" else []
        done = subprocess.run(
            [
                str(each)
                for each in (
                    tools.python("schemathesis").with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml",
                    "run", f"{server.url}/openapi.json", "--seed", seed, "--generation-database", "none",
                    "--request-timeout", 60, "--continue-on-failure", "--no-color", *extent, *headers,
                )
            ],
            env=os.environ | ALONE | {"SCHEMATHESIS_HOOKS": str(HERE / "hooks.py")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-8000:]}{done.stderr[-2000:]}\n{server.log[-4000:]}"
        told = sum(map(len, server.http.get("/openapi.json").json()["paths"].values()))
        assert f"Tested: {told - extent.count('--exclude-path')}" in done.stdout, done.stdout
        log.info("%s", done.stdout[done.stdout.rfind("Test cases:") :].strip())

    whole = budget.seconds(SHARE)
    at_random = ("--max-examples", FEW, "--phases", "fuzzing")
    ask(budget.seed, *(at_random if whole is None else ("--max-time", max(1, whole // 4))))
    before = resident(server.process.pid)
    if whole is not None:
        ask(budget.seed + 1, "--max-time", whole - whole // 4)
    elif name == "keyed":
        ask(budget.seed + 1, *at_random)
    else:
        ask(
            budget.seed + 1,
            "--phases",
            "examples,coverage",
            *(part for path in ALIKE for part in ("--exclude-path", path)),
        )
    after = resident(server.process.pid)
    log.info("%s: %d bytes in memory, afterwards %d", name, before, after)
    assert after <= GROWTH * before, f"{before} bytes, afterwards {after}"
    assert server.process.poll() is None
    assert "Traceback" not in server.log


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
