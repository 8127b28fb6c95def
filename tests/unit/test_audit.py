"""What `make audit` makes of the auditor's report: silence is never taken for a pass."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "audit.py"
GOOD: dict[str, Any] = {"name": "good", "version": "1.0", "vulns": []}
HOLE = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}
BAD = {"name": "bad", "version": "1.0", "vulns": [HOLE]}
SKIPPED = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("report", "code", "told"),
    [
        ([GOOD], 0, "No known holes"),
        ([GOOD, SKIPPED], 2, "NOT AUDITED"),
        ([GOOD, BAD, SKIPPED], 1, "bad 1.0: PYSEC-1, mended in 1.1"),
        ([], 2, "NOT AUDITED"),
        (None, 2, "NOT AUDITED"),
    ],
    ids=["clean", "one not asked", "a hole", "nothing asked", "no report"],
)
def test_only_an_answer_for_every_dependency_is_a_pass(
    tmp_path: Path, report: list[dict[str, Any]] | None, code: int, told: str
) -> None:
    """The tool as `make` runs it, with an auditor that says what we want to hear."""
    text = "" if report is None else json.dumps({"dependencies": report, "fixes": []})
    (tmp_path / "pip_audit.py").write_text(f"print({text!r})")
    done = subprocess.run(
        [sys.executable, TOOL], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, told in done.stdout) == (code, True), done
