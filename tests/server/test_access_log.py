from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
from support.answering import make_request

from microweb import App, Request
from microweb.middleware.health import Health
from microweb.middleware.request_id import RequestID
from microweb.server import access_log as access
from microweb.server.access_log import access_logger, show_access_log, wants_access_log
from microweb.server.log_setup import JSONHandler
from microweb.server.process import make_server
from microweb.server.records import ExchangeRecord


@pytest.fixture(autouse=True)
def logger(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The logger as in an application: without pytest's own handlers."""
    own = logging.Logger("microweb.access")
    own.parent = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(access._log, "logger", own)
    return own


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def ask(
    app: App, logger: logging.Logger, request: bytes
) -> tuple[bytes, list[logging.LogRecord]]:
    """Return the bytes received until the server closes, and the access records."""
    collector = Collector()
    logger.addHandler(collector)
    logger.setLevel("INFO")
    async with app.serve(host="127.0.0.1", port=0, log="text") as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request)
        answer = await reader.read()
        writer.close()
    return answer, collector.records


def hello_app() -> App:
    app = App()

    @app.get("/{name}")
    async def hello(name: str) -> str:
        return f"hello {name}"

    @app.get("/")
    async def fail() -> str:
        raise RuntimeError("a fault")

    return app


async def test_record_has_its_fields_as_attributes(logger: logging.Logger) -> None:
    request = b"GET /bob%20b?secret=1 HTTP/1.0\r\nHost: x\r\n\r\n"
    answer, (record,) = await ask(hello_app(), logger, request)
    fields = vars(record)
    assert {name: fields[name] for name in ("method", "path", "status", "bytes", "client")} == {
        "method": "GET",
        "path": "/bob%20b",
        "status": 200,
        "bytes": len(answer),
        "client": "127.0.0.1",
    }
    assert (fields["target"], fields["route"]) == ("/bob%20b?secret=1", "/{name}")
    assert (fields["received"], fields["how"]) == (len(request), "done")
    assert 0 <= fields["handler_ms"] <= fields["first_byte_ms"] <= fields["ms"] < 10_000
    assert fields["trace_id"] is fields["span_id"] is None
    assert (record.name, record.levelname) == ("microweb.access", "INFO")


async def test_line_has_method_path_status_bytes_milliseconds_client(
    logger: logging.Logger,
) -> None:
    answer, (record,) = await ask(hello_app(), logger, b"GET /bob HTTP/1.0\r\nHost: x\r\n\r\n")
    ms = vars(record)["ms"]
    assert record.getMessage() == f"GET /bob 200 {len(answer)}B {ms:.1f}ms 127.0.0.1"


async def test_line_ends_with_the_id_of_a_request_that_has_one(logger: logging.Logger) -> None:
    app = hello_app()
    app.use(RequestID())
    request = b"GET /bob HTTP/1.0\r\nHost: x\r\nX-Request-ID: abc\r\n\r\n"
    _, (record,) = await ask(app, logger, request)
    assert vars(record)["request_id"] == "abc"
    assert record.getMessage().endswith("ms 127.0.0.1 abc")
    _, (record,) = await ask(hello_app(), logger, request)
    assert vars(record)["request_id"] is None
    assert record.getMessage().endswith("ms 127.0.0.1")


async def test_each_exchange_of_a_connection_is_a_record(logger: logging.Logger) -> None:
    request = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nHEAD /b HTTP/1.0\r\nHost: x\r\n\r\n"
    answer, records = await ask(hello_app(), logger, request)
    fields = [vars(record) for record in records]
    assert [(each["method"], each["path"]) for each in fields] == [("GET", "/a"), ("HEAD", "/b")]
    assert sum(each["bytes"] for each in fields) == len(answer)


async def test_faults_are_recorded_too(logger: logging.Logger) -> None:
    request = b"GET /a/b HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\nHost: x\r\n\r\n"
    _, records = await ask(hello_app(), logger, request)
    assert [vars(record)["status"] for record in records] == [404, 500]


async def test_streamed_answer_is_counted(logger: logging.Logger) -> None:
    app = App()

    @app.get("/")
    async def count():  # type: ignore[no-untyped-def]
        for number in range(3):
            yield str(number) * 1000

    answer, (record,) = await ask(app, logger, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
    assert vars(record)["bytes"] == len(answer) > 3000


def test_auto_makes_records_if_logging_takes_them(logger: logging.Logger) -> None:
    logger.setLevel("INFO")
    assert not wants_access_log("auto")  # records would go nowhere
    assert make_server(App(), {}).state.observers == ()
    logger.addHandler(Collector())
    assert wants_access_log("auto")
    assert len(make_server(App(), {}).state.observers) == 1


def test_auto_makes_no_record_if_logging_is_not_set_up() -> None:
    assert make_server(App(), {}).state.observers == ()


def test_auto_makes_records_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert wants_access_log("auto")


def test_other_forms_do_not_depend_on_logging(logger: logging.Logger) -> None:
    assert wants_access_log("text") and wants_access_log("json")
    logger.addHandler(Collector())
    logger.setLevel("INFO")
    assert not wants_access_log("off")
    assert make_server(App(), {"log": "off"}).state.observers == ()


def test_level_of_the_application_is_left_alone(logger: logging.Logger) -> None:
    show_access_log()
    assert logger.level == logging.INFO
    logger.setLevel("ERROR")
    show_access_log()
    assert logger.level == logging.ERROR


def test_logger_that_is_off_costs_no_record(logger: logging.Logger) -> None:
    logger.addHandler(collector := Collector())
    logger.setLevel("WARNING")
    access_logger()(ExchangeRecord(make_request(), None, 0.0))
    assert collector.records == []


async def test_exchange_that_is_not_to_be_logged_is_left_out(logger: logging.Logger) -> None:
    app = hello_app()
    app.use(Health())
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /bob HTTP/1.0\r\nHost: x\r\n\r\n"
    answer, records = await ask(app, logger, request)
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert [vars(record)["path"] for record in records] == ["/bob"]


async def test_line_names_an_unusual_end(logger: logging.Logger) -> None:
    answer, (record,) = await ask(hello_app(), logger, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    fields = vars(record)
    assert (fields["method"], fields["path"], fields["target"]) == ("-", "-", "-")
    assert (fields["status"], fields["bytes"], fields["handler_ms"]) == (400, len(answer), None)
    assert fields["how"].startswith("refused:")
    assert record.getMessage().startswith(f"- - 400 {len(answer)}B ")
    assert record.getMessage().endswith(f"ms 127.0.0.1 ({fields['how']})")


async def test_ids_of_a_trace_are_attributes(logger: logging.Logger) -> None:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        request.exchange.trace_id, request.exchange.span_id = "a" * 32, "b" * 16
        return ""

    _, (record,) = await ask(app, logger, b"GET / HTTP/1.0\r\n\r\n")
    assert (vars(record)["trace_id"], vars(record)["span_id"]) == ("a" * 32, "b" * 16)


async def test_handler_that_raises_does_not_end_the_connection(logger: logging.Logger) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("a fault of a handler")

    logger.addHandler(Failing())
    raw = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.0\r\nHost: x\r\n\r\n"
    answer, _ = await ask(hello_app(), logger, raw)
    assert answer.count(b"HTTP/1.1 200 ") == 2


async def test_value_of_the_applications_factory_wins(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.route, record.status = "own route", "own status"
        return record

    logging.setLogRecordFactory(make)
    try:
        _, (record,) = await ask(hello_app(), logger, b"GET /bob HTTP/1.0\r\nHost: x\r\n\r\n")
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert (vars(record)["route"], vars(record)["status"]) == ("own route", "own status")
    assert record.getMessage().startswith("GET /bob 200 ")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["MainThread", "web"])
def test_objects_name_a_thread_that_is_not_the_main_one(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lines = list[str]()
    handler = JSONHandler()
    monkeypatch.setattr(handler, "put", lines.append, raising=False)
    assert logger.parent is not None
    logger.parent.addHandler(handler)
    logger.setLevel("INFO")

    def serve() -> None:
        log = access_logger()
        log(ExchangeRecord(make_request(), None, 0.0))  # without a LogRecord
        logger.addHandler(logging.NullHandler())
        log(ExchangeRecord(make_request(), None, 0.0))  # by `logging`

    thread = threading.Thread(target=serve, name=name)
    thread.start()
    thread.join()
    found = [json.loads(line).get("thread.name") for line in lines]
    assert found == [None if name == "MainThread" else name] * 2
