"""The log in a folder: what it may take is bounded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from apigpu_common import logs


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, left as it was found."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)


def test_it_is_rotated_and_old_files_go(
    tmp_path: Path, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_FILE_BYTES", 2000)
    logs.set_up_logging("INFO", folder=tmp_path, program="orchestrator")
    for number in range(500):
        root.info("line %d of a log that is longer than what is kept", number)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"orchestrator.log", *(f"orchestrator.log.{n}" for n in range(1, 5))}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5 * 2000
    assert "line 499 " in (tmp_path / "orchestrator.log").read_text()
