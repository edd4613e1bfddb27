from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from microweb.logs import Log


class Failing(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("I/O operation on closed file")


def test_handler_that_raises_is_reported_by_the_last_resort(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log("microweb.tests")
    monkeypatch.setattr(log, "logger", logging.Logger("microweb.tests"))
    log.logger.addHandler(Failing())
    log.warning("a message")
    assert capsys.readouterr().err == (
        "a handler of the log failed: ValueError: I/O operation on closed file\n"
    )


def test_records_are_those_of_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    log = Log("microweb.tests")
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("failed %s", "here", extra={"request_id": "1"})
    (record,) = caplog.records
    assert (record.name, record.funcName, record.getMessage(), vars(record)["request_id"]) == (
        "microweb.tests",
        "test_records_are_those_of_the_caller",
        "failed here",
        "1",
    )
    assert record.exc_info is not None and record.exc_info[0] is KeyError


@pytest.fixture
def factory() -> Iterator[None]:
    """A factory of records that sets attributes of its own, as the logging cookbook shows."""
    usual = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = usual(*args, **kwargs)
        record.trace_id, record.route = "own trace", "own route"
        return record

    logging.setLogRecordFactory(make)
    yield
    logging.setLogRecordFactory(usual)


@pytest.mark.usefixtures("factory")
def test_value_of_the_applications_factory_wins(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log("microweb.tests")
    fields = {"route": "/", "request_id": "1", "trace_id": "t", "span_id": "s"}
    try:
        raise KeyError("k")
    except KeyError as error:
        log.error("failed", exc_info=error, extra=fields)
    (record,) = caplog.records
    found = vars(record)
    assert (found["route"], found["trace_id"]) == ("own route", "own trace")
    assert (found["request_id"], found["span_id"]) == ("1", "s")
    assert record.exc_info is not None and record.exc_info[0] is KeyError
    assert record.funcName == "test_value_of_the_applications_factory_wins"
    assert fields["route"] == "/"  # the caller's dict is unchanged
    assert capsys.readouterr().err == ""


def test_key_that_logging_itself_refuses_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    Log("microweb.tests").error("failed", extra={"message": "x", "name": "y", "order": 5})
    (record,) = caplog.records
    assert (record.getMessage(), record.name) == ("failed", "microweb.tests")
    assert vars(record)["order"] == 5


def test_key_error_of_a_handler_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Odd(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyError("route")

    log = Log("microweb.tests")
    monkeypatch.setattr(log, "logger", logging.Logger("microweb.tests"))
    log.logger.addHandler(Odd())
    log.warning("a message", extra={"route": "/"})
    assert capsys.readouterr().err == "a handler of the log failed: KeyError: 'route'\n"
