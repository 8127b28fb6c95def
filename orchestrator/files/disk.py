"""The little that is asked of the local disk itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_room(folder: Path, wanted_bytes: int, reserve_bytes: int) -> None:
    """Raise where `wanted_bytes` more would leave less than `reserve_bytes` free."""
    if shutil.disk_usage(folder).free - wanted_bytes < reserve_bytes:
        raise disk_full()


def disk_full() -> ServiceError:
    """Told as it is, and early: half a file helps nobody."""
    return ServiceError(
        code_pb2.RESOURCE_EXHAUSTED,
        "DISK_FULL",
        "The service has no room for this file at the moment: try again later, or ask its"
        " operator to make room.",
        retry_after_s=60,
    )
