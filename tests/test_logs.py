from __future__ import annotations

import logging

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
