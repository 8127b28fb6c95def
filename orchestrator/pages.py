"""Page sizes and page tokens (google.aip.dev/158). A token is bound to its filter."""

from __future__ import annotations

import base64
import binascii
import hashlib

from apigpu_common.errors import InvalidInput

DEFAULT_SIZE = 50
MAX_SIZE = 1000
_BOUND_BYTES = 8


def size(asked: int) -> int:
    """How many to return when the caller asked for so many (0: did not say)."""
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def encode(next_id: str, filter_text: str) -> str:
    """The token for the page that begins after `next_id`, a hexadecimal id; empty for none."""
    if not next_id:
        return ""
    return base64.urlsafe_b64encode(_bound(filter_text) + bytes.fromhex(next_id)).decode()


def decode(token: str, filter_text: str) -> str:
    """The id that `encode` was given. Raises InvalidInput (INVALID_PAGE_TOKEN)."""
    if not token:
        return ""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) <= _BOUND_BYTES or raw[:_BOUND_BYTES] != _bound(filter_text):
        raise InvalidInput(
            "INVALID_PAGE_TOKEN",
            "The page token is not one that this filter gave: start again without it.",
            field="page_token",
        )
    return raw[_BOUND_BYTES:].hex()


def _bound(filter_text: str) -> bytes:
    return hashlib.sha256(filter_text.encode()).digest()[:_BOUND_BYTES]
