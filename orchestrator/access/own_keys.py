"""The keys that the service signs with: set by the operator, or made once and kept in the database,
where every replica finds the same."""

from __future__ import annotations

import secrets
from pathlib import Path

from orchestrator.settings import Settings
from orchestrator.store.store import Store

_KEY_BYTES = 32


async def link_key(settings: Settings, store: Store) -> bytes:
    """For our own links to files."""
    given = settings.link_key.get_secret_value().encode()
    return given or await _kept(store, settings.data_dir / "transfers.key")


async def webhook_keys(settings: Settings, store: Store) -> list[bytes]:
    """For webhooks; the first one is the newest."""
    given = [key.encode() for key in settings.webhook_keys.get_secret_value().split(",") if key]
    return given or [await _kept(store, settings.data_dir / "webhooks.key")]


async def _kept(store: Store, old_place: Path) -> bytes:
    """old_place: a file where version 0.1 kept it; what that has signed stays good."""
    offered = old_place.read_bytes() if old_place.exists() else secrets.token_bytes(_KEY_BYTES)
    return await store.kept_secret(old_place.stem, offered)
