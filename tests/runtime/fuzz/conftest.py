"""How long fuzzing may take, and what it is done with."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from clients.environments import Environments
from fuzz.targets import models

REQUIREMENTS = Path(__file__).parent / "requirements"


@dataclass(frozen=True)
class Budget:
    """`make fuzz` explores for minutes, each time elsewhere; `make test` goes the same short way each time."""

    minutes: float | None
    """For all together; None: as little as says something."""
    seed: int

    def seconds(self, share: float) -> int | None:
        """For something that may take this share of all."""
        return None if self.minutes is None else max(1, round(self.minutes * 60 * share))


@pytest.fixture(scope="session")
def budget() -> Budget:
    given = os.environ.get("FUZZ_MINUTES")
    return Budget(float(given), random.randrange(1, 2**31)) if given else Budget(None, 1)


@pytest.fixture(scope="session")
def tools(root: Path) -> Environments:
    """schemathesis and atheris, each in an environment of its own."""
    return Environments(root, REQUIREMENTS)


@pytest.fixture(scope="session")
def good_models(made: Callable[[str], Path]) -> Path:
    """The folder of the good models that findings are edits of."""
    return {made(name).parent for name in models.MODELS}.pop()
