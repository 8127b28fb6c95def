"""A filter and an order as SQL: the same answers as `filters.matches` and `orders.place` give."""

from __future__ import annotations

from orchestrator.jobs.filters import And, Compare, Filter, HasLabel, Not, Or
from orchestrator.jobs.orders import Key, Order, Place
from orchestrator.store.database import Value

Clause = tuple[str, list[Value]]

_LABEL = "EXISTS (SELECT 1 FROM job_labels WHERE job_id = jobs.id AND key = ?"


def select(filter: Filter, order: Order, after: Place | None, owner: str | None) -> Clause:
    """The rows of `jobs` that `filter` lets through, from the one after `after` on; without its
    LIMIT. Newest (or oldest) first, no page is found by scanning what it does not show: a label
    that all must have leads through the index of labels."""
    source, clauses = "jobs", [where(filter)]
    label = _required_label(filter)
    if label is not None and len(order) == 1:
        source = "job_labels AS mark CROSS JOIN jobs"
        of_label = "jobs.id = mark.job_id AND mark.key = ? AND mark.value = ?"
        clauses.append((of_label, [label.label, label.value]))
        order = (Key("mark.job_id", order[0].descending),)
    if owner is not None:
        clauses.append(("owner = ?", [owner]))
    if after is not None:
        clauses.append(beyond(order, after))
    texts = " AND ".join(f"({text})" for text, _ in clauses)
    statement = f"SELECT id, body FROM {source} WHERE {texts} ORDER BY {ordered(order)}"
    return statement, [value for _, values in clauses for value in values]


def _required_label(filter: Filter) -> Compare | None:
    """A label that every job has which `filter` lets through, if it is plain to see."""
    parts = filter.parts if isinstance(filter, And) else (filter,)
    return next(
        (
            part
            for part in parts
            if isinstance(part, Compare) and part.field == "labels" and part.operator == "="
        ),
        None,
    )


def where(filter: Filter) -> Clause:
    """A condition on `jobs`. Never NULL, so that NOT turns it round."""
    match filter:
        case Compare():
            return _compare(filter)
        case HasLabel(label):
            return f"{_LABEL})", [label]
        case Not(part):
            clause, values = where(part)
            return f"NOT ({clause})", values
        case And(parts):
            return _joined(parts, " AND ", "1 = 1")
        case Or(parts):
            return _joined(parts, " OR ", "1 = 0")


def _joined(parts: tuple[Filter, ...], word: str, without: str) -> Clause:
    clauses = [where(part) for part in parts]
    if not clauses:
        return without, []
    return word.join(f"({text})" for text, _ in clauses), [
        v for _, values in clauses for v in values
    ]


def _compare(filter: Compare) -> Clause:
    if filter.operator == "!=":
        text, values = _compare(Compare(filter.field, "=", filter.value, filter.label))
        return f"NOT ({text})", values
    if filter.field == "labels":
        return f"{_LABEL} AND value = ?)", [filter.label, filter.value]
    # The column holds ids.
    value = str(filter.value).removeprefix("jobs/") if filter.field == "retry_of" else filter.value
    return f"({filter.field} IS NOT NULL AND {filter.field} {filter.operator} ?)", [value]


def ordered(order: Order) -> str:
    """What stands after ORDER BY."""
    return ", ".join(f"{_key(k.column)} {'DESC' if k.descending else 'ASC'}" for k in order)


def beyond(order: Order, place: Place) -> Clause:
    """The rows that come after `place` in the order."""
    alternatives: list[str] = []
    values: list[Value] = []
    for depth, key in enumerate(order):
        equal = [f"{_key(k.column)} = ?" for k in order[:depth]]
        further = f"{_key(key.column)} {'<' if key.descending else '>'} ?"
        alternatives.append(" AND ".join([*equal, further]))
        values += place[: depth + 1]
    return " OR ".join(f"({text})" for text in alternatives), values


def _key(column: str) -> str:
    return "coalesce(end_time, 0)" if column == "end_time" else column
