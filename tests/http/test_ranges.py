from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.growth import grows_linearly

from microweb.errors import RangeNotSatisfiable
from microweb.http.ranges import MAX_RANGES, Span, content_range, parse_ranges

SIZE = 10_000


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        ("bytes=0-499", [Span(0, 500)]),  # the examples of RFC 9110 section 14.1.2
        ("bytes=500-999", [Span(500, 500)]),
        ("bytes=-500", [Span(9500, 500)]),
        ("bytes=9500-", [Span(9500, 500)]),
        ("bytes=0-0,-1", [Span(0, 1), Span(9999, 1)]),
        ("bytes= 0-999, 4500-5499, -1000", [Span(0, 1000), Span(4500, 1000), Span(9000, 1000)]),
        ("bytes=9000-99999", [Span(9000, 1000)]),
        ("bytes=-99999", [Span(0, SIZE)]),
        ("bytes=0-", [Span(0, SIZE)]),
        ("BYTES=0-1", [Span(0, 2)]),
        ("bytes=99999-,5-5,-0", [Span(5, 1)]),  # outside the content
    ],
)
def test_ranges(value: str, spans: list[Span]) -> None:
    assert parse_ranges(value, SIZE) == spans


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        ("bytes=500-600,601-999", [Span(500, 500)]),
        ("bytes=500-700,601-999", [Span(500, 500)]),
        ("bytes=0-9999,5-6,7-", [Span(0, SIZE)]),
        ("bytes=900-999,0-9,990-1009", [Span(900, 110), Span(0, 10)]),
        ("bytes=0-1,3-4", [Span(0, 2), Span(3, 2)]),
    ],
)
def test_overlapping_and_touching_ranges_become_one_where_the_first_stood(
    value: str, spans: list[Span]
) -> None:
    assert parse_ranges(value, SIZE) == spans


@pytest.mark.parametrize(
    "value",
    [
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=abc",
        "bytes=-",
        "bytes=5-4",
        "bytes=0-1,5-4",
        "bytes=0-1-2",
        "bytes=0 - 1",
        "bytes=+1-2",
        "bytes=0x0-1",
        "bytes=1.5-2",
        "bytes=\u0661-\u0662",
        "items=0-1",
        "bytes=" + "9" * 20 + "-",
        "bytes=" + "9" * 10_000 + "-",
        "bytes=" + ",".join(["0-"] * (MAX_RANGES + 1)),
    ],
)
def test_malformed_and_abusive_fields_are_ignored(value: str) -> None:
    assert parse_ranges(value, SIZE) is None


def test_as_many_ranges_as_allowed_are_served() -> None:
    spans = [Span(2 * index, 1) for index in range(MAX_RANGES)]
    value = "bytes=" + ",".join(f"{span.offset}-{span.offset}" for span in spans)
    assert parse_ranges(value, SIZE) == spans


@pytest.mark.parametrize("value", ["bytes=10000-", "bytes=10000-10001,99999-", "bytes=-0"])
def test_nothing_in_common_is_a_416_that_says_the_size(value: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_ranges(value, SIZE)
    assert caught.value.status == 416
    assert caught.value.headers == {"Content-Range": "bytes */10000"}


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=-5", "bytes=5-"])
def test_empty_content_has_no_ranges(value: str) -> None:
    assert parse_ranges(value, 0) is None


def test_content_range() -> None:
    assert content_range(Span(7, 6), 13) == "bytes 7-12/13"


@pytest.mark.parametrize("hostile", ["0-,", "-", "1", "1-2,3-4, "])
def test_hostile_field_takes_linear_time(hostile: str) -> None:
    assert grows_linearly(lambda size: parse_ranges(f"bytes={hostile * size}", SIZE), size=1000)


bounds = st.integers(0, 120) | st.none()


@given(st.lists(st.tuples(bounds, bounds), min_size=1, max_size=8), st.integers(1, 100))
def test_spans_have_each_byte_that_was_asked_for_once(
    ranges: list[tuple[int | None, int | None]], size: int
) -> None:
    members = ["-".join("" if n is None else str(n) for n in each) for each in ranges]
    wanted: set[int] = set()
    for first, last in ranges:
        if first is None:
            wanted |= set(range(max(size - (last or 0), 0), size))
        else:
            wanted |= set(range(first, min(size, size if last is None else last + 1)))
    try:
        spans = parse_ranges(f"bytes={','.join(members)}", size)
    except RangeNotSatisfiable:
        assert not wanted
        return
    is_malformed = any(
        (first is None and last is None) or (None not in (first, last) and last < first)  # type: ignore[operator]
        for first, last in ranges
    )
    assert (spans is None) is is_malformed
    if spans is not None:
        sent = [place for span in spans for place in range(span.offset, span.end)]
        assert len(sent) == len(set(sent))
        assert set(sent) == wanted


def test_a_list_of_empty_ranges_is_ignored() -> None:
    assert parse_ranges("bytes=" + "," * 63 + "0-0", SIZE) == [Span(0, 1)]
    assert parse_ranges("bytes=" + "," * 64 + "0-0", SIZE) is None
    assert parse_ranges("bytes=0-0" + "," * 30_000 + "1-1", SIZE) is None
