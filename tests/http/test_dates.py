from __future__ import annotations

import calendar
import email.utils
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.http import dates
from microweb.http.dates import format_http_date, parse_http_date

# The example of RFC 9110 section 5.6.7, in its three forms.
EXAMPLE = 784111777
YEAR_1 = -62135596800
YEAR_9999_END = 253402300799


def timestamp(year: int, month: int, day: int) -> int:
    return calendar.timegm((year, month, day, 0, 0, 0))


def set_clock(monkeypatch: pytest.MonkeyPatch, year: int, month: int, day: int) -> None:
    monkeypatch.setattr(dates, "time", lambda: float(timestamp(year, month, day)))


def test_format_is_the_imf_fixdate() -> None:
    assert format_http_date(EXAMPLE) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_format_cuts_fractions_off() -> None:
    assert format_http_date(EXAMPLE + 0.999999) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert format_http_date(-0.5) == "Wed, 31 Dec 1969 23:59:59 GMT"


def test_format_reaches_from_year_1_to_9999() -> None:
    assert format_http_date(YEAR_1) == "Mon, 01 Jan 0001 00:00:00 GMT"
    assert format_http_date(YEAR_9999_END) == "Fri, 31 Dec 9999 23:59:59 GMT"


@pytest.mark.parametrize("beyond", [YEAR_1 - 1, YEAR_9999_END + 1, 1e300, math.inf, math.nan])
def test_format_refuses_a_time_without_such_a_form(beyond: float) -> None:
    with pytest.raises(ValueError, match=r"^expected a timestamp in the years 1 to 9999, got "):
        format_http_date(beyond)


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_all_three_forms_are_read(text: str) -> None:
    assert parse_http_date(text) == EXAMPLE


def test_asctime_takes_a_day_of_two_digits() -> None:
    assert parse_http_date("Wed Nov 16 08:49:37 1994") == EXAMPLE + 10 * 86400


def test_the_name_of_the_day_is_not_compared_with_the_date() -> None:
    assert parse_http_date("Mon, 06 Nov 1994 08:49:37 GMT") == EXAMPLE


def test_a_leap_second_is_the_second_after_it() -> None:
    after = timestamp(2017, 1, 1)
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == after


def test_29_february_exists_in_leap_years_only() -> None:
    assert parse_http_date("Thu, 29 Feb 2024 00:00:00 GMT") == timestamp(2024, 2, 29)
    assert parse_http_date("Wed, 29 Feb 2023 00:00:00 GMT") is None
    assert parse_http_date("Thu, 29 Feb 1900 00:00:00 GMT") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "Sun, 30 Feb 1994 08:49:37 GMT",
        "Sun, 31 Apr 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun Nov  0 08:49:37 1994",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Son, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Okt 1994 08:49:37 GMT",
        "06 Nov 1994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 31-Feb-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994 GMT",
        "1994-11-06T08:49:37Z",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_http_date(text) is None


@pytest.mark.parametrize(
    ("text", "year", "month", "day"),
    [
        ("Monday, 01-Jun-26 00:00:00 GMT", 2026, 6, 1),
        ("Monday, 01-Jun-76 00:00:00 GMT", 2076, 6, 1),
        ("Friday, 03-Jul-76 00:00:00 GMT", 1976, 7, 3),
        ("Friday, 31-Dec-99 00:00:00 GMT", 1999, 12, 31),
        ("Saturday, 01-Jan-00 00:00:00 GMT", 2000, 1, 1),
    ],
)
def test_a_two_digit_year_over_50_years_ahead_is_of_the_last_century(
    text: str, year: int, month: int, day: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, 2026, 7, 1)
    assert parse_http_date(text) == timestamp(year, month, day)


def test_a_two_digit_year_is_of_this_century_whichever_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_clock(monkeypatch, 2101, 1, 1)
    assert parse_http_date("Thursday, 01-Jan-01 00:00:00 GMT") == timestamp(2101, 1, 1)
    assert parse_http_date("Sunday, 06-Nov-94 00:00:00 GMT") == timestamp(2094, 11, 6)


@given(st.integers(YEAR_1, YEAR_9999_END))
def test_what_is_formatted_is_read_back(seconds: int) -> None:
    assert parse_http_date(format_http_date(seconds)) == seconds


@given(st.integers(0, YEAR_9999_END))
def test_asctime_of_any_time_is_read(seconds: int) -> None:
    assert parse_http_date(datetime.fromtimestamp(seconds, UTC).ctime()) == seconds


@given(st.integers(0, YEAR_9999_END))
def test_format_agrees_with_the_standard_library(seconds: int) -> None:
    assert format_http_date(seconds) == email.utils.formatdate(seconds, usegmt=True)


@given(st.text(alphabet="SunMonday, 0123456789:-GMT\n", max_size=40))
def test_no_text_raises(text: str) -> None:
    seconds = parse_http_date(text)
    assert seconds is None or YEAR_1 <= seconds <= YEAR_9999_END + 1
