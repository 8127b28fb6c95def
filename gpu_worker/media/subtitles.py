"""Captions as people send them, made ready for FFmpeg in a child process: strangers' files never
meet our parsers in the worker itself."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from apigpu.video.v1.job_pb2 import Warning

from apigpu_common.errors import InvalidInput
from gpu_worker.media import captions_order, refusal
from gpu_worker.media.captions_order import OUR_FONTS, CaptionsOrder
from gpu_worker.media.process import READING, ChildFailed, child

log = logging.getLogger(__name__)

_TIMEOUT_S = 60.0


async def convert(order: CaptionsOrder, workspace: Path, field: str) -> tuple[int, list[Warning]]:
    """Write the target of an order; returns how many cues it has, and what the caller should
    know. Raises InvalidInput with `field`, or that of a font."""
    path = workspace / "captions.json"
    captions_order.write(order, path)
    command: list[str | Path] = [
        *(sys.executable, "-I", "-m", "gpu_worker.media.subtitles_child", path)
    ]
    try:
        async with (
            asyncio.timeout(_TIMEOUT_S),
            child(command, cwd=workspace, limits=READING) as running,
        ):
            answer = "".join([line async for line in running.lines()])
            await running.wait()
    except (ChildFailed, TimeoutError) as error:
        log.info("captions were refused: %s", error)
        raise _refusal(error, field) from None
    cues, warnings = json.loads(answer)
    return cues, [Warning(reason=reason, message=message) for reason, message in warnings]


def font_environment(workspace: Path, fonts: list[Path]) -> dict[str, str]:
    """For FFmpeg: libass falls back between fonts through fontconfig alone, and is shown our
    fonts, those of the caller, and none of the machine's."""
    if not fonts:
        return {"FONTCONFIG_FILE": str(OUR_FONTS / "fonts.conf")}
    folders = [OUR_FONTS, *dict.fromkeys(font.parent for font in fonts)]
    named = "".join(f"<dir>{escape(str(folder))}</dir>" for folder in folders)
    path = workspace / "fonts.conf"
    path.write_text(
        f'<?xml version="1.0"?><fontconfig>{named}'
        f"<cachedir>{escape(str(workspace / 'fontcache'))}</cachedir></fontconfig>"
    )
    return {"FONTCONFIG_FILE": str(path)}


def _refusal(error: ChildFailed | TimeoutError, field: str) -> InvalidInput:
    refused = refusal.told(error.code, error.stderr) if isinstance(error, ChildFailed) else None
    if refused is None:  # nothing but a trick brings the parser down
        return InvalidInput(
            "SUBTITLES_UNREADABLE", "These captions cannot be read: they are damaged.", field=field
        )
    return InvalidInput(refused.reason, str(refused), field=refused.field or field)
