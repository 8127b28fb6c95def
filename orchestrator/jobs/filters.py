"""Which jobs a filter means: its meaning as a tree, and what the tree says of one job. Pure.

Two-valued: what is not set equals nothing and compares with nothing, so `NOT` of such a
comparison is true. The store says the same in SQL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from apigpu.video.v1.job_pb2 import Job

from orchestrator.jobs import fields

Operator = Literal["=", "!=", "<", "<=", ">", ">="]

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Compare:
    """A field against a value: a number of Job.State for `state`, seconds for a time.

    `!=` is the opposite of `=`: true where the field is not set. field: one of
    `fields.FIELDS`, or "labels" with `label` as the key.
    """

    field: str
    operator: Operator
    value: str | int | float
    label: str = ""


@dataclass(frozen=True)
class HasLabel:
    """There is such a label."""

    label: str


@dataclass(frozen=True)
class Not:
    part: Filter


@dataclass(frozen=True)
class And:
    """All parts are true; without parts, it is true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """At least one part is true."""

    parts: tuple[Filter, ...]


Filter = Compare | HasLabel | Not | And | Or

EVERYTHING = And(())


def matches(filter: Filter, job: Job) -> bool:
    match filter:
        case Compare():
            return _compare(filter, job)
        case HasLabel(label):
            return label in job.labels
        case Not(part):
            return not matches(part, job)
        case And(parts):
            return all(matches(part, job) for part in parts)
        case Or(parts):
            return any(matches(part, job) for part in parts)


def _compare(filter: Compare, job: Job) -> bool:
    if filter.field == "labels":
        found: fields.Value = job.labels.get(filter.label)
    else:
        found = fields.value(job, filter.field)
    if filter.operator == "!=":
        return found != filter.value
    return found is not None and OPERATORS[filter.operator](found, filter.value)
