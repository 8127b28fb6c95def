"""A little of `make chaos` in every run: each kind of fault once, and every promise is kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LIMIT_S = 240


@pytest.mark.timeout(_LIMIT_S + 30)
@pytest.mark.one_backend("its own runs have both")
@pytest.mark.parametrize(
    ("database", "backend"), [("sqlite", "child"), ("postgres", "child"), ("sqlite", "runpod")]
)
def test_a_few_jobs_under_fire_end_once_and_well(database: str, backend: str) -> None:
    where = ("--database", database, "--backend", backend)
    command = (sys.executable, "-m", "tests.chaos", *where)
    short = ("--jobs", "8", "--outage-s", "12", "--limit-s", str(_LIMIT_S))
    done = subprocess.run((*command, *short), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
