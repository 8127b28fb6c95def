"""Ids of resources: they sort by time of creation, and cannot be guessed."""

from __future__ import annotations

import secrets
import time


def new_id() -> str:
    """32 hexadecimal digits: 12 of milliseconds since 1970, 20 random."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def job_name(job_id: str) -> str:
    return f"jobs/{job_id}"


def file_name(file_id: str) -> str:
    return f"files/{file_id}"


def id_of(name: str) -> str:
    """The id in a resource name such as "jobs/0191..."."""
    return name.partition("/")[2]
