from __future__ import annotations

import asyncio
import logging

import pytest
from support.answering import make_request

from microweb import App
from microweb.middleware.health import Health
from microweb.middleware.request_id import RequestID
from microweb.server import access_log as access
from microweb.server.access_log import access_log_shown, access_logger, is_access_logged
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
    async with app.serve(host="127.0.0.1", port=0, access_log=True) as server:
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
    assert 0 <= fields["ms"] < 10_000
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


def test_records_are_made_where_logging_takes_them(logger: logging.Logger) -> None:
    logger.setLevel("INFO")
    assert not is_access_logged()  # records would go nowhere
    assert make_server(App(), {}).state.observers == ()
    logger.addHandler(Collector())
    assert make_server(App(), {}).state.observers
    assert make_server(App(), {"access_log": False}).state.observers == ()


def test_no_record_is_made_where_logging_was_not_set_up() -> None:
    assert make_server(App(), {}).state.observers == ()


def test_terminal_makes_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert make_server(App(), {}).state.observers


def test_records_are_shown_where_nothing_takes_them(logger: logging.Logger) -> None:
    handler = Collector()
    with access_log_shown(handler):
        assert logger.handlers == [handler]
        assert logger.isEnabledFor(logging.INFO)
        with access_log_shown(Collector()):
            assert logger.handlers == [handler]
    assert logger.handlers == []


def test_own_set_up_is_left_alone(logger: logging.Logger) -> None:
    collector = Collector()
    logger.addHandler(collector)
    logger.setLevel("ERROR")
    with access_log_shown(Collector()):
        assert logger.handlers == [collector]
    assert (logger.handlers, logger.level) == ([collector], logging.ERROR)


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
