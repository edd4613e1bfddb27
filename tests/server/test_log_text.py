"""Records as text: no text of a client ends one, or looks like another one."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.server.log_text import TextFormatter, cut, safe_line


def failed(message: str, error: Exception) -> logging.LogRecord:
    try:
        raise error
    except Exception:
        information = sys.exc_info()
    return logging.LogRecord(
        "microweb.error", logging.ERROR, __file__, 1, "%s", (message,), information
    )


def test_traceback_is_indented() -> None:
    lines = TextFormatter().format(failed("GET / failed", ValueError("no user"))).split("\n")
    assert lines[:2] == ["error: GET / failed", "    Traceback (most recent call last):"]
    assert lines[-1] == "    ValueError: no user"


def test_message_of_an_exception_forges_no_line() -> None:
    forged = "\r\nGET /admin 200 12B 0.1ms\x1b[31m\x85\u2028\u202e"
    lines = TextFormatter().format(failed("GET / failed", ValueError(forged))).split("\n")
    assert lines[-2] == r"    ValueError: \r"
    assert lines[-1] == r"    GET /admin 200 12B 0.1ms\x1b[31m\x85\u2028\u202e"


@given(st.text() | st.text("\0\b\t\n\v\f\r\x1b\x1c\x7f\x85\x9b\u200f\u2028\u2029\u2066\ud800a"))
def test_lines_behind_the_first_one_are_indented(text: str) -> None:
    line = safe_line(text)
    record = logging.makeLogRecord({"msg": text, "levelno": logging.INFO})
    assert line == TextFormatter().format(record)
    shown = line.encode(errors="backslashreplace").decode()
    assert len(shown.splitlines()) <= text.count("\n") + 1
    assert all(each.startswith("    ") for each in shown.split("\n")[1:])
    assert not set(shown) & set("\0\b\v\f\r\x1b\x1c\x7f\x85\x9b\u200f\u2028\u2029\u2066\ud800")


def test_usual_line_is_unchanged() -> None:
    line = "GET /übersicht\t200 5B 0.1ms ::1"
    assert safe_line(line) == line


@pytest.mark.parametrize("text", ["x", "\x01", "\n", "\U0001f600", "\ud800"])
def test_long_record_keeps_its_traceback_and_has_room(text: str) -> None:
    record = failed(text * 2_000_000, ValueError(f"no such user: {text * 1_500_000}"))
    line = TextFormatter().format(record)
    assert len(line.encode(errors="backslashreplace")) < 1 << 20
    assert line.count(" characters left out ... ") == 2
    assert '", line ' in line and "in failed" in line and "ValueError: no such user: " in line


def test_record_of_another_process_keeps_its_traceback() -> None:
    fields = {"msg": "failed", "exc_text": "Traceback\nKeyError", "stack_info": "Stack\nhere"}
    record = logging.makeLogRecord(fields | {"levelno": logging.ERROR, "levelname": "ERROR"})
    text = TextFormatter().format(record)
    assert text == "error: failed\n    Traceback\n    KeyError\n    Stack\n    here"


def test_cut_text_says_how_much_is_left_out() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 4) == "ab ... 3 characters left out ... fg"
    assert cut("a" * 1_234_577, 10) == "aaaaa ... 1,234,567 characters left out ... aaaaa"
