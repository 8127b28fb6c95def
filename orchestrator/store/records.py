"""What goes into the store and comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apigpu.video.v1.job_pb2 import Job, JobEvent

DEFAULT_OWNER = "default"  # of everything, where nobody has to say who they are


class Conflict(Exception):
    """Someone else has changed the job since it was read: read it again and decide anew."""


@dataclass(frozen=True)
class Task:
    """A part of a job that one worker does in one go."""

    id: str
    job_id: str
    item_ids: Sequence[str]


@dataclass(frozen=True)
class StoredFile:
    """A file that the service keeps.

    job_id: the job that made it, and takes it along when deleted. Empty for uploads.
    key: where its bytes lie in the file storage; where empty, under `id`.
    """

    id: str
    filename: str
    size_bytes: int
    sha256: str
    create_time: datetime
    job_id: str = ""
    owner: str = DEFAULT_OWNER
    key: str = ""
    mime_type: str = ""


@dataclass(frozen=True)
class KeyLimits:
    """How much may be taken with a key. 0 or empty: as the settings say.

    requests: calls in a time, like "100/minute". jobs, stored_bytes: of its owner.
    """

    requests: str = ""
    streams: int = 0
    jobs: int = 0
    stored_bytes: int = 0
    upload_bytes: int = 0


@dataclass(frozen=True)
class StoredKey:
    """What is kept of an API key. Times are in seconds since 1970; None: never."""

    id: str
    owner: str
    scopes: frozenset[str]
    title: str
    salt: bytes
    hash: bytes
    create_time: float
    expire_time: float | None = None
    revoke_time: float | None = None
    last_use_time: float | None = None
    limits: KeyLimits = KeyLimits()


@dataclass(frozen=True)
class NewJob:
    """A job to store with its first event and its tasks.

    request_id: the owner's idempotency key, or empty.
    fingerprint: what must be equal for a repeated request_id to mean the same job.
    files: ids of the files that it needs and did not make: they are kept as long as it is.
    """

    id: str
    job: Job
    events: Sequence[JobEvent]
    tasks: Sequence[Task]
    request_id: str
    fingerprint: bytes
    owner: str = DEFAULT_OWNER
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Delivery:
    """What a webhook is to be told. sequence: of the job's event."""

    id: str
    sequence: int
    url: str
    type: str
    payload: bytes


@dataclass(frozen=True)
class StoredDelivery(Delivery):
    """A delivery, and what came of it. Times are in seconds since 1970."""

    job_id: str
    owner: str
    state: int
    attempts: int
    last_status: int
    last_error: str
    create_time: float
    since: float
    next_time: float


@dataclass(frozen=True)
class Change:
    """A step in a job's life, stored in one transaction or not at all.

    job: as it is after the step. events: what the step made, dense up to
    `job.last_sequence`; the store refuses with Conflict unless the stored job's newest
    event is the one before the first of them. files: outputs that came with it.
    deliveries: what the job's webhook is to be told of it.
    """

    job_id: str
    job: Job
    events: Sequence[JobEvent]
    files: Sequence[StoredFile] = field(default_factory=tuple)
    deliveries: Sequence[Delivery] = ()


@dataclass(frozen=True)
class StoredJob:
    """A job, and whose it is."""

    owner: str
    job: Job


@dataclass(frozen=True)
class Page:
    """A part of a list of jobs. complete: there are no more beyond it."""

    jobs: list[Job]
    complete: bool
