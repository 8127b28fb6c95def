"""Page sizes and page tokens (google.aip.dev/158). A token is bound to the question it answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from apigpu.video.v1.job_pb2 import Job

from apigpu_common.errors import InvalidInput
from orchestrator.jobs.orders import Place

DEFAULT_SIZE = 50
MAX_SIZE = 1000
# Larger pages end early: they must fit into a message.
MAX_BYTES = 8 * 1024 * 1024
_BOUND_BYTES = 8


def size(asked: int) -> int:
    """How many to return when the caller asked for so many (0: did not say)."""
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def fitting(jobs: Sequence[Job]) -> Sequence[Job]:
    """As many of `jobs` as a message can hold, but one at least."""
    total_bytes = 0
    for count, job in enumerate(jobs):
        total_bytes += job.ByteSize()
        if count and total_bytes > MAX_BYTES:
            return jobs[:count]
    return jobs


def encode(last: Place | None, question: str) -> str:
    """The token for the page that begins after `last`; empty where there is none.

    question: whatever must be the same when the token comes back.
    """
    if last is None:
        return ""
    told = json.dumps(last).encode()
    return base64.urlsafe_b64encode(_bound(question) + told).decode()


def decode(token: str, question: str, keys: int) -> Place | None:
    """What `encode` was given, of so many keys. Raises InvalidInput (INVALID_PAGE_TOKEN)."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        place = json.loads(raw[_BOUND_BYTES:])
    except (binascii.Error, ValueError, RecursionError):
        raw, place = b"", None
    if raw[:_BOUND_BYTES] != _bound(question) or not _is_place(place, keys):
        raise InvalidInput(
            "INVALID_PAGE_TOKEN",
            "The page token is not one that this filter and order gave: start again without it.",
            field="page_token",
        )
    return tuple(place)


def _is_place(place: object, keys: int) -> bool:
    return (
        isinstance(place, list)
        and len(place) == keys
        and all(isinstance(value, str | int | float) for value in place)
    )


def _bound(question: str) -> bytes:
    return hashlib.sha256(question.encode()).digest()[:_BOUND_BYTES]
