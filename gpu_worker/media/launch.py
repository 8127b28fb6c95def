"""Run as a program in front of every child: sets its limits, shuts it into its cage, ties its life
to ours, and becomes it.

    python -I -S launch.py PARENT_PID CPU_S MEMORY_BYTES FILE_BYTES FILES [RULE...] -- command...

A limit of 0 means none. Rules are rights and paths: what the command may do beneath each, and
nothing elsewhere. Without any rule there is no cage. Uses the standard library alone, so that it
starts in milliseconds.
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


def shut_in(rules: list[str]) -> None:
    """rules: such as "read:/usr". Fails where a cage can be had and cannot be closed."""
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))  # noqa: PTH120
    from gpu_worker.cage import landlock, seccomp

    rights = {
        "list": landlock.LIST,
        "read": landlock.READ,
        "write": landlock.WRITE,
        "devices": landlock.DEVICES,
    }
    libc = ctypes.CDLL(None, use_errno=True)
    pairs = (rule.partition(":") for rule in rules)
    landlock.restrict(libc, [(path, rights[right]) for right, _, path in pairs])
    seccomp.restrict(libc)


def main() -> None:
    parent, cpu_s, memory_bytes, file_bytes, files = (int(value) for value in sys.argv[1:6])
    end = sys.argv.index("--")
    rules, command = sys.argv[6:end], sys.argv[end + 1 :]
    die_with_parent(parent)
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, files),
    ):
        if value:
            most = resource.getrlimit(kind)[1]
            value = value if most == resource.RLIM_INFINITY else min(value, most)
            resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if rules:
            shut_in(rules)
    os.execv(command[0], command)  # noqa: S606  the command is ours


if __name__ == "__main__":
    main()
