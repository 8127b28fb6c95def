"""In which order jobs are listed (google.aip.dev/132). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from apigpu.video.v1.job_pb2 import Job

from apigpu_common.errors import InvalidInput
from orchestrator.jobs import fields

# Ids sort by the time of creation: that order needs no column of its own.
BY_CREATION = "id"
_SORTABLE = {
    "create_time": BY_CREATION,
    "end_time": "end_time",
    "priority": "priority",
    "state": "state",
}
_PART = re.compile(r"\s*([a-z_]+)(?:\s+(asc|desc))?\s*")


@dataclass(frozen=True)
class Key:
    """A column to sort by. What is not set counts as 0."""

    column: str
    descending: bool = False


# Where a job stands in an order: a value for each key, none of them unset.
Place = tuple[str | int | float, ...]
# Ends with BY_CREATION, so that it tells any two jobs apart.
Order = tuple[Key, ...]

NEWEST_FIRST: Order = (Key(BY_CREATION, descending=True),)


def parse(text: str) -> Order:
    """The order in a text like "priority desc, create_time". Raises InvalidInput."""
    if not text.strip():
        return NEWEST_FIRST
    keys: list[Key] = []
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None or match[1] not in _SORTABLE:
            _refuse(part, f"say something like `priority desc`; fields: {', '.join(_SORTABLE)}")
        key = Key(_SORTABLE[match[1]], match[2] == "desc")
        if any(key.column == other.column for other in keys):
            _refuse(part, "each field can be named once")
        keys.append(key)
        if key.column == BY_CREATION:  # nothing after it could make a difference
            return tuple(keys)
    return (*keys, Key(BY_CREATION, keys[-1].descending))


def place(order: Order, job_id: str, job: Job) -> Place:
    """Where the job stands in the order: a page begins after the place of the one before."""
    return tuple(
        job_id if key.column == BY_CREATION else fields.value(job, key.column) or 0 for key in order
    )


def _refuse(part: str, hint: str) -> NoReturn:
    raise InvalidInput(
        "INVALID_ORDER", f"The order is not understood at {part[:60]!r}: {hint}.", field="order_by"
    )
