"""Child processes with a log file each, free ports, and waiting for facts.

Everything the kit starts is started here, in a process group of its own, and written down (pid and start time), so that
another process (`cluster-down`) can end exactly these processes and never a stranger that got the same number.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from localkube.loopback import NO_PROXY

T = TypeVar("T")

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
"""The folder that must be on PYTHONPATH for `localkube` to be found: tests/cluster."""

_TAIL_CHARACTERS = 3000


class ProcessError(Exception):
    """A process ended, or did not get where it should in time. The message carries the end of its log."""


@dataclass(frozen=True)
class Identity:
    """Which process is meant: its number and when it started, in clock ticks since boot."""

    name: str
    pid: int
    started: int

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where it does not run."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


class Child:
    """A process of ours. `tethered` ones end with us; the others stay until somebody stops them."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        tethered: bool,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        environment = python_environment(env)
        environment["LOCALKUBE_PARENT"] = str(os.getpid())
        prefix = [sys.executable, "-S", "-m", "localkube.tether"] if tethered else []
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                start_new_session=True,
                pass_fds=pass_fds,
            )
        self.identity = Identity(name, self.process.pid, start_time(self.process.pid) or 0)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise, with the end of the log, if it has ended."""
        if not self.running:
            raise ProcessError(f"{self.name} ended with code {self.process.returncode}.\n{self.tail()}")

    def tail(self) -> str:
        """The end of the log."""
        with contextlib.suppress(OSError):
            return f"The end of {self.log}:\n{self.log.read_text(errors='replace')[-_TAIL_CHARACTERS:]}"
        return f"{self.log} cannot be read."

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; for tests that want a process to die."""
        if self.running:
            self.process.send_signal(number)

    def stop(self, grace: float = 10) -> None:
        """SIGTERM, wait, SIGKILL."""
        stop_all([self], grace)


def stop_all(children: Iterable[Child], grace: float = 10) -> None:
    """End children together: SIGTERM to each, then SIGKILL to those left after `grace` seconds."""
    living = [child for child in children if child.running]
    for child in living:
        child.process.terminate()
    deadline = time.monotonic() + grace
    for child in living:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def python_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment for a child, with this package importable and Python's output unbuffered."""
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        **NO_PROXY,
        "PYTHONPATH": f"{PACKAGE_ROOT}{os.pathsep}{path}" if path else str(PACKAGE_ROOT),
        "PYTHONUNBUFFERED": "1",
        **(extra or {}),
    }


class PidFile:
    """The written list of the processes of a cluster that outlives its starter."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, children: Iterable[Child]) -> None:
        """Write down these children, in place of what was there."""
        entries = [vars(child.identity) for child in children]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(entries, indent=1))
        fresh.replace(self.path)

    def living(self) -> list[Identity]:
        """Those of the written processes that still run."""
        try:
            entries = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return []
        return [identity for entry in entries if (identity := Identity(**entry)).alive()]

    def end_all(self, grace: float = 15) -> list[Identity]:
        """End them all, the first started (the others' database) last; remove the file; return what was ended."""
        living = self.living()
        for stage in (living[1:], living[:1]):
            left: list[Identity] = stage
            for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
                for identity in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(identity.pid, number)
                left = wait_ended(left, seconds)
        self.path.unlink(missing_ok=True)
        return living


def wait_ended(identities: Iterable[Identity], seconds: float) -> list[Identity]:
    """Wait until these have ended; returns those that have not."""
    deadline = time.monotonic() + seconds
    left = list(identities)
    while (left := [identity for identity in left if identity.alive()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


_NEVER_GIVEN = range(20_000, 32_000)
"""Below what Linux gives to outgoing connections (ip_local_port_range)."""


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment, and that no outgoing connection is given.

    A process that is stopped and started again must find its port as free as before.
    """
    while True:
        port = random.choice(_NEVER_GIVEN)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((address, port))
            return port


def wait_until(
    what: str,
    probe: Callable[[], T | None],
    *,
    timeout: float,
    interval: float = 0.05,
    watch: Iterable[Child] = (),
) -> T:
    """Call `probe` until it gives something other than None or False, and return that.

    An exception of the probe counts as "not yet" and is told at the end; a child in `watch` that dies ends the wait.
    """
    deadline = time.monotonic() + timeout
    children = list(watch)
    last = "nothing was seen"
    while True:
        try:
            found = probe()
        except Exception as error:  # noqa: BLE001 - whatever keeps it from being ready is "not yet"
            last = f"{type(error).__name__}: {error}"
        else:
            if found is not None and found is not False:
                return found
            last = f"the last answer was {found!r}"
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            logs = "".join(f"\n{child.tail()}" for child in children)
            raise ProcessError(f"waited {timeout:.0f} s for {what}; {last}{logs}")
        time.sleep(interval)
