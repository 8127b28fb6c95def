"""A small disk of its own for the system under fire, that can be filled to the last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_INSIDE = "CHAOS_OWN_MOUNTS"
_SIZE_MIB = 384
_CHUNK_BYTES = 2**20


def enter_own_mounts() -> None:
    """Run this program again where its mounts are its own: they go when it ends, however it
    ends. Where that is not allowed, it goes on without."""
    if _INSIDE in os.environ or os.geteuid() or not shutil.which("unshare"):
        return
    allowed = subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL)
    if not allowed.returncode:
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--", *sys.orig_argv])


class Disk:
    """Where the service and its database keep their data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o755)
        self._ballast = folder / "ballast"
        options = f"size={_SIZE_MIB}m,mode=755"
        self.is_own = _INSIDE in os.environ and not subprocess.call(
            ["mount", "-t", "tmpfs", "-o", options, "chaos", folder], stderr=subprocess.DEVNULL
        )

    def fill(self) -> None:
        """Not a byte more can be written."""
        with self._ballast.open("wb", buffering=0) as ballast:
            size_bytes = _CHUNK_BYTES
            while size_bytes:
                try:
                    ballast.write(bytes(size_bytes))
                except OSError:
                    size_bytes //= 2

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_own:
            subprocess.run(["umount", "--lazy", self.folder], check=True)
