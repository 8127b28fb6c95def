"""Which orchestrator this is: the same after a restart, and never two at a time.

The leases of earlier runs of the same instance belong to processes that are surely dead,
because the lock on its file was free: nobody needs to wait for them to expire.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apigpu_common.errors import PreconditionFailed

_MOST_IN_A_FOLDER = 16


@contextmanager
def take_instance(data_dir: Path, *, alone: bool) -> Iterator[str]:
    """An id that nobody else has until the end. alone: refuse to share the folder."""
    for number in range(1 if alone else _MOST_IN_A_FOLDER):
        descriptor = os.open(data_dir / f"instance-{number}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if _lock(descriptor):
                yield _id_in(descriptor)
                return
        finally:
            os.close(descriptor)
    raise PreconditionFailed(
        "DATA_FOLDER_IN_USE",
        f"Another orchestrator works in {data_dir}: give this one its own APIGPU_DATA_DIR, or"
        " let both share a PostgreSQL database (APIGPU_DATABASE_URL).",
    )


def new_holder(instance: str) -> str:
    """Who holds leases: one run of an instance, which others see while it lives."""
    return f"{instance}-seen-{secrets.token_hex(4)}"


def _lock(descriptor: int) -> bool:
    """The system frees it when the process ends, however it ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _id_in(descriptor: int) -> str:
    known = os.pread(descriptor, 64, 0).decode()
    if not known:
        known = secrets.token_hex(8)
        os.pwrite(descriptor, known.encode(), 0)
    return known
