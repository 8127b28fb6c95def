"""How many CPUs this process may really use: containers see all of their host's."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_CGROUP_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cpus() -> int:
    """The smallest of: what RunPod says, the cgroup's quota, the scheduler's mask. At least 1."""
    limits = [float(len(os.sched_getaffinity(0)))]
    told = os.environ.get("RUNPOD_CPU_COUNT", "")
    if told.isdigit() and int(told) > 0:
        limits.append(float(told))
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(quota)
    return max(1, int(min(limits)))


def _cgroup_quota() -> float | None:
    """CPUs that the cgroup allows, or None where it sets no limit."""
    try:
        if _CGROUP_V2.exists():
            quota, period = _CGROUP_V2.read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota_us = int(_CGROUP_V1_QUOTA.read_text())
        return quota_us / int(_CGROUP_V1_PERIOD.read_text()) if quota_us > 0 else None
    except (OSError, ValueError):
        return None
