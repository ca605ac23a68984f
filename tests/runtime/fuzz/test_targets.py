"""Readers of what others wrote, fuzzed with coverage: request bodies, settings, key files, model directories.

A finding is a file. Once it is dealt with, it goes to corpus/TARGET/ under a name that says what it was; what is there
is given to the reader in every run.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from clients.environments import Environments
from fuzz.targets import models

HERE = Path(__file__).parent
log = logging.getLogger("fuzz")
TARGETS = {"bodies": 3000, "keys": 600, "models": 150, "settings": 4000}
"""Inputs that `make test` tries: about two seconds each."""
SHARE = 0.6 / len(TARGETS)
"""Of the minutes that `make fuzz` has, for one target."""
RESIDENT = re.compile(r"resident: (\d+) bytes after (\d+) inputs")
GROWTH = 16 << 20
"""Bytes that the last three quarters of the inputs may add: the fuzzer keeps what found something new."""
KNOWN = sorted(path.relative_to(HERE / "corpus").as_posix() for path in (HERE / "corpus").glob("*/*"))


@pytest.fixture
def known_models(good_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ROOT", good_models)


@pytest.mark.parametrize("path", KNOWN)
def test_what_was_found_once_is_not_found_again(path: str, known_models: None) -> None:
    import_module(f"fuzz.targets.{path.partition('/')[0]}").TARGET.check((HERE / "corpus" / path).read_bytes())


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_the_reader(
    name: str, tools: Environments, good_models: Path, budget: Any, root: Path, tmp_path: Path
) -> None:
    site = next(tools.python("atheris").parents[1].glob("lib/python*/site-packages"))
    seconds = budget.seconds(SHARE)
    # What `make fuzz` found interesting is where it goes on the next time; what `make test` does must not depend on it.
    kept = tmp_path / "kept" if seconds is None else root / ".cache" / "fuzz" / name
    findings = root / ".cache" / "fuzz" / "findings"
    for folder in (kept, findings):
        folder.mkdir(parents=True, exist_ok=True)
    limit = f"-runs={TARGETS[name]}" if seconds is None else f"-max_total_time={seconds}"
    done = subprocess.run(
        [
            sys.executable, "-I", str(HERE / "explore.py"), str(site), name, str(kept), limit, f"-seed={budget.seed}",
            "-timeout=10", "-rss_limit_mb=0", "-max_len=20000", "-verbosity=1", "-print_final_stats=1",
            f"-artifact_prefix={findings}/{name}-",
        ],
        env=os.environ | {"FUZZ_MODELS": str(good_models), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert done.returncode == 0, (
        f"{told[-6000:]}\nthe input is in {findings}; fix it, then move it to {HERE}/corpus/{name}/"
    )
    tried = re.search(r"stat::number_of_executed_units: (\d+)", told)
    assert tried is not None, told[-3000:]
    log.info("%s: %s inputs", name, tried[1])
    assert int(tried[1]) >= (1 if seconds else TARGETS[name])
    held = [int(size) for size, _ in RESIDENT.findall(told)]
    early, late = held[len(held) // 4], held[-1]
    log.info("%s: %d bytes in memory, afterwards %d", name, early, late)
    assert late - early <= GROWTH, f"{early} bytes after a quarter of the inputs, {late} at the end"
