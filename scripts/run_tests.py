"""Run every tier, two suites at a time: the cluster's tests beside all others, then those with clusters of their own.

python scripts/run_tests.py [PYTEST ARGUMENTS...]     every suite gets the arguments

Two cores are enough for two, as the cluster tests mostly wait. The lines of the first suite are shown as they come,
those of the others behind it; until then they are in .cache/NAME-tests.log. The exit status is that of a suite that
failed, else 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PYTEST: Final = [sys.executable, "-m", "pytest"]
# A cold build takes minutes, which is no test's time: it is done before pytest's clock runs.
BUILD: Final = [sys.executable, "-m", "localkube", "build"]
OWN: Final = ("chart", "chart_rendering", "chart_values", "demo", "readme", "release")
OWN_CLUSTERS: Final = [f"tests/cluster/test_{name}.py" for name in OWN]
# Where Python may not keep what it has compiled, as in many containers, hundreds of processes compile torch anew, which
# is half of its import. What is kept lies in this checkout, in .venv and in folders that git ignores.
ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
NOTHING_COLLECTED: Final = 5
INTERRUPTED: Final = 130


@dataclass(frozen=True)
class Suite:
    """Tests that one pytest runs."""

    name: str
    arguments: list[str]
    needs_cluster: bool = True

    @property
    def log(self) -> Path:
        """Its lines."""
        return ROOT / f".cache/{self.name}-tests.log"

    def run(self, more: list[str]) -> int:
        """Build, then test; where there is nothing to be built with, the tests say what becomes of it."""
        # A cache of its own: of two that write one file, `--lf` would see the failures of one.
        own = ["-o", f"cache_dir=.pytest_cache/{self.name}"]
        colour = ["--color=yes"] if sys.stdout.isatty() else []
        with self.log.open("wb") as lines:
            if self.needs_cluster:
                environment = {**ENVIRONMENT, "PYTHONPATH": "tests/cluster"}
                subprocess.run(BUILD, cwd=ROOT, env=environment, stdout=lines, stderr=lines, check=False)
            command = [*PYTEST, *self.arguments, *own, *colour, *more]
            return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=lines, stderr=lines).wait()

    def show(self, run: Future[int]) -> int:
        """Print its lines from the first on, until it has ended; returns pytest's exit status."""
        while not self.log.exists() and not run.done():
            time.sleep(0.2)
        with self.log.open("rb") as lines:
            ended = False
            while not ended:
                ended = run.done()  # asked before reading, so that the last lines are not missed
                sys.stdout.buffer.write(lines.read())
                sys.stdout.flush()
                if not ended:
                    time.sleep(0.2)
        return run.result()


SUITES: Final = [
    Suite("other", ["tests/unit", "tests/golden", "tests/runtime"], needs_cluster=False),
    Suite("cluster", ["tests/cluster", *(f"--ignore={path}" for path in OWN_CLUSTERS)]),
    Suite("chart", OWN_CLUSTERS),
]


def main() -> int:
    """Run the suites; returns the exit status."""
    for suite in SUITES:
        suite.log.parent.mkdir(exist_ok=True)
        suite.log.unlink(missing_ok=True)
    beside = SUITES[1].log.relative_to(ROOT)
    print(f"test: the cluster tests run beside these; their lines follow, or: tail -f {beside}", flush=True)
    statuses: dict[str, int] = {}
    with ThreadPoolExecutor(2) as two:
        runs = [two.submit(suite.run, sys.argv[1:]) for suite in SUITES]
        try:
            for suite, run in zip(SUITES, runs, strict=True):
                if suite is not SUITES[0]:
                    print(f"\ntest: the {suite.name} tests:", flush=True)
                statuses[suite.name] = suite.show(run)
        except KeyboardInterrupt:  # the key has interrupted pytest too: let it put away what it started
            two.shutdown(cancel_futures=True)
            return INTERRUPTED
    told = {0: "passed", NOTHING_COLLECTED: "held no test that was asked for"}
    print("test: " + "; ".join(f"{name}: {told.get(status, 'FAILED')}" for name, status in statuses.items()))
    failed = set(statuses.values()) - told.keys()
    return max(failed) if failed else min(statuses.values())


if __name__ == "__main__":
    sys.exit(main())
