from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.http import grammar
from microweb.http.grammar import without_escapes

EVERY_BYTE = [bytes([i]) for i in range(256)]


def taken(pattern: re.Pattern[bytes], *, before: bytes = b"", behind: bytes = b"") -> bytes:
    """Return every byte that the pattern matches between the two."""
    return b"".join(b for b in EVERY_BYTE if pattern.fullmatch(before + b + behind))


def test_a_token_is_of_tchars() -> None:
    assert taken(grammar.TOKEN) == (
        b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~"
    )
    assert not grammar.TOKEN.fullmatch(b"")


def test_a_token_as_text_is_the_same() -> None:
    for byte in EVERY_BYTE:
        as_text = grammar.TOKEN_TEXT.fullmatch(byte.decode("latin-1"))
        assert bool(as_text) is bool(grammar.TOKEN.fullmatch(byte))
    assert not grammar.TOKEN_TEXT.fullmatch("a\n")
    assert not grammar.TOKEN_TEXT.fullmatch("\N{KELVIN SIGN}")


def test_a_field_value_holds_no_control_byte_but_the_tab() -> None:
    allowed = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
    assert taken(grammar.FIELD_LINE, before=b"X:a", behind=b"b") == allowed
    text = "".join(chr(i) for i in range(0x300) if grammar.FIELD_VALUE_TEXT.fullmatch(chr(i)))
    assert text == allowed.decode("latin-1")
    assert grammar.FIELD_VALUE_TEXT.fullmatch("")
    assert not grammar.FIELD_VALUE_TEXT.fullmatch("a\n")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (b"Host: a", b"Host", b"a"),
        (b"Host:a", b"Host", b"a"),
        (b"Host: \t a \t", b"Host", b"a \t"),  # the caller strips the end
        (b"Host:", b"Host", b""),
        (b"Host: ", b"Host", b""),
        (b"X: a: b", b"X", b"a: b"),
        (b"X::", b"X", b":"),
    ],
)
def test_a_field_line_has_name_and_value(line: bytes, name: bytes, value: bytes) -> None:
    match = grammar.FIELD_LINE.fullmatch(line)
    assert match is not None
    assert match.groups() == (name, value)


@pytest.mark.parametrize("line", [b"", b":", b": a", b"Host", b"Host : a", b" Host: a", b"X: a\r"])
def test_what_is_no_field_line(line: bytes) -> None:
    assert not grammar.FIELD_LINE.fullmatch(line)


def test_a_request_line_has_method_target_and_version() -> None:
    match = grammar.REQUEST_LINE.fullmatch(b"GET /a?b=c HTTP/1.1")
    assert match is not None
    assert match.groups() == (b"GET", b"/a?b=c", b"1", b"1")


def test_a_target_is_visible_ascii_without_a_fragment() -> None:
    visible = bytes(range(0x21, 0x7F)).replace(b"#", b"")
    assert taken(grammar.REQUEST_LINE, before=b"GET /", behind=b" HTTP/1.1") == visible


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a\nb", 1),
        (b"\n", 0),
        (b"a\rb", 1),
        (b"a\r\rb", 1),
        (b"a\r\n\n", 3),
        (b"a\r\r\n", 1),
        (b"a\r\nb\r\n", None),
        (b"a\r", None),  # a LF may follow
        (b"\r\n\r\n", None),
    ],
)
def test_a_bare_cr_or_lf_is_found(data: bytes, place: int | None) -> None:
    match = grammar.BARE_CR_OR_LF.search(data)
    assert (match.start() if match else None) == place


def test_a_bare_lf_is_not_one_behind_a_cr_that_was_searched_before() -> None:
    assert not grammar.BARE_CR_OR_LF.search(b"a\r\nb", 2)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("http://a", ("a", "", "")),
        ("HTTPS://a:80/", ("a:80", "/", "")),
        ("http://a?b", ("a", "", "b")),
        ("http://a/b?c?d/e", ("a", "/b", "c?d/e")),
        ("http:///b", ("", "/b", "")),
    ],
)
def test_an_absolute_form_has_authority_path_and_query(
    target: str, parts: tuple[str, str, str]
) -> None:
    match = grammar.ABSOLUTE_FORM.fullmatch(target)
    assert match is not None
    assert match.groups() == parts


@pytest.mark.parametrize(
    "target", ["", "/", "a", "http:", "http:/a", "ftp://a", "xhttp://a", "://a"]
)
def test_what_is_no_absolute_form(target: str) -> None:
    assert not grammar.ABSOLUTE_FORM.fullmatch(target)


@pytest.mark.parametrize(
    "host", ["a", "a.", "a:80", "a:", "1.2.3.4", "[::1]", "[::1]:80", "a_b", "%41"]
)
def test_what_is_a_host(host: str) -> None:
    assert grammar.HOST.fullmatch(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":",
        ":80",
        "a:b",
        "a:8:8",
        "a:123456",
        "a,b",
        "a b",
        "a/b",
        "a@b",
        "[::1",
        "::1",
        "[]",
        "[a]b",
        "\xe9",
        "a\n",
    ],
)
def test_what_is_no_host(host: str) -> None:
    assert not grammar.HOST.fullmatch(host)


@pytest.mark.parametrize("length", ["0", "5", "0005", "9" * 40])
def test_a_length_is_of_digits(length: str) -> None:
    assert grammar.CONTENT_LENGTH.fullmatch(length)


@pytest.mark.parametrize(
    "length",
    ["", "-1", "+1", "1 ", " 1", "1\n", "1,1", "1_0", "0x1", "\N{ARABIC-INDIC DIGIT ONE}", "\xb2"],
)
def test_a_length_is_of_nothing_else(length: str) -> None:
    assert not grammar.CONTENT_LENGTH.fullmatch(length)


@pytest.mark.parametrize(
    "line",
    [b"0", b"ffFF", b"5;a", b"5;a=b;c", b'5;a="b;c \\" d"', b'5;a=""', b'5;a="\t\xff"'],
)
def test_what_is_a_chunk_line(line: bytes) -> None:
    match = grammar.CHUNK_LINE.fullmatch(line)
    assert match is not None
    assert b"".join(match.groups()) == line


@pytest.mark.parametrize(
    "line",
    [b"", b"g", b"-1", b"0x1", b"1 ", b"1;", b"1; a", b"1;a =b", b"1;=b", b'1;a="', b'1;"a"'],
)
def test_what_is_no_chunk_line(line: bytes) -> None:
    assert not grammar.CHUNK_LINE.fullmatch(line)


@pytest.mark.parametrize(
    ("text", "place"), [("%", 0), ("a%4", 1), ("%zz", 0), ("%41%4", 3), ("%41", None)]
)
def test_a_bad_escape_is_found(text: str, place: int | None) -> None:
    match = grammar.BAD_ESCAPE.search(text)
    assert (match.start() if match else None) == place


@pytest.mark.parametrize("name", ["GET", "PURGE", "purge", "Purge", "X-1", "!"])
def test_a_token_is_a_method(name: str) -> None:
    assert grammar.is_method(name)


@pytest.mark.parametrize("name", ["", "get", "Post", "propfind", "A B", "A:", "É", "A\r\n"])
def test_a_slip_is_none(name: str) -> None:
    assert not grammar.is_method(name)


def test_the_methods_are_tokens_in_capitals() -> None:
    assert {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"} < grammar.METHODS
    assert "PRI" not in grammar.METHODS
    assert "*" not in grammar.METHODS
    for method in grammar.METHODS:
        assert grammar.TOKEN_TEXT.fullmatch(method)
        assert method == method.upper()


def test_a_quantifier_over_characters_is_possessive() -> None:
    for name, pattern in vars(grammar).items():
        if isinstance(pattern, re.Pattern):
            text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode()
            text = re.sub(r"\\.|\[(?:\\.|[^]\\])*\]", "x", text)  # no quantifiers in there
            lazy_or_greedy = re.findall(r"(?<=[\w.])(?:[*+](?!\+)|[*+?]\?)", text)
            assert not lazy_or_greedy, f"{name} steps back: {text}"
            assert not re.findall(r"\)(?:[*+?]\+|\{[^}]*\}\+)", text), f"{name} fails on 3.11.2"


# https://www.iana.org/assignments/http-methods, without PRI and *
REGISTERED = """
ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE
MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND
PROPPATCH PUT QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE
UPDATEREDIRECTREF VERSION-CONTROL
"""


def test_the_methods_are_those_of_the_registry() -> None:
    assert set(REGISTERED.split()) == grammar.METHODS


@given(st.lists(st.sampled_from(["a", '\\"', "\\\\", "\\a"]), max_size=12).map("".join))
def test_text_without_escapes_is_that_of_the_regex(text: str) -> None:
    assert without_escapes(text) == re.sub(r"\\(.)", r"\1", text)
