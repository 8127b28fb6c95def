"""Where bytes lie from their arrival until somebody has looked at them. Workers' links and upload
links lead here only, so none can touch what was accepted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

# job id, attempt id -> whether somebody waits for what it brings
Wanted = Callable[[str, str], Awaitable[bool]]

ARRIVALS = "incoming"


def of_upload(file_id: str) -> str:
    return f"{ARRIVALS}/{file_id}"


def of_result(job_id: str, attempt_id: str, file_id: str) -> str:
    """Tells whose it is, so that it can be seen when nobody waits for it any more."""
    return f"{ARRIVALS}/{job_id}.{attempt_id}.{file_id}"


def attempt_of(key: str) -> tuple[str, str] | None:
    """Job and attempt of a result, also of one that a worker has not given its name yet."""
    name = key.removeprefix(f"{ARRIVALS}/").removeprefix(".")
    match name.split("."):
        case [job_id, attempt_id, _, *_]:
            return job_id, attempt_id
    return None
