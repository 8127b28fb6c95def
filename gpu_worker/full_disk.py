"""The worker's disk is full: told as that, wherever it is noticed."""

from __future__ import annotations

import errno
import os

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError

CODES = (errno.ENOSPC, errno.EDQUOT)
# What programs write to their log then, in the C locale as in every other.
WORDS = tuple(map(os.strerror, CODES))


def disk_full(what: str) -> ServiceError:
    """what: had no room, in words."""
    return ServiceError(
        code_pb2.RESOURCE_EXHAUSTED,
        "WORKER_DISK_FULL",
        f"The worker's disk has no room for {what}.",
        retryable=True,  # another worker may have, or this one later
    )
