"""`python trial.py FOREIGN_FILE`: tries from inside what the cage is to prevent, and tells what
it did prevent, a word each. What is told at the start is what was tried, not what was asked for.
Uses the standard library alone."""

import os
import signal
import socket
import sys


def _refused(attempt: object) -> bool:
    assert callable(attempt)
    try:
        attempt()
    except OSError:
        return True
    return False


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def main() -> None:
    foreign = sys.argv[1]
    attempts = {
        "network": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
        "files": lambda: open(foreign, "rb").close(),  # noqa: PTH123
        "processes": _fork,
        "signals": lambda: os.kill(os.getppid(), signal.SIGCONT),
    }
    print(" ".join(name for name, attempt in attempts.items() if _refused(attempt)))  # noqa: T201


if __name__ == "__main__":
    main()
