"""How many CPUs this container may use. Libraries count the node's cores, and a limited pod then fights itself."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
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
