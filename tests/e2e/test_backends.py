"""No end-to-end test is left out of RunPod in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.one_backend("no service is in it")
def test_every_test_here_runs_on_both_backends_or_says_why_not(
    request: pytest.FixtureRequest,
) -> None:
    silent = []
    for item in request.session.items:
        if not item.path.is_relative_to(HERE):
            continue
        both = {"backend", "scripted"} & set(getattr(item, "fixturenames", ()))
        marker = item.get_closest_marker("one_backend")
        if not both and not (marker and marker.args):
            silent.append(item.nodeid)
    assert silent == [], "use a fixture of conftest.py, or pytest.mark.one_backend(reason)"
