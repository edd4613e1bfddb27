"""A server with standard streams that are closed, full, broken, or that no process reads."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, connect, get

from microweb.server.console import objects_written_by_a_thread, put_line

LOOPS = ["asyncio"]
if importlib.util.find_spec("uvloop") is not None:
    LOOPS.append("uvloop")

SOURCE = """
import asyncio, sys
from microweb import App

app = App()

@app.get("/")
async def index() -> str:
    return "hello"

@app.get("/fail")
async def fail() -> str:
    raise RuntimeError("x" * 1000)

@app.get("/fail-later")
async def fail_later() -> str:
    asyncio.get_running_loop().call_soon(fail_later, "too many")
    return "hello"

{}
app.run("127.0.0.1", {}, loop={!r}, log={!r})
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at:
        assert process.poll() is None, process.returncode
        try:
            assert get(url) == (200, "hello")
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise AssertionError(f"{url} does not answer")


@contextmanager
def serving(
    folder: Path,
    loop: str,
    *,
    source: str = "",
    redirections: str = "",
    stderr: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.DEVNULL,
    log: str = "text",
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run an app with unusual streams, stop it by SIGTERM and check for exit status 0."""
    script, port = folder / "app.py", free_port()
    script.write_text(SOURCE.format(source, port, loop, log))
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "PYTHONUNBUFFERED"}
    command = ["sh", "-c", f'exec "$0" "$1" {redirections}', sys.executable, str(script)]
    process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(url, process)
        yield url, process
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "redirections",
    [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", pytest.param(">/dev/full", id="full stdout")],
)
def test_stream_that_is_closed_or_full(tmp_path: Path, loop: str, redirections: str) -> None:
    with serving(tmp_path, loop, redirections=redirections) as (url, _):
        assert get(url, "/fail")[0] == 500
        assert get(url) == (200, "hello")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("change", ["sys.{0} = None", "sys.{0}.close()"])
def test_stream_that_the_application_has_closed(tmp_path: Path, name: str, change: str) -> None:
    with serving(tmp_path, "asyncio", source=change.format(name)) as (url, _):
        assert get(url, "/fail")[0] == 500
        assert get(url) == (200, "hello")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "source",
    [
        "import logging; logging.basicConfig(level=0); sys.stderr.close()",
        "import logging; logging.basicConfig(level=0); app.on_startup(lambda: sys.stderr.close())",
        "import logging; logging.getLogger().addHandler(logging.Handler())",  # NotImplementedError
    ],
    ids=["closed", "closed later", "broken"],
)
def test_log_handler_of_the_application_that_raises(tmp_path: Path, loop: str, source: str) -> None:
    with serving(tmp_path, loop, source=source) as (url, _):
        connection = connect(url)
        for path, status in [("/fail", 500), ("/fail-later", 200), ("/fail", 500), ("/", 200)]:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == status
        connection.close()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(b"no request\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_stream_of_the_application_that_only_writes(tmp_path: Path, name: str) -> None:
    source = f"""
class Writer:
    def write(self, text: str) -> None:
        raise KeyError(text)
    def flush(self) -> None:
        pass

sys.{name} = Writer()
"""
    with serving(tmp_path, "asyncio", source=source, log="auto") as (url, _):
        assert get(url, "/fail")[0] == 500
        assert get(url) == (200, "hello")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_broken_pipe(tmp_path: Path, name: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stderr": writing} if name == "stderr" else {"stdout": writing}
    try:
        with serving(tmp_path, "asyncio", **streams) as (url, _):  # type: ignore[arg-type]
            assert get(url, "/fail")[0] == 500
            assert get(url) == (200, "hello")
    finally:
        os.close(writing)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("path", "status", "count"), [("/", 200, 3000), ("/fail", 500, 150)])
def test_pipe_that_nobody_reads(
    tmp_path: Path, loop: str, path: str, status: int, count: int
) -> None:
    with serving(tmp_path, loop, stderr=subprocess.PIPE) as (url, process):
        connection = connect(url)
        for _ in range(count):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == status
        connection.close()
    assert process.stderr is not None
    process.stderr.close()


def test_records_are_all_written_before_the_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr, serving(tmp_path, "asyncio", stderr=stderr.fileno()) as (url, _):
        for _ in range(50):
            get(url, "/counted")
    lines = log.read_text().splitlines()
    assert len([line for line in lines if line.startswith("GET /counted 404 ")]) == 50


# --- objects of a process that does not serve

OBJECTS = """
import os, sys, threading
from microweb.server.console import say, use_json
from microweb.server.lines import dropped

use_json()
for number in range(5):
    say("x" * int(sys.argv[1]), None)
waiting = threading.active_count() - 1
if sys.argv[2] == "read later":
    print("reads", file=sys.stderr, flush=True)
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()
print(dropped.count, waiting, len(os.listdir("/proc/self/fd")), file=sys.stderr)
"""


def start_objects(stdout: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OBJECTS, *arguments]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def test_object_for_a_full_pipe_is_dropped_at_once() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    os.set_blocking(writing, True)
    with start_objects(writing, "10", "") as process:
        assert process.stderr is not None
        count, waiting, full = map(int, process.stderr.read().split())
    os.close(reading)
    with start_objects(subprocess.DEVNULL, "10", "") as process:
        assert process.stderr is not None
        assert process.stderr.read().split() == ["0", "0", str(full)]
    os.close(writing)
    assert (count, waiting) == (5, 0)


def test_long_object_for_a_pipe_that_is_read_later_holds_one_thread() -> None:
    reading, writing = os.pipe()
    with start_objects(writing, "200000", "read later") as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.stderr.readline() == "reads\n"
        with open(reading, "rb") as log:
            (line,) = log.read().splitlines()
        count, waiting, held = map(int, process.stderr.read().split())
    assert json.loads(line)["message"] == "x" * 200_000
    assert (count, waiting) == (4, 1)
    with start_objects(subprocess.DEVNULL, "10", "") as process:
        assert process.stderr is not None
        assert process.stderr.read().split()[2] == str(held)  # no descriptor is left


def test_object_waits_for_the_next_one_if_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with objects_written_by_a_thread():
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            put_line("first")
        put_line("second")
    assert capfd.readouterr().out == "first\nsecond\n"
