from __future__ import annotations

import pytest
from support.growth import grows_linearly

from microweb.http.headers import Headers, MutableHeaders
from microweb.http.preconditions import (
    Outcome,
    Validators,
    allows_range,
    evaluate,
    is_conditional,
    matches_strongly,
    matches_weakly,
    parse_entity_tags,
    strip_content_fields,
    validators_of,
)

BEFORE = "Wed, 30 Sep 2026 23:59:59 GMT"
THEN = "Thu, 01 Oct 2026 00:00:00 GMT"
AFTER = "Thu, 01 Oct 2026 00:00:01 GMT"
THEN_S = 1790812800
CURRENT = Validators('"a"', THEN_S)
NOTHING = Validators()

PROCEED, NOT_MODIFIED, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.FAILED


def outcome(
    fields: dict[str, str], current: Validators | None = CURRENT, method: str = "GET"
) -> Outcome:
    return evaluate(method, Headers(fields), current)


# --- one condition at a time, RFC 9110 sections 13.1.1 to 13.1.4


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"a"', PROCEED),
        ('"x", "a"', PROCEED),
        ("*", PROCEED),
        ('"x"', FAILED),
        ('W/"a"', FAILED),  # only a strong match counts
        ("a", FAILED),  # no entity tag at all
        ('"a" "x"', FAILED),  # no list
    ],
)
def test_if_match(value: str, expected: Outcome) -> None:
    assert outcome({"If-Match": value}) is expected


def test_if_match_never_holds_for_a_weak_tag() -> None:
    assert outcome({"If-Match": 'W/"a"'}, Validators('W/"a"')) is FAILED


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"a"', NOT_MODIFIED),
        ('W/"a"', NOT_MODIFIED),
        ('"x" , W/"a"', NOT_MODIFIED),
        ("*", NOT_MODIFIED),
        ('"x"', PROCEED),
        ("a", PROCEED),
    ],
)
def test_if_none_match(value: str, expected: Outcome) -> None:
    assert outcome({"If-None-Match": value}) is expected
    assert outcome({"If-None-Match": value}, method="HEAD") is expected


def test_if_none_match_of_a_method_that_changes_is_a_failure() -> None:
    assert outcome({"If-None-Match": '"a"'}, method="PUT") is FAILED
    assert outcome({"If-None-Match": '"x"'}, method="PUT") is PROCEED


@pytest.mark.parametrize(
    ("date", "expected"),
    [(BEFORE, FAILED), (THEN, PROCEED), (AFTER, PROCEED), ("yesterday", PROCEED)],
)
def test_if_unmodified_since(date: str, expected: Outcome) -> None:
    assert outcome({"If-Unmodified-Since": date}) is expected
    assert outcome({"If-Unmodified-Since": date}, method="DELETE") is expected


@pytest.mark.parametrize(
    ("date", "expected"),
    [(BEFORE, PROCEED), (THEN, NOT_MODIFIED), (AFTER, NOT_MODIFIED), ("yesterday", PROCEED)],
)
def test_if_modified_since(date: str, expected: Outcome) -> None:
    assert outcome({"If-Modified-Since": date}) is expected


def test_if_modified_since_is_for_get_and_head_alone() -> None:
    assert outcome({"If-Modified-Since": AFTER}, method="PUT") is PROCEED


def test_a_star_asks_whether_there_is_anything() -> None:
    assert outcome({"If-Match": "*"}, None, "PUT") is FAILED
    assert outcome({"If-None-Match": "*"}, None, "PUT") is PROCEED
    assert outcome({"If-None-Match": "*"}, NOTHING, "PUT") is FAILED


def test_without_validators_dates_and_tags_say_nothing() -> None:
    assert outcome({"If-Modified-Since": AFTER}, NOTHING) is PROCEED
    assert outcome({"If-Unmodified-Since": BEFORE}, NOTHING) is PROCEED
    assert outcome({"If-None-Match": '"a"'}, NOTHING) is PROCEED
    assert outcome({"If-Match": '"a"'}, NOTHING) is FAILED


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT"])
def test_methods_without_a_representation_have_no_preconditions(method: str) -> None:
    assert outcome({"If-Match": '"x"', "If-None-Match": "*"}, method=method) is PROCEED


# --- their order, RFC 9110 section 13.2.2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"If-Match": '"a"', "If-Unmodified-Since": BEFORE}, PROCEED),
        ({"If-Match": '"x"', "If-None-Match": '"a"'}, FAILED),
        ({"If-Unmodified-Since": BEFORE, "If-None-Match": '"a"'}, FAILED),
        ({"If-Match": '"a"', "If-None-Match": '"a"'}, NOT_MODIFIED),
        ({"If-None-Match": '"x"', "If-Modified-Since": AFTER}, PROCEED),
        ({"If-None-Match": '"a"', "If-Modified-Since": BEFORE}, NOT_MODIFIED),
        ({"If-Unmodified-Since": THEN, "If-Modified-Since": THEN}, NOT_MODIFIED),
    ],
)
def test_precedence(fields: dict[str, str], expected: Outcome) -> None:
    assert outcome(fields) is expected


# --- If-Range, RFC 9110 section 13.1.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"a"', True),
        ('W/"a"', False),
        ('"x"', False),
        (THEN, True),
        (BEFORE, False),
        (AFTER, False),  # not "or later": it must be the same
        ("yesterday", False),
    ],
)
def test_if_range(value: str, expected: bool) -> None:
    assert allows_range(Headers({"If-Range": value}), CURRENT, THEN_S + 60) is expected


def test_if_range_with_a_date_of_this_second_is_refused() -> None:
    headers = Headers({"If-Range": THEN})
    assert not allows_range(headers, CURRENT, THEN_S + 0.9)
    assert allows_range(headers, CURRENT, THEN_S + 1)


def test_without_if_range_a_range_may_be_sent() -> None:
    assert allows_range(Headers(), NOTHING, 0)


# --- tags and fields


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [
        ('W/"1"', 'W/"1"', False, True),  # the table of RFC 9110 section 8.8.3.2
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_comparison(one: str, other: str, strongly: bool, weakly: bool) -> None:
    assert (matches_strongly(one, other), matches_weakly(one, other)) == (strongly, weakly)
    assert (matches_strongly(other, one), matches_weakly(other, one)) == (strongly, weakly)


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ('"xyzzy", W/"r2d2,xxxx", ""', ['"xyzzy"', 'W/"r2d2,xxxx"', '""']),
        (' ,"a",, "b" ,', ['"a"', '"b"']),
        ('"a', []),
        ('w/"a"', []),
        ('"a"x', []),
        ("", []),
    ],
)
def test_entity_tags(value: str, tags: list[str]) -> None:
    assert parse_entity_tags(value) == tags


@pytest.mark.parametrize("hostile", ['"a",', '"', ",", 'W/"'])
def test_hostile_list_of_tags_takes_linear_time(hostile: str) -> None:
    assert grows_linearly(lambda size: parse_entity_tags(hostile * size + "x"), size=1000)


def test_validators_are_read_from_fields() -> None:
    headers = MutableHeaders({"ETag": '"a"', "Last-Modified": THEN})
    assert validators_of(headers) == CURRENT
    assert validators_of(MutableHeaders()) == NOTHING


def test_most_requests_are_not_conditional() -> None:
    assert not is_conditional(Headers({"Accept": "*/*", "Host": "a"}))
    assert is_conditional(Headers({"Range": "bytes=0-"}))


def test_fields_of_a_304() -> None:
    fields = {
        "Content-Type": "text/plain",
        "Content-Length": "5",
        "Content-Encoding": "gzip",
        "ETag": '"a"',
        "Last-Modified": THEN,
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "Content-Location": "/a.txt",
        "Content-Security-Policy": "default-src 'self'",
    }
    headers = MutableHeaders(fields)
    strip_content_fields(headers)
    kept = "etag cache-control vary content-location content-security-policy"
    assert list(headers) == kept.split()


def test_last_modified_stays_in_a_304_without_a_tag() -> None:
    headers = MutableHeaders({"Last-Modified": THEN})
    strip_content_fields(headers)
    assert headers["last-modified"] == THEN


def test_a_list_of_more_than_a_hundred_tags_is_none() -> None:
    assert parse_entity_tags(",".join(['"a"'] * 100)) == ['"a"'] * 100
    assert parse_entity_tags(",".join(['"a"'] * 101)) == []
