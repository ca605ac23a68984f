"""A built image: what is in it, and its commands run as a container engine would run them with a read-only root."""

from __future__ import annotations

import json
import os
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from imagekit.store import Store

ENTER = Path(__file__).with_name("enter.py")
HOME = Path("opt/reranker")
DEADLINE = 300


class Image:
    """One image, its root mounted."""

    def __init__(self, store: Store, name: str) -> None:
        self.name, self.root = name, store.mount(name)
        said = store.config(name)
        self.config: dict[str, Any] = said["config"]
        self.history: list[dict[str, Any]] = said["history"]
        self.layers: list[str] = said["layers"]

    @property
    def labels(self) -> dict[str, str]:
        """By their names without the OCI's prefix."""
        return {name.removeprefix("org.opencontainers.image."): text for name, text in self.config["Labels"].items()}

    def start(
        self,
        command: Sequence[object] | None = None,
        *,
        entrypoint: Sequence[str] | None = None,
        binds: Sequence[tuple[Path, str]] = (),
        output: Any = subprocess.PIPE,
        entered: Path | None = None,
        **variables: object,
    ) -> subprocess.Popen[str]:
        """A process of the image: its entrypoint with this command, or with the image's own."""
        user, group = map(int, self.config["User"].split(":"))
        environment = dict(pair.split("=", 1) for pair in self.config["Env"])
        given = {
            "root": str(self.root),
            "user": user,
            "group": group,
            "directory": self.config["WorkingDir"] or "/",
            "command": [
                *(self.config["Entrypoint"] if entrypoint is None else entrypoint),
                *map(str, self.config["Cmd"] if command is None else command),
            ],
            "environment": environment | {name: str(value) for name, value in variables.items()},
            "keep": self.interpreter,
            "entered": str(entered) if entered else None,
            "binds": [[str(source), target] for source, target in binds],
        }
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", sys.executable, str(ENTER), json.dumps(given)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
        )

    def run(self, *command: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """`start`, to its end."""
        process = self.start(command, **options)
        out, err = process.communicate(timeout=DEADLINE)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def timed(self, *command: object, times: int = 5, **variables: object) -> str:
        """How long a command takes from its first instruction on: medians of clock and processor."""
        walls, busy = [], []
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(times):
                entered = Path(folder, str(turn))
                process = self.start(command, output=subprocess.DEVNULL, entered=entered, **variables)
                _, status, used = os.wait4(process.pid, 0)
                end, process.returncode = time.monotonic(), os.waitstatus_to_exitcode(status)
                begin, before = json.loads(entered.read_text())
                walls.append(end - begin)
                busy.append(used.ru_utime + used.ru_stime - before)
        return f"{statistics.median(walls):.2f} s, {statistics.median(busy):.2f} of a processor"

    def python(self, source: str) -> Any:
        """What the image's own interpreter prints, which is JSON."""
        done = self.run("-c", source, entrypoint=[f"/{HOME}/venv/bin/python"])
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def probe(self, **variables: object) -> subprocess.CompletedProcess[str]:
        """What HEALTHCHECK would do, in a container with these variables."""
        kind, *command = self.config["Healthcheck"]["Test"]
        assert kind == "CMD", "not by a shell"
        return self.run(*command, entrypoint=[], **variables)

    @cached_property
    def interpreter(self) -> list[str]:
        """The names below /usr/bin that the environment's interpreter is reached by."""
        names, path = [], (self.root / HOME / "venv/bin/python3").readlink()
        while path.parent == Path("/usr/bin"):
            names.append(path.name)
            there = self.root / path.relative_to("/")
            if not there.is_symlink():
                break
            path = path.parent / there.readlink()
        return names

    @cached_property
    def distributions(self) -> dict[str, str]:
        """The versions of everything that is installed, by name."""
        listing = (
            "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
        )
        found: dict[str, str] = self.python(listing)
        return found

    def files(self, below: str = "") -> Iterator[tuple[Path, os.stat_result]]:
        """Everything in it but links: path from the root on, and what it is."""
        for path in (self.root / below).rglob("*"):
            found = path.lstat()
            if not stat.S_ISLNK(found.st_mode):
                yield path.relative_to(self.root), found

    def size(self, below: str = "") -> int:
        """Bytes of the files there."""
        return sum(found.st_size for _, found in self.files(below) if stat.S_ISREG(found.st_mode))


def since(entered: Path, process: subprocess.Popen[str]) -> str:
    """How long a running process has taken from its first instruction on: clock and processor."""
    begin, before = json.loads(entered.read_text())
    ticks = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()[11:15]))
    used = ticks / os.sysconf("SC_CLK_TCK") - before
    return f"{time.monotonic() - begin:.1f} s, {used:.1f} of a processor"
