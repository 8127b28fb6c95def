"""API keys: how they look, what is kept of them, and whether one is good.

A key is `apigpu_{id}_{secret}`. Only a salted hash of the secret is kept. The secret has 256
random bits, so a fast hash is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from orchestrator.identity import Caller

X_API_KEY_ID = "x-api-key"


class Authenticator:
    """Decides who a caller is by the key that came with the call.

    x_api_key: the one key of a simple installation; it may do everything.
    """

    def __init__(self, x_api_key: str) -> None:
        self._single = _digest(x_api_key) if x_api_key else b""

    @property
    def is_open(self) -> bool:
        """Whether calls need no key, because none was ever set up."""
        return not self._single

    async def authenticate(self, token: str) -> Caller:
        """Who has this key. Raises ServiceError (UNAUTHENTICATED)."""
        if self.is_open:
            return Caller()
        if not token:
            raise ServiceError(
                code_pb2.UNAUTHENTICATED,
                "API_KEY_MISSING",
                "This service wants an API key, as `x-api-key` or `authorization: Bearer`.",
            )
        if self._single and hmac.compare_digest(_digest(token), self._single):
            return Caller(key_id=X_API_KEY_ID)
        raise ServiceError(
            code_pb2.UNAUTHENTICATED,
            "API_KEY_INVALID",
            "The API key is not known here, or has expired, or was revoked.",
        )


def token_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The key in a call's metadata (or headers, in lower case); empty where there is none."""
    bearer = ""
    for name, value in metadata:
        text = value if isinstance(value, str) else ""
        if name == "x-api-key":
            return text.strip()
        if name == "authorization" and text[:7].lower() == "bearer ":
            bearer = text[7:].strip()
    return bearer


def _digest(text: str) -> bytes:
    """Of equal length whatever the text: comparing tells nothing of it."""
    return hashlib.sha256(text.encode()).digest()
