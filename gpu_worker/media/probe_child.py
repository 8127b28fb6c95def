"""Run as a program: print what is in a media file as JSON. Never imported by the worker.

    python -I probe_child.py

Which file, a line on standard input tells: a JSON list of demuxer, allowed formats and path. So
the program can be started before there is a file. All of the file is demuxed: headers estimate,
speak of the longest stream only, or promise what a file that was cut off does not hold.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import av

_MAX_PACKETS_TO_FIRST_FRAME = 500
_EMPTY_CUE_BYTES = 2  # in MP4, what lies between two cues is an empty one
_MAX_STREAMS = 64
# ITU-T H.273, in FFmpeg's names. What is not here is told as its number.
_PRIMARIES = {1: "bt709", 2: "", 5: "bt470bg", 6: "smpte170m", 9: "bt2020", 12: "smpte432"}
_TRANSFERS = {
    1: "bt709",
    2: "",
    6: "smpte170m",
    8: "linear",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
_MATRICES = {0: "gbr", 1: "bt709", 2: "", 5: "bt470bg", 6: "smpte170m", 9: "bt2020nc"}
_RANGES = {0: "", 1: "tv", 2: "pc"}
# These say how long they are in a header of their own, and are believed.
_DECLARE_THEIR_LENGTH = ("mov", "matroska")
_MISSING_S, _MISSING_PART = 0.5, 0.01


@dataclass
class Extent:
    """What was seen of a stream. Times in units of its time base. frame: its first picture.
    cues: captions with a text."""

    packets: int = 0
    cues: int = 0
    decoded: int = 0
    frame: Any = None
    keyframe_seen: bool = False
    warm_up: int = 0  # samples from 0 on that are not played
    start: int | None = None
    end: int | None = None

    def add(self, packet: Any) -> None:
        time = packet.pts if packet.pts is not None else packet.dts
        # Recordings of broadcasts begin anywhere, but are shown from a keyframe on.
        self.keyframe_seen = self.keyframe_seen or packet.is_keyframe
        if packet.size == 0 or packet.is_discard or not self.keyframe_seen:
            return
        if time is None:
            return  # the cover picture of a song: a video stream by name, shown at no time
        end = time + (packet.duration or 0)
        if self.packets == 0 and time >= 0:
            self.warm_up = _skipped(packet)
        self.packets += 1
        self.cues += packet.size > _EMPTY_CUE_BYTES
        self.start = time if self.start is None else min(self.start, time)
        self.end = end if self.end is None else max(self.end, end)


def _skipped(packet: Any) -> int:
    """How many samples decoders are told to leave out at its beginning."""
    if not packet.has_sidedata("skip_samples"):
        return 0
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little")


@dataclass(frozen=True)
class Span:
    """When a stream begins and how long it plays, in seconds."""

    start_s: float
    duration_s: float


def main() -> None:
    demuxer, whitelist, path = json.loads(sys.stdin.readline())
    options = {"protocol_whitelist": "file", "format_whitelist": whitelist}
    with av.open(f"file:{path}", format=demuxer, options=options) as container:
        if len(container.streams) > _MAX_STREAMS:
            sys.exit(f"more than {_MAX_STREAMS} streams")
        whole_s = container.duration / av.time_base if container.duration else 0.0
        extents = _extents(container)
        if demuxer in _DECLARE_THEIR_LENGTH:
            _refuse_cut_off(container, extents)
        present = [s for s in container.streams if extents[s.index].packets]
        video = next((s for s in present if s.type == "video"), None)
        audio = next((s for s in present if s.type == "audio"), None)
        if video and extents[video.index].frame is None:
            sys.exit("no picture could be decoded")
        answer = {
            "duration_s": whole_s,
            "video": _video(video, extents[video.index], whole_s) if video else None,
            "audio": _audio(audio, extents[audio.index], whole_s) if audio else None,
            "text": [_text(s, extents[s.index]) for s in present if s.type == "subtitle"],
        }
    print(json.dumps(answer))  # noqa: T201  the answer


def _extents(container: Any) -> dict[int, Extent]:
    extents: defaultdict[int, Extent] = defaultdict(Extent)
    for stream in container.streams.video:
        stream.codec_context.thread_count = 1  # quicker to the first picture
    for packet in container.demux():
        extent = extents[packet.stream.index]
        extent.add(packet)
        if packet.stream.type == "video" and extent.frame is None:
            _decode(packet, extent)
    return extents


def _decode(packet: Any, extent: Extent) -> None:
    """On the way to the first picture. Cover pictures have no time, and are left alone."""
    if packet.size and packet.pts is None and packet.dts is None:
        return
    extent.decoded += 1
    if extent.decoded == 1 and packet.size:
        extent.frame = _at_once(packet)
    if extent.frame is None and extent.decoded <= _MAX_PACKETS_TO_FIRST_FRAME:
        extent.frame = next(iter(packet.decode()), None)


def _at_once(packet: Any) -> Any:
    """Its picture, if it has one by itself. Asked for all that it has, a decoder does not hold it
    back until it has seen where the next pictures belong. Afterwards the decoder begins anew."""
    context = packet.stream.codec_context
    frame = next(iter([*packet.decode(), *context.decode(None)]), None)
    context.flush_buffers()
    return frame


def _refuse_cut_off(container: Any, extents: dict[int, Extent]) -> None:
    ends_s = [
        float(extent.end * container.streams[index].time_base)
        for index, extent in extents.items()
        if extent.end is not None
    ]
    declared_s = (container.duration or 0) / av.time_base
    if declared_s - max(ends_s, default=0.0) > _MISSING_S + _MISSING_PART * declared_s:
        sys.exit("the file ends long before the end that it declares")


def _span(stream: Any, extent: Extent, whole_s: float) -> Span:
    assert extent.start is not None and extent.end is not None
    start_s = float(extent.start * stream.time_base)
    # What comes before 0 is there for decoders to warm up, and is not played.
    counted_s = float(extent.end * stream.time_base) - max(0.0, start_s)
    if extent.warm_up:
        counted_s -= extent.warm_up / stream.codec_context.sample_rate
    # The last packet may reach beyond the end that an edit list sets.
    return Span(start_s, min(counted_s, whole_s) if whole_s else counted_s)


def _video(stream: Any, extent: Extent, whole_s: float) -> dict[str, Any]:
    frame = extent.frame
    turned = round(frame.rotation / 90) % 2 == 1
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    return {
        **asdict(_span(stream, extent, whole_s)),
        "index": stream.index,
        "codec": stream.codec_context.codec.canonical_name,
        "pixel_format": frame.format.name,
        "width": width,
        "height": height,
        "frame_rate": str(stream.average_rate or stream.guessed_rate or 25),
        "frame_count": extent.packets,
        "profile": stream.codec_context.profile or "",
        "color": _color(stream.codec_context),
    }


def _color(context: Any) -> list[str]:
    """Primaries, transfer, matrix, range; empty where the file does not say."""
    return [
        names.get(int(number), str(int(number)))
        for names, number in (
            (_PRIMARIES, context.color_primaries),
            (_TRANSFERS, context.color_trc),
            (_MATRICES, context.colorspace),
            (_RANGES, context.color_range),
        )
    ]


def _audio(stream: Any, extent: Extent, whole_s: float) -> dict[str, Any]:
    return {
        **asdict(_span(stream, extent, whole_s)),
        "index": stream.index,
        "codec": stream.codec_context.codec.canonical_name,
        "sample_rate": stream.codec_context.sample_rate,
        "channels": stream.codec_context.channels,
    }


def _text(stream: Any, extent: Extent) -> dict[str, Any]:
    return {
        "codec": stream.codec_context.codec.canonical_name,
        "language": stream.metadata.get("language", ""),
        "cues": extent.cues,
    }


if __name__ == "__main__":
    main()
