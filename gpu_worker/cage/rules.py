"""Which files a child may reach: what programs need to run, its own folder, and its inputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import apigpu_common
import gpu_worker

# Libraries and programs, and what says how the machine is made; no configuration, no homes.
_SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/opt/rocm", "/etc/ld.so.cache"),
    *("/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/proc/self", "/proc/cpuinfo"),
    *("/proc/meminfo", "/proc/stat", "/sys/devices/system", "/sys/fs/cgroup"),
    *("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"),
)
# What CUDA and NVENC look at beside that; known from their documentation and traces of others,
# not tried on hardware here.
_DEVICES = ("/proc/driver", "/proc/devices", "/proc/modules", "/proc/sys", "/sys", "/etc")

# The inputs of the work that this task does; None where nobody has said: then files are free.
_inputs: ContextVar[list[Path] | None] = ContextVar("inputs", default=None)


@contextmanager
def only_inputs() -> Iterator[list[Path]]:
    """Children started in this block reach their own folder and the files that are added to
    the list, and no other data."""
    inputs: list[Path] = []
    token = _inputs.set(inputs)
    try:
        yield inputs
    finally:
        _inputs.reset(token)


def rules(command: Sequence[str | Path], cwd: Path, *, devices: bool) -> list[str]:
    """For `launch`: what `command` may reach. cwd: its own folder, "/" where it has none."""
    inputs = _inputs.get()
    if inputs is None:
        return ["read:/", "write:/", "devices:/dev"]
    program = Path(command[0]).resolve()
    found = [*_programs(), f"read:{program.parent}", f"read:{program}"]
    found += [f"read:{path.resolve()}" for path in inputs]
    if cwd != Path("/"):
        found.append(f"write:{cwd.resolve()}")
    if devices:
        found += [*(f"read:{path}" for path in _DEVICES), "devices:/dev"]
    return found


@cache
def _programs() -> tuple[str, ...]:
    """The same for every child. Python looks for modules in every folder of its path; what
    else may lie there it can see the names of, not read."""
    ours = [Path(each.__file__ or "").parent for each in (gpu_worker, apigpu_common)]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    read = [*_SYSTEM, sys.prefix, sys.base_prefix, *map(str, ours), *filter(None, libraries)]
    folders = [entry for entry in sys.path if entry]
    contract = [str(Path(folder) / "apigpu") for folder in folders]
    return (
        *(f"list:{folder}" for folder in folders),
        *(
            f"read:{Path(path).resolve()}" if path[:5] != "/proc" else f"read:{path}"
            for path in [*read, *contract]
        ),
        "devices:/dev/null",
    )
