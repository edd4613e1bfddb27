from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import BadRequest, LocalProtocolError, MalformedRequest, MissingValue
from microweb.http import headers as headers_module
from microweb.http.grammar import FIELD_VALUE_TEXT, TOKEN_TEXT
from microweb.http.headers import (
    Headers,
    MutableHeaders,
    check_name,
    check_value,
    headers_of,
    list_members,
    parse_header_section,
)

SECTION = [
    b"Host: localhost",
    b"ACCEPT: text/html",
    b"Accept:text/plain \t",
    b"X-Name: caf\xe9",
    b"Cookie: a=1",
    b"Cookie: b=2",
    b"X-Empty:",
]

# Bytes that would end a field or a section, or that only one of the two sides would see.
INJECTIONS = [
    "a\r\nX-Evil: 1",
    "a\nb",
    "a\rb",
    "a\x00b",
    "\r\n",
    "a\n",
    "a\x0bb",
    "a\x7f",
    "a\x1b[31m",
]
BAD_NAMES = [
    "",
    " ",
    "a b",
    "a:",
    "a\r\nb",
    "a\n",
    "a\x00",
    "caf\xe9",
    "\N{KELVIN SIGN}",
    "(a)",
    "a/b",
]


@pytest.fixture
def section() -> Headers:
    return parse_header_section(SECTION)


# --- a request's headers --------------------------------------------------------------


@pytest.mark.parametrize("name", ["host", "Host", "HOST", "hOsT"])
def test_names_are_in_any_case(section: Headers, name: str) -> None:
    assert section[name] == "localhost"
    assert section.get(name) == "localhost"
    assert section.get_all(name) == ["localhost"]
    assert name in section


def test_repeated_fields_are_joined_by_a_comma(section: Headers) -> None:
    assert section["accept"] == "text/html, text/plain"
    assert section.get_all("Accept") == ["text/html", "text/plain"]


def test_repeated_cookies_are_joined_by_a_semicolon(section: Headers) -> None:
    assert section["cookie"] == "a=1; b=2"


def test_values_lose_the_whitespace_around_them_and_keep_their_bytes(section: Headers) -> None:
    assert section["x-name"] == "caf\xe9"
    assert section["x-empty"] == ""
    assert parse_header_section([b"X: \t a \t b \t "])["x"] == "a \t b"
    assert parse_header_section([b"X: \xa0a\xa0"])["x"] == "\xa0a\xa0"


def test_a_missing_field_is_a_400_that_names_it(section: Headers) -> None:
    with pytest.raises(MissingValue, match="'X-Token'") as missing:
        section["X-Token"]
    assert isinstance(missing.value, BadRequest)
    assert isinstance(missing.value, KeyError)
    assert missing.value.status == 400


def test_a_default_stands_for_a_missing_field(section: Headers) -> None:
    assert section.get("x-token") is None
    assert section.get("x-token", "none") == "none"
    assert section.get("x-empty", "none") == ""
    assert section.get_all("x-token") == []
    assert "x-token" not in section
    assert 1 not in section


def test_iterating_gives_the_distinct_names_in_lower_case(section: Headers) -> None:
    assert list(section) == ["host", "accept", "x-name", "cookie", "x-empty"]
    assert len(section) == 5
    assert dict(section)["accept"] == "text/html, text/plain"


def test_pairs_are_the_lines_as_they_came(section: Headers) -> None:
    assert section.pairs() == [
        ("host", "localhost"),
        ("accept", "text/html"),
        ("accept", "text/plain"),
        ("x-name", "caf\xe9"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("x-empty", ""),
    ]


def test_pairs_are_a_copy(section: Headers) -> None:
    section.pairs().clear()
    section.get_all("host").clear()
    assert section.get_all("host") == ["localhost"]


def test_headers_are_immutable(section: Headers) -> None:
    with pytest.raises(TypeError):
        section["host"] = "b"  # type: ignore[index]
    with pytest.raises(TypeError):
        del section["host"]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        section.extra = "b"  # type: ignore[attr-defined]


def test_headers_are_made_of_a_mapping_or_of_pairs() -> None:
    assert Headers({"Accept": "a", "X": "b"}).pairs() == [("accept", "a"), ("x", "b")]
    assert Headers([("X", "a"), ("x", "b")])["X"] == "a, b"
    assert len(Headers()) == 0
    assert Headers({"a": "1"}) == {"a": "1"}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_headers_refuse_a_name_that_is_no_token(name: str) -> None:
    with pytest.raises(ValueError, match="expected a token"):
        Headers({name: "a"})


@pytest.mark.parametrize("value", INJECTIONS)
def test_headers_refuse_a_value_with_control_characters(value: str) -> None:
    with pytest.raises(ValueError, match="without control characters"):
        Headers({"X": value})


# --- a response's headers -------------------------------------------------------------


def test_setting_replaces_and_adding_appends() -> None:
    headers = MutableHeaders({"X": "1"})
    headers["x"] = "2"
    assert headers.pairs() == [("x", "2")]
    headers.add("X", "3")
    assert headers["X"] == "2, 3"
    assert headers.get_all("X") == ["2", "3"]
    assert headers.pairs() == [("x", "2"), ("x", "3")]
    headers["X"] = "4"
    assert headers.pairs() == [("X", "4")]


def test_names_of_a_response_are_in_any_case_and_sent_as_set() -> None:
    headers = MutableHeaders([("X-Name", "a"), ("ETag", '"b"')])
    assert headers["x-name"] == headers["X-NAME"] == "a"
    assert "etag" in headers and "ETAG" in headers and 1 not in headers
    assert headers.pairs() == [("X-Name", "a"), ("ETag", '"b"')]
    assert list(headers) == ["x-name", "etag"]
    assert len(headers) == 2


def test_a_field_of_a_response_can_be_deleted() -> None:
    headers = MutableHeaders({"X": "1"})
    del headers["x"]
    assert "X" not in headers
    with pytest.raises(KeyError):
        del headers["X"]
    with pytest.raises(KeyError):
        headers["X"]
    assert headers.get("X") is None
    assert headers.get_all("X") == []


def test_the_methods_of_a_mutable_mapping_are_there() -> None:
    headers = MutableHeaders()
    headers.update({"A": "1", "B": "2"})
    assert headers.setdefault("a", "3") == "1"
    assert headers.setdefault("C", "3") == "3"
    assert headers.pop("b") == "2"
    assert headers.pop("b", "none") == "none"
    assert headers == {"a": "1", "c": "3"}
    headers.clear()
    assert not headers


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_response_takes_no_name_that_is_no_token(name: str) -> None:
    headers = MutableHeaders()
    for set_field in (headers.__setitem__, headers.add):
        with pytest.raises(LocalProtocolError, match="expected a token"):
            set_field(name, "a")
    with pytest.raises(LocalProtocolError):
        MutableHeaders({name: "a"})
    assert not headers


@pytest.mark.parametrize("value", [*INJECTIONS, "\N{SNOWMAN}", "\ud800"])
def test_a_response_takes_no_value_that_splits_it(value: str) -> None:
    headers = MutableHeaders()
    for set_field in (headers.__setitem__, headers.add):
        with pytest.raises(LocalProtocolError, match="without control characters"):
            set_field("X", value)
    assert not headers


@pytest.mark.parametrize("value", [1, None, b"bytes", ["a"]])
def test_a_response_takes_no_value_that_is_no_text(value: object) -> None:
    with pytest.raises(LocalProtocolError, match="expected a str"):
        MutableHeaders()["X"] = value  # type: ignore[assignment]


def test_a_refused_value_is_shown_cut() -> None:
    with pytest.raises(LocalProtocolError) as refused:
        MutableHeaders()["X"] = "a" * 1000 + "\n"
    assert len(str(refused.value)) < 200


def test_missing_fields_are_taken_from_others_and_those_that_are_there_stay() -> None:
    defaults = MutableHeaders({"X-A": "default", "X-B": "default"})
    headers = MutableHeaders([("x-a", "own"), ("x-a", "own too"), ("X-C", "own")])
    headers.set_missing(defaults)
    assert sorted(headers.pairs()) == [
        ("X-B", "default"),
        ("X-C", "own"),
        ("x-a", "own"),
        ("x-a", "own too"),
    ]
    headers["X-B"] = "changed"
    assert defaults.pairs() == [("X-A", "default"), ("X-B", "default")]
    headers.is_frozen = True
    with pytest.raises(LocalProtocolError):
        headers.set_missing(defaults)


def test_headers_that_were_sent_are_not_touched() -> None:
    headers = MutableHeaders({"X": "1"})
    headers.is_frozen = True
    touches = [
        lambda: headers.__setitem__("X", "2"),
        lambda: headers.add("X", "2"),
        lambda: headers.__delitem__("X"),
        lambda: headers.pop("X"),
        lambda: headers.update(Y="1"),
    ]
    for touch in touches:
        with pytest.raises(LocalProtocolError, match="was sent"):
            touch()
    assert headers.pairs() == [("X", "1")]


# --- names and values -----------------------------------------------------------------


@given(st.text(max_size=10))
def test_the_short_way_to_check_a_name_is_the_long_way(name: str) -> None:
    is_token = TOKEN_TEXT.fullmatch(name) is not None
    try:
        assert check_name(name) == name
        assert is_token
    except ValueError:
        assert not is_token


@given(st.text(max_size=10))
def test_the_short_way_to_check_a_value_is_the_long_way(value: str) -> None:
    is_value = FIELD_VALUE_TEXT.fullmatch(value) is not None
    try:
        assert check_value(value) == value
        assert is_value
    except ValueError:
        assert not is_value


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("", []),
        (",", []),
        ("a", ["a"]),
        ("a, b", ["a", "b"]),
        (" a ,\tb,,", ["a", "b"]),
        ("\xa0a", ["\xa0a"]),
    ],
)
def test_a_list_is_split_at_its_commas(value: str, members: list[str]) -> None:
    assert list_members(value) == members


# --- parsing --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "a field line without a colon"),
        (b"X", "a field line without a colon"),
        (b": a", "a field name that is not a token"),
        (b"X : a", "a field name that is not a token"),
        (b"X Y: a", "a field name that is not a token"),
        (b" X: a", "whitespace before a field name, or a folded line"),
        (b"\tX: a", "whitespace before a field name, or a folded line"),
        (b"X: a\rb", "a bare CR or LF in the header section"),
        (b"X: a\nb", "a bare CR or LF in the header section"),
        (b"X: a\x00", "a control byte in a field value"),
        (b"X: \x7f", "a control byte in a field value"),
    ],
)
def test_what_is_no_field_line_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        parse_header_section([b"Host: a", line])
    assert refused.value.reason == reason


def test_a_known_name_does_not_excuse_the_line() -> None:
    for name in (b"X-Known", b"Accept"):
        for _ in range(2):
            parse_header_section([name + b": a"])
        for rest in (b"", b" : a", b": \x00", b":\x7f", b": a\rb", b": a\n"):
            with pytest.raises(MalformedRequest):
                parse_header_section([name + rest])


def test_no_lines_are_no_fields() -> None:
    assert parse_header_section([]).pairs() == []


# --- the cache of field lines ---------------------------------------------------------


@pytest.fixture
def cache() -> dict[bytes, tuple[str, str]]:
    headers_module._FIELDS.clear()
    return headers_module._FIELDS


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: Bearer secret",
        b"Cookie: session=secret",
        b"Proxy-Authorization: Basic secret",
        b"X-Api-Key: secret",
        b"X-CSRF-Token: secret",
        b"Referer: https://example.org/?token=secret",
        b'If-None-Match: "secret"',
        b"Content-Length: 5",
    ],
)
def test_the_cache_never_holds_what_may_be_secret(
    cache: dict[bytes, tuple[str, str]], line: bytes
) -> None:
    for spelling in (line, line.upper(), line.lower()):
        parse_header_section([spelling])
    assert not cache


def test_the_cache_holds_what_clients_repeat(cache: dict[bytes, tuple[str, str]]) -> None:
    first = parse_header_section([b"Accept: */*"]).pairs()[0]
    assert parse_header_section([b"Accept: */*"]).pairs()[0] is first
    assert parse_header_section([b"ACCEPT: */*"]).pairs()[0] == first


def test_the_cache_is_bounded(cache: dict[bytes, tuple[str, str]]) -> None:
    largest = 0
    for i in range(2000):
        assert parse_header_section([b"User-Agent: %d" % i])["user-agent"] == str(i)
        largest = max(largest, len(cache))
    assert largest == 512


def test_the_cache_holds_no_long_line(cache: dict[bytes, tuple[str, str]]) -> None:
    parse_header_section([b"User-Agent: " + b"a" * 300])
    assert not cache


def test_the_cache_holds_no_refused_line(cache: dict[bytes, tuple[str, str]]) -> None:
    for _ in range(2):
        with pytest.raises(MalformedRequest):
            parse_header_section([b"Accept: \x00"])
    assert not cache


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-zA-Z-]{1,5}", fullmatch=True), st.text("ab ,;", max_size=4))
    )
)
def test_index_and_pairs_agree(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    for name in headers:
        joined = ("; " if name == "cookie" else ", ").join(headers.get_all(name))
        assert headers[name] == joined
    assert [value for _, value in headers.pairs()] == [value for _, value in pairs]


def test_filled_fields_stand_beside_others_but_for_the_media_type() -> None:
    headers = headers_of("text/plain", is_frozen=False)
    headers.fill([("X", "1"), ("content-type", "text/html"), ("x", "2")])
    headers.fill({"X": "3"})
    assert headers.pairs() == [
        ("content-type", "text/html"),
        ("X", "1"),
        ("X", "2"),
        ("X", "3"),
    ]


def test_fields_of_a_used_response_are_frozen() -> None:
    headers = headers_of(None, is_frozen=True)
    assert headers.pairs() == []
    with pytest.raises(LocalProtocolError, match="was sent"):
        headers["X"] = "y"
