"""Run every tier, in two lanes side by side: the cluster's tests beside all others.

python scripts/run_tests.py [PYTEST ARGUMENTS...]     both lanes get the arguments

Two cores are enough for both, as the cluster tests mostly wait. The lines of the cluster's lane follow those of the
other one; until then they are in .cache/cluster-tests.log. The exit status is that of a lane that failed, else 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LOG: Final = ROOT / ".cache/cluster-tests.log"
PYTEST: Final = [sys.executable, "-m", "pytest"]
OTHERS: Final = ["tests/unit", "tests/golden", "tests/runtime"]
# A cold build takes minutes, which is no test's time: it is done before pytest's clock runs.
BUILD: Final = [sys.executable, "-m", "localkube", "build"]
# A cache of its own: of two that write one file, `--lf` would see the failures of one.
CLUSTER: Final = ["tests/cluster", "-o", "cache_dir=.pytest_cache/cluster"]
NOTHING_COLLECTED: Final = 5
INTERRUPTED: Final = 130


class ClusterLane(Thread):
    """The cluster tests, their lines in a file."""

    status = 1

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(daemon=True)
        self._arguments = arguments

    def run(self) -> None:
        """Build, then test; where there is nothing to be built with, the tests say what becomes of it."""
        environment = {**os.environ, "PYTHONPATH": "tests/cluster"}
        with LOG.open("wb") as lines:
            subprocess.run(BUILD, cwd=ROOT, env=environment, stdout=lines, stderr=lines, check=False)
            colour = ["--color=yes"] if sys.stdout.isatty() else []
            command = [*PYTEST, *CLUSTER, *colour, *self._arguments]
            self.status = subprocess.Popen(command, cwd=ROOT, stdout=lines, stderr=lines).wait()

    def show(self) -> None:
        """Print its lines from the first on, until it has ended."""
        with LOG.open("rb") as lines:
            running = True
            while running:
                running = self.is_alive()  # asked before reading, so that the last lines are not missed
                sys.stdout.buffer.write(lines.read())
                sys.stdout.flush()
                if running:
                    time.sleep(0.2)


def main() -> int:
    """Run both lanes; returns the exit status."""
    LOG.parent.mkdir(exist_ok=True)
    cluster = ClusterLane(sys.argv[1:])
    cluster.start()
    print(
        f"test: the cluster tests run beside these; their lines follow, or: tail -f {LOG.relative_to(ROOT)}", flush=True
    )
    others = subprocess.Popen([*PYTEST, *OTHERS, *sys.argv[1:]], cwd=ROOT)
    try:
        others.wait()
        print("\ntest: the cluster tests:", flush=True)
        cluster.show()
    except KeyboardInterrupt:  # the key has interrupted both lanes too: let them put away what they started
        others.wait()
        cluster.join()
        return INTERRUPTED
    told = {0: "passed", NOTHING_COLLECTED: "held no test that was asked for"}
    first, second = (told.get(status, "FAILED") for status in (others.returncode, cluster.status))
    print(f"test: {', '.join(OTHERS)}: {first}; tests/cluster: {second}")
    failed = {others.returncode, cluster.status} - told.keys()
    return max(failed) if failed else min(others.returncode, cluster.status)


if __name__ == "__main__":
    sys.exit(main())
