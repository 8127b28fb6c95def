"""KeyService: makes, lists and ends API keys."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, fields
from typing import Any

import grpc
from apigpu.admin.v1 import key_service_pb2 as admin
from apigpu.admin.v1.key_service_pb2_grpc import KeyServiceServicer

from apigpu_common.errors import NotFound
from orchestrator import ids
from orchestrator.access.identity import Scope
from orchestrator.access.keys import Authenticator, hash_of, new_token
from orchestrator.store.keys import Keys
from orchestrator.store.records import DEFAULT_OWNER, KeyLimits, StoredKey

Context = grpc.aio.ServicerContext[Any, Any]

_OVERLAP_S = 24 * 3600.0
_SALT_BYTES = 16
NUMBERS = {
    admin.SCOPE_JOBS_READ: Scope.JOBS_READ,
    admin.SCOPE_JOBS_WRITE: Scope.JOBS_WRITE,
    admin.SCOPE_FILES: Scope.FILES,
    admin.SCOPE_ADMIN: Scope.ADMIN,
}
_USUAL = frozenset(Scope) - {Scope.ADMIN}
_LIMITS = [field.name for field in fields(KeyLimits)]


class KeyService(KeyServiceServicer):
    def __init__(self, keys: Keys, authenticator: Authenticator) -> None:
        self._keys = keys
        self._authenticator = authenticator

    async def CreateKey(
        self, request: admin.CreateKeyRequest, context: Context
    ) -> admin.CreateKeyResponse:
        old = await self._old(request.replaces) if request.replaces else None
        key_id, token = new_token()
        salt = secrets.token_bytes(_SALT_BYTES)
        now = time.time()
        lifetime_s = request.lifetime.ToTimedelta().total_seconds()
        key = StoredKey(
            id=key_id,
            owner=request.owner or (old.owner if old else DEFAULT_OWNER),
            scopes=_asked(request) or (old.scopes if old else frozenset(map(str, _USUAL))),
            title=request.title or (old.title if old else ""),
            salt=salt,
            hash=hash_of(token, salt),
            create_time=now,
            expire_time=now + lifetime_s if lifetime_s else None,
            limits=_limits(request) or (old.limits if old else KeyLimits()),
        )
        given = request.HasField("overlap")
        overlap_s = request.overlap.ToTimedelta().total_seconds() if given else _OVERLAP_S
        await self._keys.add_key(key, old.id if old else "", overlap_s)
        self._authenticator.forget()
        return admin.CreateKeyResponse(key=_to_proto(key), token=token)

    async def ListKeys(
        self, request: admin.ListKeysRequest, context: Context
    ) -> admin.ListKeysResponse:
        keys = await self._keys.list_keys(request.owner)
        return admin.ListKeysResponse(keys=map(_to_proto, keys))

    async def RevokeKey(self, request: admin.RevokeKeyRequest, context: Context) -> admin.Key:
        key = await self._keys.revoke_key(ids.id_of(request.name))
        if key is None:
            raise _no_such_key("name")
        self._authenticator.forget()
        return _to_proto(key)

    async def _old(self, name: str) -> StoredKey:
        key = await self._keys.get_key(ids.id_of(name))
        if key is None:
            raise _no_such_key("replaces")
        return key


def _no_such_key(field: str) -> NotFound:
    return NotFound("KEY_NOT_FOUND", "There is no such key.", field=field)


def _asked(request: admin.CreateKeyRequest) -> frozenset[str]:
    return frozenset(str(NUMBERS[scope]) for scope in request.scopes)


def _limits(request: admin.CreateKeyRequest) -> KeyLimits | None:
    if not request.HasField("limits"):
        return None
    return KeyLimits(**{name: getattr(request.limits, name) for name in _LIMITS})


def _to_proto(key: StoredKey) -> admin.Key:
    told = admin.Key(
        name=f"keys/{key.id}",
        owner=key.owner,
        title=key.title,
        scopes=[number for number, scope in NUMBERS.items() if scope in key.scopes],
        limits=admin.KeyLimits(**asdict(key.limits)) if key.limits != KeyLimits() else None,
    )
    for name in ("create_time", "expire_time", "revoke_time", "last_use_time"):
        if (at := getattr(key, name)) is not None:
            getattr(told, name).FromNanoseconds(int(at * 1e9))
    return told
