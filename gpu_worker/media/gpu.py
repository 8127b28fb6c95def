"""The GPU of this worker: what it is called, and how many items it carries."""

from __future__ import annotations

from pathlib import Path

# NVIDIA's driver tells here; no library and no program is needed.
_NVIDIA = Path("/proc/driver/nvidia/gpus")
# What libx264's own threads leave room for.
_MOST_IN_SOFTWARE = 3


def gpu_name(folder: Path = _NVIDIA) -> str:
    """Such as "NVIDIA L4", of the first one. Empty where there is none."""
    try:
        for path in sorted(folder.glob("*/information")):
            for line in path.read_text().splitlines():
                name, _, value = line.partition(":")
                if name.strip() == "Model" and value.strip():
                    return value.strip()
    except OSError:
        pass  # not for us to read: as none
    return ""


def parallel_items(cpus: int, hardware_sessions: int) -> int:
    """How many items to do at the same time. hardware_sessions: 0 where no hardware encoder works.

    The GPU encodes; its pictures are decoded, drawn and read by a CPU for each item.
    """
    if hardware_sessions:
        return max(1, min(cpus, hardware_sessions))
    return max(1, min(cpus, _MOST_IN_SOFTWARE))
