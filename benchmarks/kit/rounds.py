"""Contestants that take turns: what slows the machine for a while slows all of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kit.texts import Load

SCRIPT = Path(__file__).with_name("contestant.py")
QUIET = {
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "DO_NOT_TRACK": "1",
}


class ContestantError(Exception):
    """It could not be started, or ended; the message is the last that it said."""


@dataclass
class Contestant:
    """One way to score, and what it took."""

    name: str
    kind: str
    model: Path
    options: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    seconds: list[float] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    """Its last answer."""

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NIM_", "RERANKER_"))}
        given = [f"{key}={value}" for key, value in self.options.items()]
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [self.python, str(SCRIPT), self.kind, str(self.model), *given],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=kept | QUIET,
        )  # fmt: skip
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def run(self, load: Load) -> None:
        """One request, counted."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"query": load.query, "passages": load.passages}) + "\n")
        self._process.stdin.flush()
        self.last = self._answer()
        self.seconds.append(self.last["seconds"])

    def forget(self) -> None:
        """What came so far was warming up."""
        self.seconds.clear()

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._errors.seek(0)
            said = [text.strip() for text in self._errors.read().splitlines() if text.strip()]
            raise ContestantError(f"{self.name} ended with {code}: {said[-1] if said else 'without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def compete(
    contestants: Sequence[Contestant], load: Load, rounds: int, between: Callable[[], None] = lambda: None
) -> tuple[list[Contestant], list[str]]:
    """Those that took part, warmed up, after so many rounds; and why others did not."""
    taking_part: list[Contestant] = []
    absent: list[str] = []
    with ExitStack() as stack:
        for each in contestants:
            try:
                stack.enter_context(each)
                each.run(load)
                each.forget()
                taking_part.append(each)
            except ContestantError as error:
                absent.append(str(error))
        for _ in range(rounds):
            between()
            for each in taking_part:
                each.run(load)
    return taking_part, absent


def paired(ours: Contestant, other: Contestant) -> float:
    """How many times ours the other's seconds are: the median of the rounds' own ratios."""
    return statistics.median(theirs / mine for mine, theirs in zip(ours.seconds, other.seconds, strict=True))


def difference(ours: Contestant, other: Contestant) -> float:
    """The greatest difference between two contestants' scores of one passage."""
    return max(abs(a - b) for a, b in zip(ours.last["scores"], other.last["scores"], strict=True))


def spread(contestant: Contestant) -> float:
    """Standard deviation of its scores: what a difference is to be measured by."""
    return statistics.pstdev(contestant.last["scores"])
