"""A little of `make chaos` in every run: what can die is killed, and every promise is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LIMIT_S = 240


@pytest.mark.timeout(_LIMIT_S + 30)
@pytest.mark.parametrize(
    ("database", "backend"), [("sqlite", "child"), ("postgres", "child"), ("sqlite", "runpod")]
)
def test_a_few_jobs_under_fire_end_once_and_well(database: str, backend: str) -> None:
    command = (sys.executable, "-m", "tests.chaos", "--database", database, "--backend", backend)
    done = subprocess.run(
        (*command, "--jobs", "10", "--limit-s", str(_LIMIT_S)), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
