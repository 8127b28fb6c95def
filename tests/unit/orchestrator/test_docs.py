"""What the documentation shows is understood by the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.jobs.filter_text import parse
from orchestrator.jobs.filters import EVERYTHING

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "jobs.md").read_text()
FILTERS = re.findall(r"```\n(.*?)```", PAGE, flags=re.S)[0].splitlines()


@pytest.mark.parametrize("text", FILTERS)
def test_the_filters_in_the_documentation_are_understood(text: str) -> None:
    assert parse(text) != EVERYTHING
