"""Random jobs and filters that have something to do with each other, for Hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime

from apigpu.video.v1.job_pb2 import Job
from hypothesis import strategies as st

from orchestrator.jobs.fields import OPERATIONS, STATES
from orchestrator.jobs.filters import And, Compare, Filter, HasLabel, Not, Or

_KEYS = st.sampled_from(["show", "and", "a-b"])
_VALUES = st.sampled_from(["news", "AND", "", 'a "b" \\ c', "ü"])
_TIMES = st.integers(1_700_000_000, 1_700_000_005)
_PRIORITIES = st.integers(0, 100)
_NAMES = st.sampled_from(["jobs/1", "jobs/2"])
_EQUALITY = st.sampled_from(["=", "!="])
_ANY = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


@st.composite
def _jobs(draw: st.DrawFn) -> Job:
    job = Job(state=Job.State.Value(draw(st.sampled_from(STATES))))
    getattr(job, draw(st.sampled_from(OPERATIONS))).SetInParent()
    job.labels.update(draw(st.dictionaries(_KEYS, _VALUES, max_size=2)))
    job.priority = draw(_PRIORITIES)
    job.create_time.seconds = draw(_TIMES)
    for time in (job.start_time, job.end_time):
        if draw(st.booleans()):
            time.seconds = draw(_TIMES)
    job.retry_of = draw(_NAMES | st.just(""))
    return job


JOBS = _jobs()
_COMPARISONS = st.one_of(
    st.builds(
        Compare, st.just("state"), _EQUALITY, st.sampled_from(list(map(Job.State.Value, STATES)))
    ),
    st.builds(Compare, st.just("operation"), _EQUALITY, st.sampled_from(OPERATIONS)),
    st.builds(Compare, st.just("labels"), _EQUALITY, _VALUES, _KEYS),
    st.builds(Compare, st.just("retry_of"), _EQUALITY, _NAMES),
    st.builds(Compare, st.just("priority"), _ANY, _PRIORITIES),
    st.builds(
        Compare,
        st.sampled_from(["create_time", "start_time", "end_time"]),
        _ANY,
        _TIMES.map(float),
    ),
    st.builds(HasLabel, _KEYS),
)
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    _COMPARISONS,
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.builds(And, st.lists(parts, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(parts, min_size=1, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def written(filter: object) -> str:
    """The filter as a caller would write it."""
    match filter:
        case Compare(field, operator, value, label):
            return f"{f'labels.{label}' if label else field} {operator} {_value(field, value)}"
        case HasLabel(label):
            return f"labels:{label}"
        case Not(part):
            return f"NOT ({written(part)})"
        case And(parts):
            return " AND ".join(f"({written(part)})" for part in parts)
        case Or(parts):
            return " OR ".join(f"({written(part)})" for part in parts)
    raise AssertionError(filter)


def _value(field: str, value: object) -> str:
    if field == "state":
        return Job.State.Name(value)  # type: ignore[arg-type]
    if field.endswith("_time"):
        return f'"{datetime.fromtimestamp(float(str(value)), UTC).isoformat()}"'
    if isinstance(value, str) and field in ("labels", "retry_of"):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
