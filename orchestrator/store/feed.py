"""What other processes have done to a shared database: told by PostgreSQL's LISTEN and NOTIFY;
and whether they are still there: each has a lock that goes with its connection.

Hints that make waiting short, and no more: one that is lost costs a poll's interval or a lease.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

import asyncpg

log = logging.getLogger(__name__)

_CHANNEL: Final = "apigpu"
_PRESENCE: Final = zlib.crc32(b"apigpu presence") >> 1  # the class of the locks that show it
_MAX_PENDING: Final = 10_000  # beyond that "" is told: anything may have changed
_MAX_TOLD: Final = 150  # in one notification, whose limit is 8000 bytes
_PING_S: Final = 10.0  # how soon a connection that died without a word is noticed
_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 0.5  # before it is connected again

# topic, and what it is about; "" where something may have been missed
Hint = tuple[str, str]
Subscriber = Callable[[str], None]


class Feed:
    """Tells other processes, and hears from them, over one connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sender = secrets.token_hex(4)
        self._subscribers: list[tuple[str, Subscriber]] = []
        self._pending: dict[Hint, None] = {}  # in order, each once
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._name = ""
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Returns when it is connected; or soon, where that takes long."""
        self._running = asyncio.create_task(self._run())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connected.wait(), _TIMEOUT_S)

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    def subscribe(self, topic: str, subscriber: Subscriber) -> None:
        self._subscribers.append((topic, subscriber))

    def stand_for(self, name: str) -> None:
        self._name = name

    async def absent(self, connection: Any, names: Collection[str]) -> set[str]:
        """Those of `names` that nobody stands for. None where we do not see ourselves."""
        rows = await connection.fetch(
            "SELECT objid::bigint AS key FROM pg_locks WHERE locktype = 'advisory'"
            " AND classid = $1 AND objsubid = 2 AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            _PRESENCE,
        )
        seen = {row["key"] for row in rows}
        if _key(self._name) not in seen:
            return set()
        return {name for name in names if _key(name) not in seen}

    def tell(self, topic: str, about: str) -> None:
        """Tell the other processes, soon. Never waits."""
        if len(self._pending) >= _MAX_PENDING:
            self._pending = dict.fromkeys((topic, "") for topic, _ in self._pending)
        self._pending[(topic, about)] = None
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("no word from other processes: %s", error)
            await asyncio.sleep(_PAUSE_S)

    async def _follow(self) -> None:
        connection = await asyncpg.connect(
            self._url, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S
        )
        try:
            await connection.add_listener(_CHANNEL, self._heard)
            connection.add_termination_listener(lambda _: self._wake.set())
            # Shared: a connection of ours that is dying may have it still.
            key = int.from_bytes(_key(self._name).to_bytes(4), signed=True)
            await connection.execute("SELECT pg_advisory_lock_shared($1, $2)", _PRESENCE, key)
            self._missed_some()
            self._connected.set()
            while True:
                await self._send(connection)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _PING_S)
        finally:
            connection.terminate()

    async def _send(self, connection: Any) -> None:
        self._wake.clear()
        told = list(self._pending)[:_MAX_TOLD]
        text = "\n".join([self._sender, *(" ".join(hint) for hint in told)])
        # With nothing to tell, it still shows whether the connection lives.
        await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, text)
        for hint in told:
            del self._pending[hint]
        if self._pending:
            self._wake.set()

    def _heard(self, _connection: object, _pid: int, _channel: str, text: object) -> None:
        sender, *hints = str(text).split("\n")
        if sender != self._sender:
            for hint in hints:
                self._deliver(*hint.split(" ", 1))

    def _missed_some(self) -> None:
        for topic in {topic for topic, _ in self._subscribers}:
            self._deliver(topic, "")

    def _deliver(self, topic: str, about: str) -> None:
        for wanted, subscriber in self._subscribers:
            if wanted == topic:
                subscriber(about)


def _key(name: str) -> int:
    """As an object id: 32 bits without a sign."""
    return zlib.crc32(name.encode())
