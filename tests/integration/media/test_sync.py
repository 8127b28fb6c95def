"""Picture and sound stay together to a millisecond, from the first picture to the last, also where
the picture is held or goes round again: flashes are seen, and clicks are heard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests import media_samples
from tests.media_samples import listen, watch
from tests.studio import Studio

RATE = 48_000
MS = 0.001
FLASHES = (10, 31, 70)  # the numbers of these pictures
BOX = "drawbox=t=fill:c=white:enable='" + "+".join(f"eq(n,{n})" for n in FLASHES) + "'"
ODD = ("vfr", "cut", "late", "negative")


def flashing(folder: Path, kind: str) -> Path:
    """Three seconds with flashes, in a file whose times are not simple."""
    thinned = f"{BOX},select='lt(n,20)+not(mod(n,3))+eq(n,10)+eq(n,31)+eq(n,70)'"
    whole = folder / "whole.mp4"
    media_samples.make(
        *("-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=3"),
        *("-vf", (thinned if kind == "vfr" else BOX) + ",format=yuv420p", "-fps_mode", "vfr"),
        *("-c:v", "libx264", "-bf", "2", "-g", "25", whole),
    )
    if kind == "vfr":
        return whole
    path = folder / f"{kind}.mp4"
    how: dict[str, Sequence[str | Path]] = {
        "cut": ("-ss", "0.3", "-i", whole),
        "late": ("-itsoffset", "0.7", "-i", whole),
        "negative": ("-i", whole, "-movflags", "negative_cts_offsets", "-use_editlist", "0"),
    }
    media_samples.make(*how[kind], "-c", "copy", path)
    return path


def flashes_s(path: Path) -> list[float]:
    """When they are seen, counted from the first picture."""
    seen = watch(path)
    bright = [seen.gray(n).mean() > 220 for n in range(len(seen.frames))]
    return [time for time, flash in zip(seen.times_s, bright, strict=True) if flash]


def clicks(path: Path, times_s: Sequence[float], length_s: float) -> Path:
    """A sound with clicks at these times."""
    samples = np.zeros(round(length_s * RATE), np.int16)
    for time in times_s:
        samples[round(time * RATE) : round(time * RATE) + 24] = 20000
    path.with_suffix(".raw").write_bytes(samples.tobytes())
    raw = ("-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i", path.with_suffix(".raw"))
    media_samples.make(*raw, path)
    return path


def heard_s(path: Path, count: int) -> list[float]:
    """When the clicks are heard."""
    heard = listen(path)
    loud: npt.NDArray[np.float64] = np.abs(heard.samples)
    found = []
    for _ in range(count):
        peak = int(np.argmax(np.convolve(loud, np.ones(24), "valid")))
        found.append(peak / heard.rate)
        loud[max(0, peak - 2000) : peak + 2000] = 0
    return sorted(found)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("fill", ["", "FILL_PAD", "FILL_LOOP"])
async def test_flash_and_click_come_together(studio: Studio, kind: str, fill: str) -> None:
    source = flashing(studio.folder, kind)
    start_s = watch(source).times_s[0]
    once_s = [time - start_s for time in flashes_s(source)]
    assert len(once_s) == len(FLASHES)
    # The last picture of a variable rate has no length of its own: the file ends with it.
    ends_s = 2.88 if kind == "vfr" else watch(source).ends_s - start_s
    plays_s = 2.92 if kind == "vfr" else watch(source).ends_s - start_s
    rounds = 3 if fill == "FILL_LOOP" else 1
    expected = [n * plays_s + time for n in range(rounds) for time in once_s]
    length_s = {"": ends_s, "FILL_PAD": plays_s + 1.3, "FILL_LOOP": 3 * plays_s - 0.02}[fill]
    sound = clicks(studio.folder / "a.wav", expected, length_s)
    asked = {"end": "END_POLICY_AUDIO", "fill": fill} if fill else {}
    made = await studio.add_audio(source, sound, **asked)
    assert (made.output.encoder.used == "copy") == (not fill)
    assert flashes_s(made.path) == pytest.approx(expected, abs=MS)
    assert heard_s(made.path, len(expected)) == pytest.approx(expected, abs=MS)
    assert made.output.duration.ToNanoseconds() / 1e9 == pytest.approx(length_s, abs=MS)
    assert made.output.audio_duration.ToNanoseconds() / 1e9 == pytest.approx(length_s, abs=MS)
