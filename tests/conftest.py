"""Configuration of all tests.

TEST_LOOP=asyncio (or uvloop) chooses the event loop. TEST_JSON=json tests as if
msgspec, which reads and writes JSON if it is installed, were not there for that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import settings

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

settings.register_profile("untimed", deadline=None)  # times vary with the load of the machine
settings.load_profile("untimed")

LOOP = os.environ.get("TEST_LOOP", "asyncio")
JSON = os.environ.get("TEST_JSON", "msgspec")

# A shell makes its background processes ignore SIGINT, and so do the programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories() -> Mapping[str, LoopFactory]:
    """Return the event loop factory; pytest-asyncio calls this."""
    if LOOP == "uvloop":
        import uvloop

        return {LOOP: uvloop.new_event_loop}
    if LOOP != "asyncio":
        raise pytest.UsageError(f"TEST_LOOP: expected asyncio or uvloop, got {LOOP!r}")
    return {LOOP: asyncio.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def json_without_msgspec() -> None:
    if JSON == "json":
        from microweb.bodies import json_msgspec  # not above: coverage begins after the import

        json_msgspec.import_codec = lambda: None
        json_msgspec.msgspec_codec.cache_clear()


def pytest_report_header() -> str:
    return f"event loop: {LOOP}, JSON by: {JSON}"


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape lone surrogates in reports, because pytest-xdist sends them as UTF-8."""
    report = yield
    return _without_surrogates(report)


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(item) for item in value]
    return value


@pytest.fixture
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that has logged a warning or an error."""
    caplog.set_level(logging.WARNING)
    yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []
