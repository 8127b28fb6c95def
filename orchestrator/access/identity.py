"""Who is calling. Set once by whoever let the caller in; known to all that serves the call."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.store.records import DEFAULT_OWNER, KeyLimits


class Scope(StrEnum):
    """What a key may be used for."""

    JOBS_READ = "jobs.read"
    JOBS_WRITE = "jobs.write"
    FILES = "files"
    ADMIN = "admin"


@dataclass(frozen=True)
class Caller:
    """owner: whose jobs and files it sees. key_id: empty where no key was needed. limits: of
    the key's own."""

    owner: str = DEFAULT_OWNER
    key_id: str = ""
    scopes: frozenset[Scope] = frozenset(Scope)
    limits: KeyLimits = field(default_factory=KeyLimits)


_caller: ContextVar[Caller] = ContextVar("caller")


def enter(caller: Caller) -> None:
    """From here on, this task serves `caller`."""
    _caller.set(caller)


def current() -> Caller:
    """The caller that this task serves. Raises LookupError where nobody was let in."""
    return _caller.get()
