"""Durations in ISO 8601, to timedeltas and back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.http.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("P1D", timedelta(days=1)),
        ("PT1H30M", timedelta(hours=1, minutes=30)),
        ("P1DT0.5S", timedelta(days=1, microseconds=500_000)),
        ("P2W", timedelta(weeks=2)),
        ("-PT1S", timedelta(seconds=-1)),
        ("+PT1,25S", timedelta(seconds=1, microseconds=250_000)),
        ("PT0S", timedelta(0)),
        ("PT36H", timedelta(hours=36)),
    ],
)
def test_duration_is_parsed(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "1D",
        "P1Y",
        "P1M",
        "PT1.5H",
        "P-1D",
        "PT1S ",
        "P\u0661D",
        "P1H",
        "pt1s",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration in ISO 8601"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["P999999999DT24H", "P999999999W"])
def test_duration_that_a_timedelta_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="that a timedelta can hold"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "PT0S"),
        (timedelta(days=1), "P1D"),
        (timedelta(hours=25, seconds=1), "P1DT1H1S"),
        (timedelta(microseconds=1500), "PT0.0015S"),
        (timedelta(minutes=-90), "-PT1H30M"),
    ],
)
def test_timedelta_is_written_short(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(st.timedeltas())
def test_what_is_written_is_read_again(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration
