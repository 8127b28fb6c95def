"""Where results are put: what -o means, and what it must never mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from apigpu_client.cli.saving import Place


def test_one_result_goes_to_the_file_and_into_a_folder_that_was_written_as_one(
    tmp_path: Path,
) -> None:
    assert Place.parse("beach.mp4").of("picture.mp4", 1) == Path("beach.mp4")
    assert Place.parse("clips/").of("picture.mp4", 1) == Path("clips/picture.mp4")
    assert Place.parse(str(tmp_path)).of("picture.mp4", 1) == tmp_path / "picture.mp4"
    assert Place.parse("clips").of("picture.mp4", 2) == Path("clips/picture.mp4")


@pytest.mark.parametrize(
    "filename", ["../../.bashrc", "/etc/passwd", "..", "", "a/..", "..\\..\\x", "."]
)
def test_a_name_from_afar_never_leads_out_of_the_folder(filename: str) -> None:
    assert Place.parse("clips/").of(filename, 1).parent == Path("clips")
    assert ".." not in Place.parse("clips/").of(filename, 1).parts


def test_a_place_that_cannot_take_the_results_is_refused_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    Place.parse(str(file)).check(1)  # is written over
    Place.parse(str(tmp_path / "new" / "folder")).check(2)
    with pytest.raises(ValueError, match="must be a folder"):
        Place.parse(str(file)).check(2)
    with pytest.raises(ValueError, match="must be a folder"):
        Place.parse(f"{file}/").check(1)
    with pytest.raises(ValueError, match="nothing can be written"):
        Place.parse(str(file / "result.mp4")).check(1)
