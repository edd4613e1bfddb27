"""The lines that are written without `logging` are those that `logging` writes."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answering import make_request

from microweb import App
from microweb.http.interfaces import Address
from microweb.http.request_head import RequestLine
from microweb.server import access_lines
from microweb.server.access_lines import fields_of, format_of, object_line, text_line
from microweb.server.log_json import JSONFormatter
from microweb.server.log_text import TextFormatter
from microweb.server.records import CLIENT_LEFT, DONE, REFUSED, STOPPED, ExchangeRecord

inner, app = App(), App()


@inner.get("/übersicht/{name}")
async def show(name: str) -> str:
    return name


app.mount("/api", inner)
app.freeze()

texts = (
    st.just("-")
    | st.text(st.characters(), max_size=40)
    | st.text('"\\\x00\x1b\r\n\u2028\ud800-%{', max_size=9)
)
long_texts = texts | st.builds(lambda text, times: text * times, texts, st.integers(1, 500))
times = st.floats(0.0, 1e6) | st.floats(0.0, 1e-6) | st.just(0.0)
sizes = st.integers(0, 1 << 40)
ids = st.none() | texts
odd_ids = ids | st.integers() | st.floats() | st.lists(st.integers(), max_size=2) | st.just(1 << 80)


@st.composite
def records(draw: st.DrawFn, request_ids: st.SearchStrategy[object] = ids) -> ExchangeRecord:
    request = None
    if draw(st.booleans()):
        request = make_request()
        method = draw(st.sampled_from(["GET", "POST", "PROPFIND", "BREW"]) | texts)
        path = draw(long_texts)
        request.line = RequestLine(method, draw(long_texts), path, "", None)
        if draw(st.booleans()):
            request.state.request_id = draw(request_ids)
        if draw(st.booleans()):
            exchange = request.exchange
            exchange.trace_id, exchange.span_id = draw(st.just((None, None)) | st.tuples(ids, ids))
        if draw(st.booleans()):
            found = make_request()
            found.line = RequestLine("GET", "/api/x", "/api/%C3%BCbersicht/x", "", None)
            request.match = app._frozen_dispatcher().match(found.line)
            assert request.match.route is not None
    client = draw(st.none() | st.builds(Address, texts, st.integers(0, 65535)))
    record = ExchangeRecord(request, client, draw(times))
    record.is_direct = True
    record.ended = record.begun + draw(times)
    for moment in ("handled", "first_byte"):
        if draw(st.booleans()):
            setattr(record, moment, record.begun + draw(times))
    record.received, record.sent = draw(sizes), draw(sizes)
    record.status = draw(st.sampled_from([0, 101, 200, 404, 500]))
    record.how = draw(st.sampled_from([DONE, CLIENT_LEFT, STOPPED, REFUSED + 'a "reason"']))
    return record


def logged(record: ExchangeRecord, at: float, thread: str | None = None) -> logging.LogRecord:
    """Return the record that `logging` would make at a time, in a thread."""
    fields = fields_of(record)
    logger = logging.Logger("microweb.access")
    made = logger.makeRecord(
        *(logger.name, logging.INFO, __file__, 1, format_of(record), (fields,), None),
        extra=fields,
    )
    made.created, made.threadName = at, thread or "MainThread"
    return made


@given(records(odd_ids))
def test_text_is_that_of_logging(record: ExchangeRecord) -> None:
    assert text_line(record) == TextFormatter().format(logged(record, 0.0))


@given(records(odd_ids), st.floats(0.0, 4e9), st.none() | texts.filter(bool))
def test_object_is_that_of_logging(record: ExchangeRecord, at: float, thread: str | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: at)
        line = object_line(record, thread)
    assert line.isascii() and line.isprintable()
    found: list[tuple[str, Any]] = json.loads(line, object_pairs_hook=list)
    wanted = json.loads(JSONFormatter().format(logged(record, at, thread)), object_pairs_hook=list)
    assert repr(found) == repr(wanted)  # NaN is not equal to itself
    assert dict(found)["process.pid"] == os.getpid()


def test_usual_object_does_without_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_lines, "ours_line", None)
    request = make_request()
    request.state.request_id = "abc"
    request.exchange.trace_id, request.exchange.span_id = "a" * 32, "b" * 16
    record = ExchangeRecord(request, Address("192.0.2.1", 5000), 1.0)
    record.handled, record.first_byte, record.ended = 1.0015, 1.0020004, 11.5
    record.received, record.sent, record.status, record.is_direct = 80, 115, 200, True
    found = json.loads(object_line(record, None))
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "severity": "INFO",
        "message": "GET /page 200 115B 10500.0ms 192.0.2.1 abc",
        "logger": "microweb.access",
        "process.pid": os.getpid(),
        "http.request.method": "GET",
        "url.path": "/page",
        "http.response.status_code": 200,
        "http.request.size": 80,
        "http.response.size": 115,
        "microweb.duration_ms": 10500.0,
        "microweb.first_byte_ms": 2.0,
        "microweb.handler_ms": 1.5,
        "client.address": "192.0.2.1",
        "microweb.request_id": "abc",
        "trace_id": "a" * 32,
        "span_id": "b" * 16,
        "microweb.how": "done",
    }
