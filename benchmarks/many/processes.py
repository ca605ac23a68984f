"""What processes cost: processor time and memory, from /proc."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_QUIET_CORES = 0.2
"""Below this use of processor time a control plane has nothing left to do."""
_LOOK_SECONDS = 2.0


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, its threads' included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> tuple[float, float]:
    """MiB resident now, and at most so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(status.partition(f"{field}:")[2].split()[0]) / 1024 for field in ("VmRSS", "VmHWM"))
    return now, peak


class Meter:
    """Processor time of named processes from its making on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def read(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}


async def quiet(pids: Iterable[int], seconds: float) -> bool:
    """Wait until these processes together use little processor time; False where they do not stop."""
    numbers = {str(pid): pid for pid in pids}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        meter = Meter(numbers)
        await asyncio.sleep(_LOOK_SECONDS)
        if sum(meter.read().values()) < _QUIET_CORES * _LOOK_SECONDS:
            return True
    return False
