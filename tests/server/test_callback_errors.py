"""Errors of callbacks in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from microweb.concurrency.throttle import Throttle
from microweb.server import callback_errors
from microweb.server.callback_errors import log_callback_error


async def test_error_of_a_callback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    log_callback_error(loop, {"message": "a callback failed", "exception": ValueError("seven")})
    assert [record.getMessage() for record in caplog.records] == ["a callback failed"]
    assert "seven" in caplog.text


async def test_attempts_to_accept_are_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_errors, "_pauses", Throttle())
    context = {
        "message": "socket.accept() out of system resource",
        "exception": OSError(24, "Too many open files"),
    }
    for _ in range(100):
        log_callback_error(asyncio.get_running_loop(), context)
    expected = "new connections wait until they can be accepted: [Errno 24] Too many open files"
    assert [record.getMessage() for record in caplog.records] == [expected]


async def test_log_handler_that_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("the log is broken")

    logger, broken = logging.getLogger("asyncio"), Broken()
    logger.addFilter(broken)
    try:
        log_callback_error(asyncio.get_running_loop(), {"message": "a callback failed"})
    finally:
        logger.removeFilter(broken)
    assert "asyncio could not log 'a callback failed'" in caplog.text
