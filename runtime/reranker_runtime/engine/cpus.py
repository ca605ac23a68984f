"""What this container may use. Libraries count the node's cores and memory, and a limited pod then fights itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
MEMINFO: Final = Path("/proc/meminfo")


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """CPUs by affinity and by the container's CPU limit (cgroup v2, then v1), whichever is less."""
    cpus = len(os.sched_getaffinity(0))
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()[:2]
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        if int(quota) > 0:
            cpus = min(cpus, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no limit says "max", and a bare process has no such file
        pass
    return cpus


def free_memory(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int:
    """Bytes that may still be taken: of the machine, and of the container's limit (cgroup v2, then v1)."""
    free: list[int] = []
    try:
        lines = meminfo.read_text().splitlines()
        free.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    except (OSError, ValueError, StopIteration):
        pass
    for limit, used in (
        (cgroup / "memory.max", cgroup / "memory.current"),
        (cgroup / "memory/memory.limit_in_bytes", cgroup / "memory/memory.usage_in_bytes"),
    ):
        try:
            free.append(int(limit.read_text()) - int(used.read_text()) + _cached(used.parent / "memory.stat"))
            break
        except (OSError, ValueError):  # no limit says "max"
            continue
    return max(0, min(free, default=1 << 34))


def _cached(stat: Path) -> int:
    """Bytes that count as used and are given back when asked for: weights that were read leave the whole file there."""
    try:
        values = dict(line.split() for line in stat.read_text().splitlines())
        return sum(int(values.get(name, 0)) for name in ("active_file", "inactive_file"))
    except (OSError, ValueError):
        return 0
