"""What a failed encode is told as. FFmpeg's own words go to the log, not to the caller."""

from __future__ import annotations

import logging

from apigpu_common.errors import InternalError, InvalidInput, ServiceError
from gpu_worker import full_disk
from gpu_worker.media.process import ChildFailed

log = logging.getLogger(__name__)

# FFmpeg's exit code when most frames could not be decoded.
_UNDECODABLE_CODE = 69


def encoding_failed(error: ChildFailed, field: str) -> ServiceError:
    """field: of the input that was decoded."""
    log.error("an encode failed: %s", error)
    if error.code == _UNDECODABLE_CODE:
        return InvalidInput(
            "MEDIA_UNREADABLE", "Most of the video cannot be decoded: it is damaged.", field=field
        )
    if any(words in error.stderr for words in full_disk.WORDS):
        return full_disk.disk_full("the result")
    # The inputs were examined before and found good: another try may succeed.
    return InternalError(
        "ENCODING_FAILED", f"The encoder gave up (code {error.code}).", retryable=True
    )
