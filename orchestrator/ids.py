"""Ids of resources: they sort by time of creation, and cannot be guessed."""

from __future__ import annotations

import hashlib
import secrets
import time


def new_id() -> str:
    """32 hexadecimal digits: 12 of milliseconds since 1970, 20 random."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def result_id(attempt_id: str, item_id: str) -> str:
    """The file of an item's result in one attempt: whoever takes the attempt up again finds it."""
    return hashlib.sha256(f"{attempt_id}/{item_id}".encode()).hexdigest()[:32]


def upload_file_id(owner: str, upload_id: str) -> str:
    """The file that an upload makes, however often it was cut and repeated."""
    return hashlib.sha256(f"upload/{owner}/{upload_id}".encode()).hexdigest()[:32]


def job_name(job_id: str) -> str:
    return f"jobs/{job_id}"


def file_name(file_id: str) -> str:
    return f"files/{file_id}"


def id_of(name: str) -> str:
    """The id in a resource name such as "jobs/0191..."."""
    return name.partition("/")[2]
