"""Run as a program in front of every child: sets its limits, ties its life to ours, and becomes it.

    python -I -S launch.py PARENT_PID CPU_S MEMORY_BYTES FILE_BYTES command...

A limit of 0 means none. Uses the standard library alone, so that it starts in milliseconds.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def die_with_parent(parent: int) -> None:
    """Die with the process `parent`, our own, even when it is killed with -9."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we asked to be told


def main() -> None:
    parent, cpu_s, memory_bytes, file_bytes = (int(value) for value in sys.argv[1:5])
    die_with_parent(parent)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
    ):
        if value:
            resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execv(sys.argv[5], sys.argv[5:])  # noqa: S606  the command is ours


if __name__ == "__main__":
    main()
