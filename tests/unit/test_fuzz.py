"""What strangers' bytes reach first stands anything: the targets of `make fuzz`, a few seconds
each, from valid examples that were damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import SEEDS, TARGETS


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """An example with some bytes changed, cut out, doubled or put in."""
    body = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(("change", "double", "join")))
        if kind == "double":
            body[end:end] = body[start:end] * draw(st.integers(1, 40))
        elif kind == "join":
            body[start:end] = draw(st.sampled_from(seeds))
        else:
            body[start:end] = draw(st.binary(max_size=12))
    return bytes(body)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damaged_input_is_taken_or_refused_but_breaks_nothing(name: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(damaged(list(SEEDS[name])) | st.binary(max_size=300))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()
