"""The log of a whole service: its form, its streams, and readers that do not read."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.log_objects import LogObjects
from support.processes import DEADLINE_S, ENVIRONMENT, connect, get
from support.supervising import pids_in

from microweb.server.log_setup import JSONHandler, LogHandler, direct_handler, logging_configured
from microweb.server.log_writer import LogWriter

APP = """
import logging, os, sys, threading, warnings
from microweb import App, Request
from microweb.server.lines import dropped

app = App()
shop = logging.getLogger("shop")

@app.get("/")
async def index() -> str:
    return f"{os.getpid()}"

@app.get("/users/{id}")
async def user(id: int) -> str:
    shop.debug("not shown")
    shop.info("user %d", id, extra={"order": 5})
    return "a user"

@app.get("/fail")
async def fail() -> str:
    raise ValueError('forged"}\\n{"severity":"INFO"}' + "x" * 20_000)

@app.get("/odd")
async def odd() -> str:
    warnings.warn("a warning", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="worker of the app")
    thread.start()
    thread.join()
    return "odd"

@app.get("/dropped")
async def lost() -> str:
    return str(dropped.count)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "shop.py"
    path.write_text(APP)
    return path


class Service:
    """`microweb run`, with its URL and the objects on its stdout."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.log = LogObjects(process.stdout)

    def url(self) -> str:
        return str(self.log.message("listening on")["message"].split()[2])

    def end(self) -> int:
        """Stop the service; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE_S)
        self.log.join()
        return status


@contextmanager
def running(script: Path, *arguments: str) -> Iterator[Service]:
    command = [sys.executable, "-m", "microweb", "run", str(script), "--port", "0", *arguments]
    with (script.parent / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            command,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
        )
    with process:
        service = Service(process)
        try:
            yield service
        finally:
            if process.poll() is None:
                process.kill()
            service.log.join()


def raw(url: str, data: bytes) -> bytes:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), DEADLINE_S) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_all_lines_of_a_service_are_objects(script: Path, workers: str) -> None:
    with running(script, "--log", "json", "--workers", workers) as service:
        url = service.url()
        assert get(url, "/users/7?token=secret") == (200, "a user")
        assert get(url, "/fail")[0] == 500
        assert get(url, "/odd") == (200, "odd")
        target = "/" + '%22"' * 10 + "x" * 10_000
        assert raw(url, f"GET {target} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 404 ")
        assert raw(url, b"GET\t/ \x1b\xff\n\r\n\r\n").startswith(b"HTTP/1.1 400 ")

        def access(path: str) -> dict[str, Any]:
            return service.log.wait_for(lambda each: each.get("url.path") == path)

        found = access("/users/7")
        assert (found["http.route"], found["http.response.status_code"]) == ("/users/{id}", 200)
        assert access(target)["http.response.status_code"] == 404
        own = service.log.message("user 7")
        assert (own["logger"], own["severity"], own["order"]) == ("shop", "INFO", 5)
        error = service.log.of("microweb.error")
        assert error["exception.type"] == "ValueError"
        assert "in fail" in error["exception.stacktrace"]
        assert service.log.message("a warning")["logger"] == "py.warnings"
        failed = service.log.message("worker of the app")
        assert (failed["severity"], failed["exception.type"]) == ("CRITICAL", "ZeroDivisionError")
        refusal = service.log.of("microweb.protocol")
        assert refusal["microweb.refusal.first_bytes"] == r"GET\t/ \x1b\xff"
        how = f"refused:{refusal['microweb.refusal.reason']}"
        assert service.log.wait_for(lambda each: each.get("microweb.how") == how)
        if workers == "2":
            pid = pids_in(service.log.message("listening on")["message"])[0]
            service.log.killed = 1
            os.kill(pid, signal.SIGKILL)
            crash = service.log.message(f"worker {pid} was killed by SIGKILL")
            assert (crash["severity"], crash["process.pid"]) == ("ERROR", service.process.pid)
            service.log.message(" is ready")
        assert service.end() == 0
    assert (script.parent / "stderr").read_text() == ""
    text = json.dumps(service.log.found)
    assert "secret" not in text and "not shown" not in text


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["shop.py", "--log", "json", "--workers", "0"], 2, "workers: expected an int"),
        (["shop.py", "--log=json", "--what"], 2, "--what is not an option of microweb run"),
        (["nothing.py", "--log", "json"], 1, "there is no file nothing.py"),
        (["shop.py", "--log", "json", "--bind", "192.0.2.1:80"], 1, "192.0.2.1"),
        (["broken.py", "--log", "json", "--port", "0"], 3, "broken.py can't be read"),
        (["raising.py", "--log", "json", "--port", "0"], 3, "the program ends with an exception"),
    ],
)
def test_fault_at_the_start_is_one_object(
    script: Path, arguments: list[str], status: int, part: str
) -> None:
    (script.parent / "broken.py").write_text("def")
    (script.parent / "raising.py").write_text("raise LookupError('no settings')")
    command = [sys.executable, "-m", "microweb", "run", *arguments]
    ended = subprocess.run(
        command, env=ENVIRONMENT, cwd=script.parent, capture_output=True, timeout=DEADLINE_S
    )
    (line,) = ended.stdout.splitlines()
    found = json.loads(line)
    assert part in found["message"]
    assert found["severity"] in ("ERROR", "CRITICAL")
    assert (ended.returncode, ended.stderr) == (status, b"")


def test_variable_asks_for_objects_too(script: Path) -> None:
    for arguments in (["shop.py", "--port", "x"], ["shop.py", "--port", "70000"]):
        ended = subprocess.run(
            [sys.executable, "-m", "microweb", "run", *arguments],
            env=ENVIRONMENT | {"MICROWEB_LOG": "json"},
            cwd=script.parent,
            capture_output=True,
            timeout=DEADLINE_S,
        )
        assert json.loads(ended.stdout)["severity"] == "ERROR"
        assert (ended.returncode, ended.stderr) == (2, b"")


def test_run_in_a_program_writes_objects_too(script: Path) -> None:
    program = script.with_name("program.py")
    program.write_text(f"{APP}\napp.run(port=70000, log='json')\n")
    ended = subprocess.run(
        [sys.executable, str(program)], env=ENVIRONMENT, capture_output=True, timeout=DEADLINE_S
    )
    assert json.loads(ended.stdout)["message"].startswith("port: expected an int")
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_logging_of_the_application_gets_the_records(script: Path) -> None:
    script.write_text(f"import logging\nlogging.basicConfig(level='WARNING')\n{APP}")
    with running(script, "--log", "json") as service:
        url = service.url()
        assert get(url, "/fail")[0] == 500
        assert get(url, "/users/7")[0] == 200
        assert service.end() == 0
    text = (script.parent / "stderr").read_text()
    assert "ERROR:microweb.error:GET /fail failed" in text
    assert "INFO:microweb.access:GET /users/7 200 " in text
    assert "user 7" not in text  # the level is the application's
    assert {each["logger"] for each in service.log.found} == {"microweb.console"}


def test_level_leaves_out_what_is_below(script: Path) -> None:
    with running(script, "--log", "json", "--log-level", "warning") as service:
        url = service.url()
        assert get(url, "/users/7")[0] == 200
        service.log.of("microweb.access")
        assert service.end() == 0
    assert "shop" not in {each["logger"] for each in service.log.found}


def test_text_goes_to_stderr(script: Path) -> None:
    command = [sys.executable, "-m", "microweb", "run", str(script), "--port", "0", "--log", "text"]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().split()[3]
        assert get(url, "/users/7")[0] == 200
        process.send_signal(signal.SIGTERM)
        lines = process.stderr.read().splitlines()
        assert process.stdout.read() == ""
    assert lines[0] == "user 7"
    assert lines[1].startswith("GET /users/7 200 ")


@pytest.mark.parametrize("form", ["text", "json"])
def test_text_of_a_client_forges_no_line_and_loses_none(script: Path, form: str) -> None:
    echo = "@app.post('/echo')\nasync def echo(request: Request) -> str:\n"
    script.write_text(f"{APP}\n{echo}    raise LookupError(await request.text())\n")
    command = [sys.executable, "-m", "microweb", "run", str(script), "--port", "0", "--log", form]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        url = "http://" + process.stdout.readline().decode().split("http://")[1].split()[0]
        for body in (b"\r\nGET /admin 200 12B 0.1ms\x1b[31m", b"x" * 1_050_000):
            head = f"POST /echo HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
            assert raw(url, head.encode() + body).startswith(b"HTTP/1.1 500 ")
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=DEADLINE_S)
    log = (errors if form == "text" else out).decode()
    lines = [line for line in log.split("\n") if not line.startswith("    ")]
    assert [line for line in lines if line.startswith("GET ")] == []
    assert log.count("POST /echo failed") == log.count("raise LookupError") == 2
    assert "characters left out" in log and "dropped" not in log
    assert "\r" not in log and "\x1b" not in log


# --- readers that do not read


def until_dropped(url: str) -> int:
    """Ask until the service has dropped a line; return how many it has."""
    connection = connect(url)
    ends_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at:
        for path in ("/fail", "/dropped"):
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read()
        if int(text):
            connection.close()
            return int(text)
    raise AssertionError("no line was dropped")


@contextmanager
def serving_to(script: Path, stdout: int) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "microweb", "run", str(script), "--log", "json"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], env=ENVIRONMENT, stdout=stdout
    )
    try:
        url = f"http://127.0.0.1:{port}"
        ends_at = time.monotonic() + DEADLINE_S
        while True:
            try:
                get(url)
                break
            except ConnectionRefusedError:
                assert process.poll() is None and time.monotonic() < ends_at
                time.sleep(0.01)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)


def test_full_disk_loses_lines_and_no_request(script: Path) -> None:
    with open("/dev/full", "wb") as full, serving_to(script, full.fileno()) as url:
        assert until_dropped(url) > 0


def test_pipe_that_nobody_reads_loses_lines_and_no_request(script: Path) -> None:
    reading, writing = os.pipe()
    try:
        with serving_to(script, writing) as url:
            assert until_dropped(url) > 0
    finally:
        os.close(reading)
        os.close(writing)


def test_pipe_that_is_closed_loses_lines_and_no_request(script: Path) -> None:
    reading, writing = os.pipe()
    try:
        with serving_to(script, writing) as url:
            os.close(reading)
            assert until_dropped(url) > 0
    finally:
        os.close(writing)


def test_long_tracebacks_of_two_workers_reach_a_slow_reader_whole(script: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 4096)  # full nearly always
    command = [sys.executable, "-m", "microweb", "run", str(script), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--log", "json", "--workers", "2"], env=ENVIRONMENT, stdout=writing
    )
    os.close(writing)
    count, lines = 40, list[bytes]()
    with process, open(reading, "rb", buffering=1000) as log:
        while not lines or b"listening on" not in lines[-1]:
            lines.append(log.readline())
        url = json.loads(lines[-1])["message"].split()[2]
        asking = [threading.Thread(target=_fail, args=(url, count // 4)) for _ in range(4)]
        for thread in asking:
            thread.start()
        reader = threading.Thread(target=lambda: lines.extend(log))
        reader.start()
        for thread in asking:
            thread.join(DEADLINE_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        reader.join(DEADLINE_S)
    errors = [each for each in map(json.loads, lines) if each["logger"] == "microweb.error"]
    assert len(errors) == count
    assert len({each["process.pid"] for each in errors}) == 2
    assert min(len(each["exception.stacktrace"]) for each in errors) > 20_000


def _fail(url: str, count: int) -> None:
    for _ in range(count):  # each on a connection of its own, so that both workers get some
        assert get(url, "/fail")[0] == 500


# --- the root logger


def test_root_logger_is_configured_only_without_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(logging, "getLogger", lambda: root)
    handler, own = logging.NullHandler(), logging.NullHandler()
    with logging_configured(handler, "debug"):
        assert (root.handlers, root.level) == ([handler], logging.DEBUG)
        with logging_configured(own, "error"):
            assert (root.handlers, root.level) == ([handler], logging.DEBUG)
    assert (root.handlers, root.level) == ([], logging.WARNING)


@pytest.fixture
def text_handler() -> Iterator[LogHandler]:
    with open(os.devnull, "wb") as nowhere:
        writer = LogWriter(nowhere.fileno(), str)
    yield LogHandler(writer, logging.NOTSET)
    writer.close()


def test_level_is_before_the_text_from_warning_up(text_handler: LogHandler) -> None:
    def texts() -> list[str]:
        levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
        return [
            text_handler.format(logging.LogRecord("shop", level, "", 0, "full", (), None))
            for level in levels
        ]

    assert texts() == ["full", "full", "warning: full", "error: full", "critical: full"]
    text_handler.setFormatter(logging.Formatter("%(name)s"))
    assert texts() == ["shop"] * 5


@pytest.mark.parametrize("form", ["text", "json"])
def test_only_a_sole_handler_of_ours_is_direct(form: str, text_handler: LogHandler) -> None:
    root, logger = logging.RootLogger(logging.INFO), logging.Logger("microweb.access")
    logger.parent = root
    ours = JSONHandler() if form == "json" else text_handler
    formatter, other = ours.formatter, logging.NullHandler()
    assert direct_handler(logger) is None
    root.addHandler(ours)
    assert direct_handler(logger) is ours
    for owner in (root, logger):
        owner.addHandler(other)
        assert direct_handler(logger) is None
        owner.removeHandler(other)
    for filtered in (ours, logger):
        filtered.addFilter(lambda record: False)
        assert direct_handler(logger) is None
        filtered.filters.clear()
    logger.propagate = False
    assert direct_handler(logger) is None
    logger.propagate = True
    ours.setLevel(logging.WARNING)
    assert direct_handler(logger) is None
    ours.setLevel(logging.INFO)
    ours.setFormatter(logging.Formatter())
    assert direct_handler(logger) is None
    ours.setFormatter(formatter)
    assert direct_handler(logger) is ours
    logger.parent = logging.Logger("microweb")
    assert direct_handler(logger) is None


def test_logger_or_record_of_another_class_is_not_direct(text_handler: LogHandler) -> None:
    class Own(logging.Logger):
        pass

    root = logging.RootLogger(logging.INFO)
    root.addHandler(text_handler)
    usual, own = logging.Logger("microweb.access"), Own("microweb.access")
    usual.parent = own.parent = root
    assert direct_handler(usual) is text_handler
    assert direct_handler(own) is None
    logging.setLogRecordFactory(lambda *args, **kwargs: logging.LogRecord(*args, **kwargs))
    try:
        assert direct_handler(usual) is None
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
