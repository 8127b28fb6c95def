"""What a failed encode is told as. FFmpeg's own words go to the log, not to the caller."""

from __future__ import annotations

import logging

from apigpu_common.errors import InternalError, ServiceError
from gpu_worker.media.process import ChildFailed

log = logging.getLogger(__name__)


def encoding_failed(error: ChildFailed) -> ServiceError:
    """The inputs were examined before and found good: another try may succeed."""
    log.error("an encode failed: %s", error)
    return InternalError(
        "ENCODING_FAILED", f"The encoder gave up (code {error.code}).", retryable=True
    )
