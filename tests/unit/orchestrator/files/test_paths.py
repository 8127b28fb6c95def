"""Paths made from what strangers call things cannot leave their place."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.files import paths

NAMES = st.one_of(
    st.text(max_size=200), st.sampled_from(["..", ".", "", "/", "a/../..", "incoming"])
)
VALUES = st.fixed_dictionaries(dict.fromkeys(paths.FIELDS, NAMES))
TEMPLATES = st.sampled_from(
    ["{file}", "{owner}/{job}/{item}.mp4", "{item}/{file}", "{date}/{item}{file}", "a/{job}-{item}"]
)


@given(TEMPLATES, VALUES)
@example("{item}/{file}", dict.fromkeys(paths.FIELDS, ".."))
@example("{item}/{file}", dict.fromkeys(paths.FIELDS, "incoming"))
def test_no_name_leads_out_of_the_storage(template: str, values: dict[str, str]) -> None:
    for path in paths.alternatives(paths.fill(template, values), "0123"):
        parts = path.split("/")
        assert len(parts) == len(template.split("/"))
        assert all(part.strip(".") and len(part) <= 150 for part in parts)
        assert parts[0] != "incoming", "where anybody with a link may write"
        assert str(PurePosixPath("/root") / path) == f"/root/{path}"
        assert path.isascii() and path.isprintable() and "\\" not in path


def test_a_path_reads_as_it_was_meant() -> None:
    values = {
        **{"owner": "acme", "job": "0192", "item": "beach 1", "file": "ab"},
        **{"filename": "beach 1.mp4", "date": "2026-11-24"},
    }
    filled = paths.fill("{owner}/{date}/{job}/{item}.mp4", values)
    assert filled == "acme/2026-11-24/0192/beach_1.mp4"
    assert list(paths.alternatives(filled, "ab"))[1] == "acme/2026-11-24/0192/beach_1-ab.mp4"
    long = paths.fill("{job}/{item}.mp4", {**values, "item": "x" * 300})
    assert long.endswith(".mp4"), "the ending survives"
    for part in ("{item}", "{item}.{item}"):  # no disk takes more than 255
        assert len(paths.fill(f"{part}/{{file}}", {**values, "item": "x" * 300})) <= 100 + 3


@pytest.mark.parametrize(
    "template",
    [
        "",
        "/{file}",
        "../{file}",
        "{file}/..",
        "a//{file}",
        "incoming/{file}",
        "{job}.mp4",
        "{files}",
        "{file}?x",
        "{item}/{file:}",
        "{file}\n",
        "./{file}",
    ],
)
def test_a_template_that_escapes_or_collides_is_refused(template: str) -> None:
    with pytest.raises(ValueError):
        paths.check(template)
