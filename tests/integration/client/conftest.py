"""What the commands work on."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "good.jpg", tmp_path / "bad.jpg"]
    for path in paths:
        path.write_bytes(b"some picture")
    return paths
