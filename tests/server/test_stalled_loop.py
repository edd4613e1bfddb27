"""Code that holds the event loop is named: route, file and line."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, Program, get

APP = """
import asyncio, re, time
from microweb import App, WebSocket

app = App()

@app.get("/")
async def index() -> str:
    return "x"

@app.get("/block/{ms:int}")
async def block(ms: int) -> str:
    time.sleep(ms / 1000)  # a block
    return "slept"

@app.get("/regex")
async def regex() -> str:
    size, took = 22, 0.0
    while took < 1.0:
        begun = time.monotonic()
        re.match("(a|aa)+$", "a" * size + "b")  # a regex
        size, took = size + 1, time.monotonic() - begun
        await asyncio.sleep(0)
    return f"{took}"

@app.get("/spin")
async def spin() -> str:
    begun = time.monotonic()
    while time.monotonic() - begun < 1.5:
        pass  # a spin
    return "spun"

async def later() -> None:
    await asyncio.sleep(0)
    time.sleep(0.3)  # a task

@app.get("/task")
async def task() -> str:
    app.spawn(later())
    return "x"

@app.get("/debugger")
async def debugger() -> str:
    breakpoint()
    return "x"
"""
STALL_S = 0.1
LOOPS = ["asyncio", "uvloop"]


def line_of(comment: str) -> int:
    (number,) = (n for n, line in enumerate(APP.splitlines(), 1) if line.endswith(f"# {comment}"))
    return number


@pytest.fixture(params=LOOPS)
def program(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    (tmp_path / "app.py").write_text(APP)
    arguments = ["-m", "microweb", "run", "app:app", "--port", "0", "--stall-ms", "100"]
    with Program(*arguments, "--loop", request.param, cwd=tmp_path) as program:
        yield program


def ended(program: Program) -> str:
    program.stop()
    return program.err.rest()


def test_a_block_is_named(program: Program, tmp_path: Path) -> None:
    (url, *_) = program.urls()
    get(url, "/block/300")
    named = program.err.wait_for("held the event loop")
    where = f"{tmp_path}/app.py:{line_of('a block')} in block"
    assert re.search(r"GET /block/300 \(route /block/\{ms:int\}\) held .* for \d+ ms: ", named)
    assert named.endswith(where)


def test_a_regex_that_holds_the_gil_is_named(program: Program, tmp_path: Path) -> None:
    (url, *_) = program.urls()
    get(url, "/regex")
    named = program.err.wait_for("the event loop for")
    assert "GET /regex" in named
    where = f"{tmp_path}/app.py:{line_of('a regex')} in regex, inside "
    assert re.search(f"{re.escape(where)}.*/re/__init__.py:[0-9]+ in match", named)


def test_code_that_does_not_end_is_named_before_its_end(program: Program, tmp_path: Path) -> None:
    (url, *_) = program.urls()
    get(url, "/spin")
    named = program.err.wait_for("holds the event loop")
    assert named.startswith("warning: GET /spin (route /spin) holds")
    assert "in spin" in named


def test_a_background_task_is_named_without_a_request(program: Program, tmp_path: Path) -> None:
    (url, *_) = program.urls()
    get(url, "/task")
    named = program.err.wait_for("the event loop for")
    assert named.startswith("warning: no request held")
    assert named.endswith(f"{tmp_path}/app.py:{line_of('a task')} in later")


def test_an_idle_or_stopped_process_and_short_blocks_are_not_named(program: Program) -> None:
    (url, *_) = program.urls()
    for pause_s in (1.5 * STALL_S, 5 * STALL_S):
        os.kill(program.process.pid, signal.SIGSTOP)
        time.sleep(pause_s)
        os.kill(program.process.pid, signal.SIGCONT)
        get(url, "/block/1")
        time.sleep(3 * STALL_S)
    assert ended(program) == ""


def test_a_debugger_is_not_named(program: Program) -> None:
    (url, *_) = program.urls()
    asking = threading.Thread(target=get, args=(url, "/debugger"))
    asking.start()
    program.out.wait_for("->")
    time.sleep(3 * STALL_S)
    program.stdin.write("continue\n")
    program.stdin.flush()
    asking.join(DEADLINE_S)
    get(url, "/block/1")
    assert ended(program) == ""


def test_fields_in_json(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = ["--port", "0", "--stall-ms", "100", "--log", "json"]
    with Program("-m", "microweb", "run", "app:app", *options, cwd=tmp_path) as program:
        (url, *_) = program.urls()
        get(url, "/block/300")
        record = json.loads(program.out.wait_for("held the event loop"))
    assert record["code.file.path"] == f"{tmp_path}/app.py"
    assert record["code.line.number"] == line_of("a block")
    assert record["code.function.name"] == "block"
    assert record["microweb.held_ms"] >= 100


def test_nothing_is_named_by_default(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Program("-m", "microweb", "run", "app:app", "--port", "0", cwd=tmp_path) as program:
        (url, *_) = program.urls()
        get(url, "/block/300")
        assert ended(program) == ""


def test_dev_names_by_default(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Program("-m", "microweb", "dev", "app:app", "--port", "0", cwd=tmp_path) as program:
        (url, *_) = program.urls()
        get(url, "/block/300")
        assert "in block" in program.err.wait_for("held the event loop")


def test_a_worker_names_too_and_still_ends_without_its_supervisor(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = ["--port", "0", "--stall-ms", "100", "--supervised", "--grace-s", "0"]
    with Program("-m", "microweb", "run", "app:app", *options, cwd=tmp_path) as program:
        (url, *_) = program.urls()
        get(url, "/block/300")
        program.err.wait_for("held the event loop")
        held = threading.Thread(target=_get_cut, args=(url, "/block/60000"))
        held.start()
        program.err.wait_for("holds the event loop")
        program.process.kill()
        # The worker holds the other end of the pipe until it ends.
        assert "Timeout (" in program.err.rest()
        held.join(DEADLINE_S)
        assert not held.is_alive()


def test_a_stall_that_begins_soon_after_a_report_and_does_not_end_is_named(tmp_path: Path) -> None:
    gap = "from microweb.server import stalled_loop\nstalled_loop._GAP_S = 3.0\n"
    (tmp_path / "app.py").write_text(APP + gap)
    arguments = ["-m", "microweb", "run", "app:app", "--port", "0", "--stall-ms", "100"]
    with Program(*arguments, cwd=tmp_path) as program:
        (url, *_) = program.urls()
        get(url, "/block/300")
        program.err.wait_for("held the event loop")
        held = threading.Thread(target=_get_cut, args=(url, "/block/60000"))
        held.start()
        program.err.wait_for("/block/60000 (route /block/{ms:int}) holds the event loop")
        program.process.kill()
        held.join(DEADLINE_S)
        assert not held.is_alive()


def _get_cut(url: str, path: str) -> None:
    with pytest.raises((OSError, HTTPException)):
        get(url, path)
