"""Filters, orders and page tokens: what callers write, and what it means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from apigpu.video.v1.job_pb2 import Job
from hypothesis import given
from hypothesis import strategies as st

from apigpu_common.errors import InvalidInput
from orchestrator import pages
from orchestrator.jobs import orders
from orchestrator.jobs.filter_text import parse
from orchestrator.jobs.filters import EVERYTHING, And, Compare, HasLabel, Not, Or, matches
from orchestrator.jobs.orders import Key
from tests.random_jobs import FILTERS, JOBS, written

RUNNING = Compare("state", "=", Job.RUNNING)
QUEUED = Compare("state", "=", Job.QUEUED)
NEWS = Compare("labels", "=", "news", "show")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("  ", EVERYTHING),
        ("state=RUNNING", RUNNING),
        ("(((state = RUNNING)))", RUNNING),
        ("state = RUNNING AND labels.show = news", And((RUNNING, NEWS))),
        ("labels.show = 'news'", NEWS),
        (r'labels.show = "a \"b\" \\"', Compare("labels", "=", 'a "b" \\', "show")),
        # OR binds more tightly than AND, as google.aip.dev/160 has it
        (
            "labels.show = news AND state = RUNNING OR state = QUEUED",
            And((NEWS, Or((RUNNING, QUEUED)))),
        ),
        ("NOT state = RUNNING", Not(RUNNING)),
        ("-state = RUNNING", Not(RUNNING)),
        ("NOT (state = RUNNING OR state = QUEUED)", Not(Or((RUNNING, QUEUED)))),
        ("labels:show", HasLabel("show")),
        ("labels.show:*", HasLabel("show")),
        ('labels.show:"news"', NEWS),
        ("priority >= 80", Compare("priority", ">=", 80)),
        ("priority != -1", Compare("priority", "!=", -1)),
        ('create_time < "2026-01-31T12:00:00Z"', Compare("create_time", "<", NOON)),
        ('end_time >= "2026-01-31T13:00:00+01:00"', Compare("end_time", ">=", NOON)),
        ("operation != caption", Compare("operation", "!=", "caption")),
        ('retry_of = "jobs/0"', Compare("retry_of", "=", "jobs/0")),
        # words of the language are words like others where a value stands
        ("labels.and = AND", Compare("labels", "=", "AND", "and")),
        ("labels.year = 2026", Compare("labels", "=", "2026", "year")),
    ],
)
def test_a_filter_means_what_it_says(text: str, meaning: object) -> None:
    assert parse(text) == meaning


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("colour = red", "fields are state"),
        ("state = SLEEPING", "state is one of QUEUED"),
        ("operation = sing", "operation is one of caption"),
        ("state < RUNNING", "= and != alone"),
        ("labels.show > a", "= and != alone"),
        ("labels.Show = a", "small letters"),
        ("labels = a", "fields are"),
        ("state:RUNNING", "is for labels"),
        ("priority = high", "whole number"),
        ("priority = 1.5", "whole number"),
        ('create_time > "yesterday"', "2026-01-31T12:00:00Z"),
        ('create_time > "2026-01-31T12:00:00"', "2026-01-31T12:00:00Z"),
        ("retry_of = 0", "jobs/"),
        ("state = RUNNING AND", "expected something like"),
        ("state = RUNNING state = QUEUED", "'state = QUEUED'"),
        ("(state = RUNNING", "expected"),
        ("news", "expected"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse(text)
    assert refused.value.reason == "INVALID_FILTER"
    assert refused.value.field == "filter"
    assert hint in refused.value.message


@given(
    st.text(alphabet="state=RUNIG ANDORT()-.:labels\"'\\<>*0 ", max_size=80) | st.text(max_size=80)
)
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse(text)
    except InvalidInput as error:
        assert error.reason == "INVALID_FILTER"


def test_a_deep_filter_is_no_trouble() -> None:
    assert parse("(" * 500 + "state = RUNNING" + ")" * 500) == RUNNING


@given(FILTERS, st.lists(JOBS, max_size=5))
def test_what_is_written_is_what_is_read(filter: object, jobs: list[Job]) -> None:
    again = parse(written(filter))
    assert [matches(again, job) for job in jobs] == [matches(filter, job) for job in jobs]  # type: ignore[arg-type]


def test_what_is_not_set_compares_with_nothing() -> None:
    job = Job(state=Job.RUNNING)
    job.caption.SetInParent()
    assert not matches(parse('end_time < "2030-01-01T00:00:00Z"'), job)
    assert matches(parse('NOT end_time < "2030-01-01T00:00:00Z"'), job)
    assert matches(parse("labels.show != news"), job)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", (Key("id", True),)),
        ("create_time", (Key("id"),)),
        ("create_time desc", (Key("id", True),)),
        (" priority  desc , create_time", (Key("priority", True), Key("id"))),
        ("priority desc", (Key("priority", True), Key("id", True))),
        ("state,end_time", (Key("state"), Key("end_time"), Key("id"))),
        ("create_time, priority", (Key("id"),)),
    ],
)
def test_an_order_tells_any_two_jobs_apart(text: str, order: orders.Order) -> None:
    assert orders.parse(text) == order


@pytest.mark.parametrize(
    "text", ["colour", "priority down", "priority priority", ",", "state, state"]
)
def test_an_order_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        orders.parse(text)
    assert (refused.value.reason, refused.value.field) == ("INVALID_ORDER", "order_by")


def test_a_page_token_is_bound_to_its_question() -> None:
    token = pages.encode((50, "00ff"), "state = RUNNING|priority")
    assert pages.decode(token, "state = RUNNING|priority", keys=2) == (50, "00ff")
    for question, keys in (("|priority", 2), ("state = RUNNING|priority", 1)):
        with pytest.raises(InvalidInput) as refused:
            pages.decode(token, question, keys)
        assert refused.value.reason == "INVALID_PAGE_TOKEN"


@given(st.text(max_size=60))
def test_no_page_token_breaks_the_service(token: str) -> None:
    try:
        assert pages.decode(token, "", keys=1) is None or token
    except InvalidInput as error:
        assert error.reason == "INVALID_PAGE_TOKEN"
