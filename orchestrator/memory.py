"""How much memory is left for us: of the machine's, and of what our control groups (containers,
systemd units) allow. The machine's own figure knows nothing of their limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")


def available_bytes(root: Path = _ROOT, ours: Path = _OURS) -> int:
    """root: where control groups are. ours: which of them are ours."""
    left = [psutil.virtual_memory().available]
    left += [
        bytes_left for group in _groups(root, ours) if (bytes_left := _left(group)) is not None
    ]
    return max(0, min(left))


def _groups(root: Path, ours: Path) -> Iterator[Path]:
    """Our control groups for memory, of both versions, and those around them."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        inner = top / path.lstrip("/")
        # In a container the path may be the host's, which is not to be seen: ours is the top then.
        yield from (group for group in (inner, *inner.parents) if group.is_relative_to(top))


def _left(group: Path) -> int | None:
    """What a group may still take; None where it has no limit."""
    for most, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = int((group / most).read_text())
            used_bytes = int((group / used).read_text())
            told = (line.split() for line in (group / "memory.stat").read_text().splitlines())
            # What is only remembered of files is given back when it is needed.
            return limit - used_bytes + int(dict(told).get(cache, 0))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None
