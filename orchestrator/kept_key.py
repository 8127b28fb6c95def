"""A secret of the service's own, made once and kept in a file that only it can read."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def kept_key(path: Path) -> bytes:
    """The same after a restart: links that workers hold stay good."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
