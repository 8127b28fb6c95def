"""The filter of ListJobs: `state = RUNNING AND labels.show = "news"` (a part of AIP-160). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from apigpu.video.v1.job_pb2 import Job

from apigpu_common.errors import InvalidInput

_CONDITION = re.compile(
    r"""\s*(?P<field>[a-z_]+(?:\.[a-z][a-z0-9_-]*)?)
        \s*(?P<operator>!=|=)
        \s*(?P<value>"(?:[^"\\]|\\.)*"|[\w.-]+)\s*""",
    re.VERBOSE,
)
_AND = re.compile(r"\s*\bAND\b\s*")
_STATES = tuple(Job.State.keys()[1:])
_OPERATIONS = tuple(field.name for field in Job.DESCRIPTOR.oneofs_by_name["operation"].fields)


@dataclass(frozen=True)
class Condition:
    """`field operator value`. For field "labels", `label` is the key."""

    field: Literal["state", "operation", "labels"]
    negated: bool
    value: str
    label: str = ""


def parse(text: str) -> list[Condition]:
    """The conditions that `text` joins with AND. Raises InvalidInput (INVALID_FILTER)."""
    conditions: list[Condition] = []
    position = 0
    while text.strip():
        match = _CONDITION.match(text, position)
        if match is None:
            raise _invalid(text[position:].strip(), "expected something like `state = RUNNING`")
        conditions.append(_condition(match))
        if match.end() == len(text):
            break
        joint = _AND.match(text, match.end())
        if joint is None:
            raise _invalid(text[match.end() :].strip(), "conditions are joined with AND")
        position = joint.end()
    return conditions


def _condition(match: re.Match[str]) -> Condition:
    field, _, label = match["field"].partition(".")
    value = match["value"]
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    negated = match["operator"] == "!="
    if field == "labels" and label:
        return Condition("labels", negated, value, label)
    if field == "state" and not label:
        if value not in _STATES:
            raise _invalid(value, f"state is one of {', '.join(_STATES)}")
        return Condition("state", negated, value)
    if field == "operation" and not label:
        if value not in _OPERATIONS:
            raise _invalid(value, f"operation is one of {', '.join(_OPERATIONS)}")
        return Condition("operation", negated, value)
    raise _invalid(match["field"], "fields are state, operation and labels.{key}")


def _invalid(part: str, hint: str) -> InvalidInput:
    return InvalidInput(
        "INVALID_FILTER", f"The filter is not understood at {part[:60]!r}: {hint}.", field="filter"
    )
