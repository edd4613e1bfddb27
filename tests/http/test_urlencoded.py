from __future__ import annotations

import subprocess
import sys
from urllib.parse import parse_qsl, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import TooManyFields
from microweb.http.urlencoded import (
    decode_path,
    encode_urlencoded,
    parse_urlencoded,
    percent_decode,
    percent_encode,
)

# Text in which separators, escapes (whole, broken, of any byte) and backslashes are frequent.
MESSY = st.lists(
    st.sampled_from(["&", "=", "+", "%", "%4", "%zz", "\\", "\\x41", ";", "a", "é", "😀"])
    | st.integers(0, 255).map("%{:02x}".format)
).map("".join)


def parse(text: str) -> list[tuple[str, str]]:
    return parse_urlencoded(text, max_fields=1000)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("=b", [("", "b")]),
        ("=", [("", "")]),
        ("a=b", [("a", "b")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("&&a=1&&", [("a", "1")]),
        ("a=1;b=2", [("a", "1;b=2")]),
        ("first+name=J+S", [("first name", "J S")]),
        ("a%3Db=%26%2B", [("a=b", "&+")]),
        ("J%c3%BCrgen=%F0%9F%98%80", [("Jürgen", "😀")]),
        ("é=ü", [("é", "ü")]),
    ],
)
def test_pairs_by_the_url_standard(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse(text) == pairs


@pytest.mark.parametrize("text", ["%", "%4", "%zz", "100%", "%%%", r"\x41", "%\\x41", "%é1"])
def test_a_broken_escape_stays_literal(text: str) -> None:
    assert parse(f"a={text}%21") == [("a", f"{text}!")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("%FF", "\ufffd"),
        ("%C3", "\ufffd"),
        ("%C3x", "\ufffdx"),
        ("%C0%AF", "\ufffd\ufffd"),
        ("%ED%A0%80", "\ufffd\ufffd\ufffd"),
        ("%E2%82x", "\ufffdx"),
        ("%EF%BB%BFx", "\ufeffx"),
    ],
)
def test_what_is_not_utf_8_is_replaced(text: str, value: str) -> None:
    assert parse(f"a={text}") == [("a", value)]


def test_max_fields_are_allowed() -> None:
    assert parse_urlencoded("a&b&c", max_fields=3) == [("a", ""), ("b", ""), ("c", "")]
    assert parse_urlencoded("", max_fields=0) == []


@pytest.mark.parametrize("text", ["a&b&c&d", "&&&", "a=1&&&b=2"])
def test_more_than_max_fields_is_a_400_even_if_empty(text: str) -> None:
    with pytest.raises(TooManyFields, match=r"^400 expected at most 3 fields, got more$") as caught:
        parse_urlencoded(text, max_fields=3)
    assert caught.value.status == 400


@given(MESSY)
def test_parsing_agrees_with_the_standard_library(text: str) -> None:
    assert parse(text) == parse_qsl(text, keep_blank_values=True, separator="&")


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_what_is_encoded_is_parsed_back(pairs: list[tuple[str, str]]) -> None:
    assert parse(encode_urlencoded(pairs)) == pairs


READ_WITHOUT_IMPORTS = """
import asyncio, sys
from microweb import App, Request

app = App()

@app.post("/{name}")
async def show(request: Request, name: str):
    form = await request.form()
    return f"{name} {request.query['a']} {form['b']}"

async def main():
    async with app.test_client() as client:
        known = {each for each in sys.modules if each.startswith("encodings.")}
        answer = await client.post("/%C3%BC?a=%C3%BC", data={"b": "\u00fc\\\\%"})
        assert answer.text == "\u00fc \u00fc \u00fc\\\\%", answer.text
        print(sorted({each for each in sys.modules if each.startswith("encodings.")} - known))

asyncio.run(main())
"""


def test_no_codec_is_imported_with_the_first_escape() -> None:
    """A process without its file system, as in a chroot, could not import a codec."""
    run = [sys.executable, "-c", READ_WITHOUT_IMPORTS]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_encode_urlencoded_takes_any_iterable() -> None:
    pairs = iter([("q", "a b&c"), ("q", "ü/")])
    assert encode_urlencoded(pairs) == "q=a+b%26c&q=%C3%BC%2F"


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("a+b", "a+b"),
        ("a%2Fb", "a/b"),
        ("%2e%2E", ".."),
        ("%C3%BC", "ü"),
        ("%00", "\0"),
        ("%25%34%31", "%41"),
        (r"\x41%5c\n", r"\x41\\n"),
        ("ü%20", "ü "),
    ],
)
def test_percent_decode(segment: str, text: str) -> None:
    assert percent_decode(segment) == text


@pytest.mark.parametrize(
    ("segment", "got"),
    [("%", "'%'"), ("a%4", "'%4'"), ("%zz%41", "'%zz'"), ("%41%%41", "'%%4'"), ("%é1", "'%é1'")],
)
def test_percent_decode_refuses_a_broken_escape(segment: str, got: str) -> None:
    with pytest.raises(ValueError) as caught:
        percent_decode(segment)
    assert str(caught.value) == f"expected two hexadecimal digits after %, got {got}"


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param("%FF", id="no lead byte"),
        pytest.param("%C3", id="cut"),
        pytest.param("%80", id="no lead byte before it"),
        pytest.param("%C0%AF", id="overlong"),
        pytest.param("%E0%80%AF", id="overlong of three"),
        pytest.param("%ED%A0%80", id="surrogate"),
        pytest.param("%F4%90%80%80", id="past U+10FFFF"),
    ],
)
def test_percent_decode_refuses_what_is_not_utf_8(segment: str) -> None:
    with pytest.raises(ValueError) as caught:
        percent_decode(segment)
    assert str(caught.value) == f"expected UTF-8, got {segment!r}"


def test_percent_decode_cuts_what_it_shows() -> None:
    with pytest.raises(ValueError) as caught:
        percent_decode("a" * 1000 + "%FF")
    assert str(caught.value) == f"expected UTF-8, got {'a' * 80!r}"


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("a-b_c.d~e", "a-b_c.d~e"),
        ("!$*,=:@", "!$*,=:@"),
        ("a/b", "a%2Fb"),
        ("a b", "a%20b"),
        ("50%", "50%25"),
        ("ü", "%C3%BC"),
        ("?#[]\\", "%3F%23%5B%5D%5C"),
        ("\"'<>&()+;", "%22%27%3C%3E%26%28%29%2B%3B"),
        ("\r\n\0", "%0D%0A%00"),
    ],
)
def test_percent_encode(text: str, segment: str) -> None:
    assert percent_encode(text) == segment


@given(st.text())
def test_a_segment_is_decoded_to_what_was_encoded(text: str) -> None:
    segment = percent_encode(text)
    assert segment.isascii() and "/" not in segment
    assert percent_decode(segment) == text


@given(MESSY)
def test_percent_decode_is_exact_or_a_value_error(segment: str) -> None:
    try:
        text = percent_decode(segment)
    except ValueError:
        return
    assert text == unquote_plus(segment.replace("+", "%2B"), errors="strict")


@pytest.mark.parametrize(
    ("raw_path", "prefix", "path"),
    [
        ("/a%20b/c", "", "/a b/c"),
        ("/admin/a%2Fb", "/admin", "/a/b"),
        ("/x/y/a", "/x/y", "/a"),
        ("/admin/", "/admin", "/"),
        ("/admin", "/admin", ""),
        ("*", "", "*"),
        ("/%zz%ff", "", "/%zz\ufffd"),
    ],
)
def test_path_is_decoded_without_its_prefix(raw_path: str, prefix: str, path: str) -> None:
    assert decode_path(raw_path, prefix) == path
