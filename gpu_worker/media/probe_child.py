"""Run as a program: print what is in a media file as JSON. Never imported by the worker.

python -I probe_child.py DEMUXER COUNT(0|1) PATH
"""

from __future__ import annotations

import json
import sys
from typing import Any

import av

_WHITELIST = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flac,mp3,wav,avi,mpegts,aac"
_MAX_PACKETS_TO_FIRST_FRAME = 500


def main() -> None:
    demuxer, count, path = sys.argv[1], sys.argv[2] == "1", sys.argv[3]
    options = {"protocol_whitelist": "file", "format_whitelist": _WHITELIST}
    with av.open(f"file:{path}", format=demuxer, options=options) as container:
        # A cover picture in an audio file is a video stream by name only.
        videos = [
            s
            for s in container.streams.video
            if not s.disposition & av.stream.Disposition.attached_pic
        ]
        video = videos[0] if videos else None
        audio = container.streams.audio[0] if container.streams.audio else None
        duration_s = container.duration / av.time_base if container.duration else 0.0
        first = _first_frame(container, video) if video else None
        if video and first is None:
            sys.exit("no picture could be decoded")
        extent = _extents(container, video, audio) if count else {}
        answer = {
            "duration_s": duration_s,
            "video": _video(video, first, extent, duration_s) if video else None,
            "audio": _audio(audio, extent, duration_s) if audio else None,
        }
    print(json.dumps(answer))  # noqa: T201  the answer


def _first_frame(container: Any, stream: Any) -> Any:
    stream.thread_type = "AUTO"
    for number, packet in enumerate(container.demux(stream)):
        for frame in packet.decode():
            return frame
        if number > _MAX_PACKETS_TO_FIRST_FRAME:
            return None
    return None


def _extents(container: Any, *streams: Any) -> dict[int, dict[str, Any]]:
    """Packets, and the time from the first to the end of the last, of each stream."""
    container.seek(0)
    chosen = [stream for stream in streams if stream is not None]
    extent: dict[int, dict[str, Any]] = {
        stream.index: {"packets": 0, "start": None, "end": None} for stream in chosen
    }
    for packet in container.demux(chosen):
        if packet.size == 0 or packet.pts is None or packet.is_discard:
            continue
        seen = extent[packet.stream.index]
        end = packet.pts + (packet.duration or 0)
        seen["packets"] += 1
        seen["start"] = packet.pts if seen["start"] is None else min(seen["start"], packet.pts)
        seen["end"] = end if seen["end"] is None else max(seen["end"], end)
    return extent


def _span(stream: Any, extent: dict[int, dict[str, Any]], whole_s: float) -> tuple[float, float]:
    """(start, duration) of a stream in seconds: counted, or as its header says."""
    seen = extent.get(stream.index)
    if seen and seen["end"] is not None:
        start = float(seen["start"] * stream.time_base)
        counted = float(seen["end"] * stream.time_base) - start
        # The last packet may reach beyond the end that an edit list sets.
        return start, min(counted, whole_s) if whole_s else counted
    start = float((stream.start_time or 0) * stream.time_base)
    if stream.duration:
        return start, float(stream.duration * stream.time_base)
    return start, whole_s


def _video(
    stream: Any, frame: Any, extent: dict[int, dict[str, Any]], whole_s: float
) -> dict[str, Any]:
    start_s, duration_s = _span(stream, extent, whole_s)
    turned = round(frame.rotation / 90) % 2 == 1
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    return {
        "codec": stream.codec_context.name,
        "pixel_format": frame.format.name,
        "width": width,
        "height": height,
        "frame_rate": str(stream.average_rate or stream.guessed_rate or 25),
        "duration_s": duration_s,
        "start_s": start_s,
        "frame_count": extent.get(stream.index, {}).get("packets", 0),
        "color_space": str(frame.colorspace),
        "color_range": str(frame.color_range),
    }


def _audio(stream: Any, extent: dict[int, dict[str, Any]], whole_s: float) -> dict[str, Any]:
    start_s, duration_s = _span(stream, extent, whole_s)
    return {
        "codec": stream.codec_context.name,
        "sample_rate": stream.codec_context.sample_rate,
        "channels": stream.codec_context.channels,
        "duration_s": duration_s,
        "start_s": start_s,
    }


if __name__ == "__main__":
    main()
