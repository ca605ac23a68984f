"""All benchmarks, or those named: `python benchmarks [NAME ...] [-- ARGUMENTS]`; `--list` says what there is.

Each is a script that runs by itself too; this gives them the paths they import from.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = {
    "startup": "runtime_startup.py",
    "first-ranking": "first_ranking.py",
    "many-services": "many_services.py",
    "scoring": "scoring.py",
    "llama": "llama.py",
    "prefix": "prefix.py",
    "batching": "batching.py",
    "small-requests": "small_requests.py",
    "connections": "connections.py",
    "hostile": "hostile.py",
    "http-overhead": "http_overhead.py",
    "profile": "profile_encoder.py",
    "gpu": "gpu.py",
}


def summary(script: str) -> str:
    said = ast.get_docstring(ast.parse((FOLDER / script).read_text())) or ""
    return said.splitlines()[0].split(": `")[0]


def main() -> int:
    given = [*sys.argv[1:], "--"]
    chosen, arguments = given[: given.index("--")], given[given.index("--") + 1 : -1]
    if "--list" in chosen or set(chosen) - set(NAMES):
        for name, script in NAMES.items():
            print(f"{name:16}{summary(script)}")
        return 0 if "--list" in chosen else 2
    paths = [str(FOLDER.parent / "tests" / part) for part in ("cluster", "runtime")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONWARNINGS": "ignore",
        "KINETO_LOG_LEVEL": "99",
    }
    failed = []
    for name in chosen or NAMES:
        command = [sys.executable, str(FOLDER / NAMES[name]), *arguments]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
