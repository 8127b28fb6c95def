"""A little of `make chaos` in every run: each kind of fault once, and every promise is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LIMIT_S = 240


@pytest.mark.timeout(_LIMIT_S + 30)
@pytest.mark.one_backend(
    "on RunPod each fault has a test of its own (test_runpod_platform.py); all at random takes"
    " longer than a run of all tests may: python -m tests.chaos --backend runpod"
)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_few_jobs_under_fire_end_once_and_well(database: str) -> None:
    command = (sys.executable, "-m", "tests.chaos", "--database", database)
    short = ("--jobs", "8", "--outage-s", "12", "--limit-s", str(_LIMIT_S))
    done = subprocess.run((*command, *short), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
