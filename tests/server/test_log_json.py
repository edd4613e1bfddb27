"""Records as objects: one line each, which nothing that a client sends can end."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from microweb.server.log_json import JSONFormatter, exception_fields, json_line


def record_of(name: str, message: object, *args: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger(name).makeRecord(
        name, logging.INFO, __file__, 1, message, args, None, extra=extra
    )


def members(record: logging.LogRecord) -> dict[str, Any]:
    line = JSONFormatter().format(record)
    assert "\n" not in line and line.isascii()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_record_has_its_time_level_message_and_attributes() -> None:
    record = record_of("shop", "sold %d", 3, order=5, parts=["a"])
    record.created = 1_700_000_000.25
    assert members(record) == {
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "severity": "INFO",
        "message": "sold 3",
        "logger": "shop",
        "process.pid": record.process,
        "order": 5,
        "parts": ["a"],
    }


def test_attributes_of_microweb_have_the_keys_of_opentelemetry() -> None:
    fields: dict[str, object] = {
        "method": "GET",
        "path": "/users/7",
        "target": "/users/7?token=secret",
        "route": "/users/{id}",
        "status": 200,
        "received": 30,
        "bytes": 100,
        "client": "192.0.2.1",
        "trace_id": "a" * 32,
        "request_id": None,
    }
    found = members(record_of("microweb.access", "line", **fields))
    assert {key: found[key] for key in list(found)[5:]} == {
        "http.request.method": "GET",
        "url.path": "/users/7",
        "http.route": "/users/{id}",
        "http.response.status_code": 200,
        "http.request.size": 30,
        "http.response.size": 100,
        "client.address": "192.0.2.1",
        "trace_id": "a" * 32,
    }
    assert "secret" not in json.dumps(found)


def test_exchange_without_a_request_has_no_member_about_it() -> None:
    fields = {"method": "-", "path": "-", "status": 0, "client": "-", "how": "refused:x"}
    found = members(record_of("microweb.access", "line", **fields))
    assert list(found)[5:] == ["microweb.how"]


def test_method_that_is_not_registered_is_other() -> None:
    found = members(record_of("microweb.access", "line", method="PURGE"))
    assert found["http.request.method"] == "_OTHER"
    assert found["http.request.method_original"] == "PURGE"


@pytest.mark.parametrize(
    "text",
    ['"}\n{"severity":"ERROR"', "a\r\nb", "\x00\x1b[31m", "\u2028\u2029\x85", "\udc80", "é", "\\"],
)
def test_no_text_ends_the_line_or_forges_another(text: str) -> None:
    found = members(record_of("shop", "got %s", text, **{text: text}))
    assert found["message"] == f"got {text}"
    assert found[text] == text
    assert found["severity"] == "INFO"


def test_attribute_does_not_replace_a_member_of_each_record() -> None:
    found = members(record_of("shop", "x", severity="forged", logger="forged", timestamp=1))
    assert (found["severity"], found["logger"]) == ("INFO", "shop")


def test_exception_is_in_its_members() -> None:
    try:
        raise LookupError("line\nend")
    except LookupError as error:
        record = record_of("shop", "failed")
        record.exc_info = sys.exc_info()
        found = members(record)
        assert exception_fields(error)["exception.type"] == "LookupError"
    assert (found["exception.type"], found["exception.message"]) == ("LookupError", "line\nend")
    assert found["exception.stacktrace"].startswith("Traceback (most recent call last):\n")


class Strange:
    def __str__(self) -> str:
        raise RuntimeError("a fault")

    __repr__ = __str__


class StrangeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("a fault")


def test_values_that_json_does_not_have_become_text() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    values = {"nan": float("nan"), "cycle": cycle, "bytes_": b"\xff", "long": 10**5000}
    for name, value in values.items():
        found = members(record_of("shop", "x", **{name: value}))
        assert isinstance(found[name], str), name
    assert members(record_of("shop", "x", key={(1, 2): 3}))["key"] == "{(1, 2): 3}"


def test_value_that_has_no_text_loses_only_the_attributes() -> None:
    found = members(record_of("shop", "kept", strange=Strange()))
    assert (found["message"], found["microweb.log_error"]) == ("kept", "RuntimeError")
    record = record_of("shop", "failed")
    record.exc_info = (StrangeError, StrangeError(), None)
    assert members(record)["exception.message"] == "<str() failed: RuntimeError>"


def test_arguments_that_do_not_fit_are_told() -> None:
    found = members(record_of("shop", "%d items", "no number"))
    assert found["message"].startswith("'%d items' with wrong arguments: ")


def test_line_of_the_console_is_an_object_too() -> None:
    line = json_line("ERROR", "x", {"code.line.number": 3}, logger="a", at=0.0, pid=7)
    assert json.loads(line) == {
        "timestamp": "1970-01-01T00:00:00.000000Z",
        "severity": "ERROR",
        "message": "x",
        "logger": "a",
        "process.pid": 7,
        "code.line.number": 3,
    }


def test_record_without_the_name_of_its_thread_has_no_such_member() -> None:
    record = record_of("shop", "sold")
    record.threadName = None
    assert "thread.name" not in members(record)


@pytest.mark.parametrize("text", ["x", "\x01", "\U0001f600", "\ud800", "\n"])
def test_long_record_keeps_its_traceback_and_has_room(text: str) -> None:
    record = record_of("shop", "%s", text * 1_100_000, whole=text * 1_100_000, order=5)
    try:
        raise ValueError(f"no such user: {text * 1_100_000}")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JSONFormatter().format(record)
    assert len(line) < 1 << 20
    found = json.loads(line)
    assert (found["order"], found["severity"]) == (5, "INFO")
    for key in ("message", "exception.message", "exception.stacktrace", "whole"):
        assert " characters left out ... " in found[key]
    assert "in test_long_record_keeps" in found["exception.stacktrace"]
    assert "ValueError: no such user: " in found["exception.stacktrace"]


@pytest.mark.parametrize("value", [["x" * 2_000_000], {"x" * 2_000_000: 1}])
def test_long_value_that_is_no_text_is_cut(value: object) -> None:
    found = members(record_of("shop", "sold", parts=value))
    assert " characters left out ... " in found["parts"] and found["message"] == "sold"


def test_record_of_too_many_members_keeps_the_usual_ones() -> None:
    extra = {f"key {number}": "x" * 20 for number in range(50_000)}
    record = record_of("shop", "sold", **extra)
    found = members(record)
    assert (found["message"], found["logger"]) == ("sold", "shop")
    assert found["microweb.log_error"] == "too many members"
    assert len(found) == 6
