"""The stacks of workers: by a pipe to the supervisor, and from there to the log."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.processes import DEADLINE_S, Program
from support.supervising import HANGING, SCRIPT, pids_in, supervised

from microweb.server import stacks
from microweb.server.stacks import StackPipe, StackReader

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")


class Worker:
    pid = 7

    def __init__(self) -> None:
        self.stacks: StackPipe | None = StackPipe()


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    assert worker.stacks is not None
    worker.stacks.close(worker.pid)


def ready(worker: Worker) -> dict[int, int]:
    assert worker.stacks is not None
    return {worker.stacks.fileno(): select.POLLIN}


def test_stacks_are_whole_after_a_silence(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, pipe = StackReader(lambda: [worker]), worker.stacks
    assert pipe is not None and reader.deadline() == float("inf")
    os.write(pipe.descriptor, b"Thread 1\n")
    reader.go_on(ready(worker), 10.0)
    os.write(pipe.descriptor, b"Thread 2\n")
    reader.go_on(ready(worker), 10.1)
    assert reader.deadline() == pytest.approx(10.3)
    assert capsys.readouterr().err == ""
    reader.go_on({}, 10.4)
    expected = "microweb: stacks of worker 7:\nThread 1\nThread 2\n"
    assert capsys.readouterr().err == expected
    assert reader.deadline() == float("inf")
    pipe.inherited()


def test_taker_gets_the_next_stacks_in_place_of_the_log(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, pipe = StackReader(lambda: [worker]), worker.stacks
    assert pipe is not None
    taken: list[str] = []
    pipe.takers += [taken.append, taken.append]
    for text in (b"Thread 1\n", b"Thread 2\n"):
        os.write(pipe.descriptor, text)
        reader.go_on(ready(worker), 10.0)
        reader.go_on({}, 20.0)
    assert taken == ["Thread 1", "Thread 1"]
    assert capsys.readouterr().err == "microweb: stacks of worker 7:\nThread 2\n"
    pipe.inherited()


def test_log_gets_the_stacks_that_it_asked_for_beside_a_taker(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, pipe = StackReader(lambda: [worker]), worker.stacks
    assert pipe is not None
    taken: list[str] = []
    for text, is_for_log in ((b"Thread 1\n", True), (b"Thread 2\n", False)):
        pipe.takers.append(taken.append)
        pipe.is_for_log = is_for_log
        os.write(pipe.descriptor, text)
        reader.go_on(ready(worker), 10.0)
        reader.go_on({}, 20.0)
    assert taken == ["Thread 1", "Thread 2"]
    assert capsys.readouterr().err == "microweb: stacks of worker 7:\nThread 1\n"
    pipe.inherited()


def test_worker_that_ends_leaves_its_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    pipe = StackPipe()
    os.write(pipe.descriptor, b"Thread 1\n")
    pipe.inherited()
    pipe.close(7)
    assert capsys.readouterr().err == "microweb: stacks of worker 7:\nThread 1\n"


def test_worker_that_writes_nothing_leaves_nothing(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, pipe = StackReader(lambda: [worker]), worker.stacks
    assert pipe is not None
    pipe.inherited()
    reader.go_on(ready(worker), 1.0)
    poll = select.poll()
    reader.register(poll)
    assert pipe.is_over and poll.poll(0) == []  # else the supervisor would never sleep
    assert capsys.readouterr().err == ""


def test_stacks_are_bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_MAX_BYTES", 10)
    pipe = worker.stacks
    assert pipe is not None
    for _ in range(3):
        os.write(pipe.descriptor, b"12345678")
        pipe.receive(1.0)
    assert len(pipe._received) == 10
    pipe.inherited()


def test_stacks_are_text_on_stderr(script: Path) -> None:
    with supervised(script) as (program, _):
        program.process.send_signal(signal.SIGQUIT)
        line = program.err.wait_for("stacks of worker")
        assert program.err.wait_for("most recent call first")
        assert line.startswith("microweb: ")
        program.stop()


@pytest.mark.parametrize("path", ["/sleep", "/regex"])
def test_stacks_of_a_loop_that_stands_still_are_a_member(tmp_path: Path, path: str) -> None:
    script = tmp_path / "app.py"
    source = SCRIPT.replace("if __name__", f"{HANGING}\nif __name__")
    script.write_text(source.replace("grace_s=5", "grace_s=5, worker_stall_s=2, log='json'"))
    with Program(script, is_session=True, is_measured=True) as program:
        url = json.loads(program.out.wait_for("listening on"))["message"].split()[2]
        parts = urlsplit(url)
        hanging = socket.create_connection((parts.hostname, parts.port), DEADLINE_S)
        hanging.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        program.out.wait_for("hangs")
        stall = json.loads(program.out.wait_for("its event loop stands still"))
        found = json.loads(program.out.wait_for("stacks of worker"))
        program.out.wait_for("was killed by SIGKILL")
        program.out.wait_for(" is ready")
        hanging.close()
        assert "most recent call first" in found["code.stacktrace"]
        assert f"in {path[1:]}" in found["code.stacktrace"]
        assert stall["severity"] == "ERROR"
        assert found["process.pid"] == program.process.pid
        assert pids_in(found["message"].replace("worker", "workers")) != []
        program.stop()
        assert "most recent call first" not in program.err.rest()
