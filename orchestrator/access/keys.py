"""API keys: how they look, what is kept of them, and whether one is good.

A key is `apigpu_{id}_{secret}`. Only a salted hash of the secret is kept. The secret has 256
random bits, so a fast hash is enough: there is nothing to guess.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable

from cachetools import TTLCache
from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from orchestrator.access import certificates
from orchestrator.access.certificates import AuthContext
from orchestrator.access.identity import Caller, Scope
from orchestrator.store.keys import Keys
from orchestrator.store.records import StoredKey

log = logging.getLogger(__name__)

X_API_KEY_ID = "x-api-key"
_TOKEN = re.compile(r"apigpu_([0-9a-f]{16})_([0-9A-Za-z_-]{43})", re.ASCII)
# How long another replica may take to hear of a new, changed or revoked key.
_CACHE_S = 2.0
_CACHED_KEYS = 10_000
_NOTE_USES_S = 15.0


def new_token() -> tuple[str, str]:
    """The id of a new key, and the whole of it."""
    key_id = secrets.token_hex(8)
    return key_id, f"apigpu_{key_id}_{secrets.token_urlsafe(32)}"


def hash_of(token: str, salt: bytes) -> bytes:
    return hashlib.sha256(salt + token.encode()).digest()


def is_live(key: StoredKey, now: float) -> bool:
    return key.revoke_time is None and (key.expire_time is None or now < key.expire_time)


class Authenticator:
    """Decides who a caller is by the key that came with the call.

    x_api_key: the one key of a simple installation; it may do everything.
    names: which name of a client's certificate is its owner; empty: none.
    """

    def __init__(self, x_api_key: str, keys: Keys, names: str = "") -> None:
        self._single = _digest(x_api_key) if x_api_key else b""
        self._keys = keys
        self._names = names
        self._cache: TTLCache[str, StoredKey | None] = TTLCache(_CACHED_KEYS, _CACHE_S)
        self._uses: dict[str, float] = {}
        self._any_key = False
        self._looked_at = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Notes when keys were used, in groups."""
        await self._look()
        notes = asyncio.create_task(self._note_uses())
        try:
            yield
        finally:
            notes.cancel()
            await self._note()

    @property
    def is_open(self) -> bool:
        """Whether calls need no key, because none was ever set up."""
        return not self._single and not self._any_key and not self._names

    async def authenticate(self, token: str, certificate: Callable[[], AuthContext]) -> Caller:
        """Who has this key or, without one, this certificate. Raises ServiceError
        (UNAUTHENTICATED)."""
        if self.is_open and not await self._look():
            return Caller()
        if not token and self._names:
            return certificates.caller(self._names, certificate())
        if not token:
            raise ServiceError(
                code_pb2.UNAUTHENTICATED,
                "API_KEY_MISSING",
                "This service wants an API key, as `x-api-key` or `authorization: Bearer`.",
            )
        if self._single and hmac.compare_digest(_digest(token), self._single):
            return Caller(key_id=X_API_KEY_ID)
        return await self._stored(token)

    def forget(self) -> None:
        """A key has changed: look it up again."""
        self._cache.clear()
        self._looked_at = 0.0

    async def _stored(self, token: str) -> Caller:
        match = _TOKEN.fullmatch(token)
        key = await self._get(match[1]) if match else None
        # Compared in any case: how long it takes must not tell which ids there are.
        salt, expected = (key.salt, key.hash) if key else (b"", bytes(32))
        equal = hmac.compare_digest(hash_of(token, salt), expected)
        now = time.time()
        if key is None or not equal or not is_live(key, now):
            raise ServiceError(
                code_pb2.UNAUTHENTICATED,
                "API_KEY_INVALID",
                "The API key is not known here, or has expired, or was revoked.",
            )
        self._uses[key.id] = now
        return Caller(key.owner, key.id, frozenset(map(Scope, key.scopes)), key.limits)

    async def _get(self, key_id: str) -> StoredKey | None:
        if key_id not in self._cache:
            self._cache[key_id] = await self._keys.get_key(key_id)
        return self._cache.get(key_id)

    async def _look(self) -> bool:
        """Whether there is a key by now; another replica may have made the first one."""
        if time.monotonic() - self._looked_at > _CACHE_S or not self._looked_at:
            self._any_key = self._any_key or await self._keys.any_key()
            self._looked_at = time.monotonic()
        return self._any_key

    async def _note_uses(self) -> None:
        while True:
            await asyncio.sleep(_NOTE_USES_S)
            await self._note()

    async def _note(self) -> None:
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self._keys.note_key_uses(uses)
        except ServiceError as error:
            log.warning("cannot note when keys were used: %s", error)


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
