"""Places where lines without spaces may break: between phrases, and nothing else is touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_worker.media.ass_style import MARKUP
from gpu_worker.media.line_breaks import PLACE, mark


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("今日は良い天気です。", ["今日は", "良い", "天気です。"]),
        ("今天天气很好。", ["今天", "天气", "很", "好。"]),
        ("วันนี้อากาศดี", ["วัน", "นี้", "อากาศ", "ดี"]),
        (r"{\i1}今日は{\i}良い\N天気です", [r"{\i1}今日は{\i}良い\N天気です"]),
        ("English, português, العربية", ["English, português, العربية"]),
    ],
)
def test_lines_may_break_between_phrases(text: str, phrases: list[str]) -> None:
    assert mark(text) == PLACE.join(phrases)


@given(st.lists(st.text("今日は、天気。วันนี้ abñא{}\\Nfs20\n") | st.sampled_from(["{\\i1}", "\\N"])))
def test_nothing_is_lost_and_no_order_is_broken(parts: list[str]) -> None:
    text = "".join(parts)
    marked = mark(text)
    assert marked.replace(PLACE, "") == text
    assert MARKUP.findall(marked.replace(PLACE, "")) == MARKUP.findall(text)
