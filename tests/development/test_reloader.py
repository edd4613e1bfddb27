"""The process of `microweb dev`, which starts the app anew when a file changes."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from support.developing import APP, developed, until_answered, write
from support.load import Clients
from support.processes import DEADLINE_S, Program, connect, get, run_to_end
from support.supervising import children, is_alive, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")

LOOP = "import time\nwhile True:\n    time.sleep(0.01)\n"
SLOW = """
import asyncio
import time

@app.get("/slow")
async def slow() -> str:
    print("slow has begun", flush=True)
    {wait}
    return "slow 1"
"""
LIVE = """
from collections.abc import AsyncIterator
from microweb import Response, WebSocket
from microweb.sse import ServerEvent

@app.get("/events")
async def events() -> Response:
    return Response.events(ticks())

async def ticks() -> AsyncIterator[ServerEvent]:
    while True:
        yield ServerEvent("now")
        await asyncio.sleep(0.05)

@app.websocket("/socket")
async def talk(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)
"""


def test_a_save_is_answered_by_the_new_code(tmp_path: Path) -> None:
    with developed(tmp_path) as (program, url):
        assert get(url) == (200, "version 1")
        write(tmp_path / "app.py", APP.replace("1", "2"))
        until_answered(url, "version 2")
        assert program.err.wait_for("reload") == "microweb: app.py changed: reload"
        program.stop(signal.SIGINT)
        assert "METHODS" in program.out.rest()
        assert program.out.rest().count("METHODS") == 1
        assert "GET / 200" in program.err.rest()  # also without a terminal


@pytest.mark.parametrize("keeps", [True, False])
async def test_no_request_is_refused_or_lost(tmp_path: Path, keeps: bool) -> None:
    with developed(tmp_path) as (program, url):
        clients = Clients(url, keeps=keeps, pause_s=0.02, host="localhost")
        loading = asyncio.create_task(clients.run(4))
        for number in range(2, 6):
            write(tmp_path / "app.py", APP.replace("1", str(number)))
            await asyncio.to_thread(until_answered, url, f"version {number}")
        clients.stop()
        await loading
        assert clients.failed == []
        assert {b"version 1", b"version 2", b"version 3"} <= clients.bodies.keys()
        program.stop()


def test_request_under_way_ends_and_later_ones_wait(tmp_path: Path) -> None:
    with developed(tmp_path, source=APP + SLOW.format(wait="await asyncio.sleep(0.5)")) as (
        program,
        url,
    ):
        slow = connect(url)
        slow.request("GET", "/slow")
        program.out.wait_for("slow has begun")
        write(tmp_path / "app.py", APP.replace("1", "2"))
        until_answered(url, "version 2")
        assert slow.getresponse().read() == b"slow 1"
        slow.close()
        program.stop()


def test_request_that_takes_too_long_holds_nothing_up(tmp_path: Path) -> None:
    with developed(tmp_path, source=APP + SLOW.format(wait="time.sleep(600)")) as (program, url):
        slow = connect(url)
        slow.request("GET", "/slow")
        program.out.wait_for("slow has begun")
        write(tmp_path / "app.py", APP.replace("1", "2"))
        until_answered(url, "version 2")
        program.err.wait_for("did not end in time: it is killed")
        with pytest.raises((http.client.HTTPException, OSError)):
            slow.getresponse()
        slow.close()
        program.stop()


def test_streams_and_sockets_hold_nothing_up(tmp_path: Path) -> None:
    pytest.importorskip("websockets")
    from websockets.sync.client import connect as connect_socket

    with developed(tmp_path, source=APP + "import asyncio\n" + LIVE) as (program, url):
        stream = connect(url)
        stream.request("GET", "/events", headers={"Accept": "text/event-stream"})
        events = stream.getresponse()
        assert events.readline() == b"data: now\n"
        with connect_socket(url.replace("http", "ws") + "/socket") as socket:
            socket.send("hi")
            assert socket.recv(DEADLINE_S) == "hi"
            write(tmp_path / "app.py", APP.replace("1", "2"))
            until_answered(url, "version 2")
            assert "killed" not in program.err.seen
            with pytest.raises(Exception, match="1012"):  # service restart
                socket.recv(DEADLINE_S)
        assert events.read().endswith(b"\n\n")
        stream.close()
        program.stop()


# --- which files


def test_new_files_templates_and_variables(tmp_path: Path) -> None:
    source = """
import os
from pathlib import Path
from microweb import App
from microweb.templating import Templates

app = App()
templates = Templates("pages")
FIRST = Path(templates.folders[0], "mail.txt").read_text()

try:
    from below.extra import NAME
except ImportError:
    NAME = "none"

@app.get("/")
async def index() -> str:
    return f"{NAME} {FIRST} {os.environ.get('GREETING')}"
"""
    pytest.importorskip("jinja2")
    write(tmp_path / "pages" / "mail.txt", "mail 1")
    write(tmp_path / "dev.env", "GREETING=hello")
    with developed(tmp_path, "--env-file", "dev.env", source=source) as (program, url):
        assert get(url) == (200, "none mail 1 hello")
        write(tmp_path / "below" / "extra.py", "NAME = 'extra'")
        until_answered(url, "extra mail 1 hello")
        write(tmp_path / "pages" / "mail.txt", "mail 2")
        until_answered(url, "extra mail 2 hello")
        write(tmp_path / "dev.env", "GREETING=goodbye")
        until_answered(url, "extra mail 2 goodbye")
        program.stop()


def test_wrong_variable_and_wrong_project_are_faults(tmp_path: Path) -> None:
    with developed(tmp_path) as (program, url):
        write(tmp_path / "pyproject.toml", "[tool.microweb]\nthreads = 0\n")
        write(tmp_path / "app.py", APP + "\n")
        until_answered(url, "threads: expected an int from 1")
        write(tmp_path / "pyproject.toml", "[tool.microweb]\nthreads = 1\n")
        write(tmp_path / "app.py", APP)
        until_answered(url, "version 1")
        program.stop()


def test_two_saves_of_one_size_within_a_second(tmp_path: Path) -> None:
    """Python would take the bytecode of the first for that of the second."""
    write(tmp_path / "version.py", "NUMBER = 1")
    source = APP.replace('"version 1"', 'f"version {version.NUMBER}"').replace(
        "from", "import version\nfrom", 1
    )
    second = time.time_ns() // 1_000_000_000 * 1_000_000_000
    with developed(tmp_path, source=source) as (program, url):
        for number in range(2, 5):
            write(tmp_path / "version.py", f"NUMBER = {number}")
            os.utime(tmp_path / "version.py", ns=(second, second + number))
            until_answered(url, f"version {number}")
        program.stop()


# --- a worker that ends


def test_worker_that_ends_by_itself(tmp_path: Path) -> None:
    source = (
        APP
        + """
import os, sys

@app.get("/end")
async def end() -> None:
    print("no more", file=sys.stderr, flush=True)
    os._exit(7)
"""
    )
    with developed(tmp_path, source=source) as (program, url):
        with pytest.raises((http.client.HTTPException, OSError)):
            get(url, "/end")
        until_answered(url, "the worker exited with status 7\n\nIts last lines on stderr:\n")
        assert "no more" in get(url, "/any")[1]
        program.err.wait_for("the worker exited with status 7: it starts again when a file changes")
        write(tmp_path / "app.py", APP)
        until_answered(url, "version 1")
        program.stop()


def test_worker_that_is_killed_before_it_has_started(tmp_path: Path) -> None:
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    with developed(tmp_path, source=source) as (program, url):
        assert "the worker was killed by SIGSEGV" in get(url)[1]
        write(tmp_path / "app.py", APP)
        until_answered(url, "version 1")
        program.stop()


def test_sigterm_of_the_worker_and_sighup_start_it_anew(tmp_path: Path) -> None:
    source = APP.replace('"version 1"', "str(os.getpid())").replace("from", "import os\nfrom", 1)
    with developed(tmp_path, source=source) as (program, url):
        first = int(get(url)[1])
        os.kill(first, signal.SIGTERM)
        until(lambda: not is_alive(first))
        second = int(get(url)[1])
        assert second != first
        program.process.send_signal(signal.SIGHUP)
        until(lambda: not is_alive(second))
        assert int(get(url)[1]) != second
        program.stop()


# --- the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_end_with_an_app_that_never_starts(tmp_path: Path, number: int) -> None:
    with developed(tmp_path) as (program, _):
        write(tmp_path / "app.py", "print('begun', flush=True)\n" + LOOP)
        program.out.wait_for("begun")
        workers = children(program)
        os.killpg(program.process.pid, number)  # as a terminal does
        program.ends(0)
        until(lambda: not any(map(is_alive, workers)))


def test_second_signal_leaves_a_busy_app_at_once(tmp_path: Path) -> None:
    with developed(tmp_path, source=APP + SLOW.format(wait="time.sleep(600)")) as (program, url):
        slow = connect(url)
        slow.request("GET", "/slow")
        program.out.wait_for("slow has begun")
        workers = children(program)
        program.process.send_signal(signal.SIGINT)
        program.out.wait_for("stopping")
        program.process.send_signal(signal.SIGINT)
        program.ends(128 + signal.SIGINT)
        until(lambda: not any(map(is_alive, workers)))
        slow.close()


def test_nothing_is_left_of_a_reloader_that_is_killed(tmp_path: Path) -> None:
    with developed(tmp_path) as (program, _):
        until(lambda: len(children(program)) == 2)  # one waits
        workers = children(program)
        program.process.kill()
        until(lambda: not any(map(is_alive, workers)))


def test_busy_port_prints_no_routes(tmp_path: Path) -> None:
    write(tmp_path / "app.py", APP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = ("-m", "microweb", "dev", "app.py", "--host", "127.0.0.1", "--port", port)
        ended = run_to_end(command, tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"microweb: port {port} on 127.0.0.1 is in use")


def test_app_run_does_not_reload(tmp_path: Path) -> None:
    write(tmp_path / "app.py", APP + "\napp.run(port=0)\n")
    with Program("app.py", cwd=tmp_path) as program:
        (url, *_) = program.urls()
        write(tmp_path / "app.py", "1 / 0")
        assert children(program) == []
        assert get(url) == (200, "version 1")
        program.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_waits_in_advance(tmp_path: Path) -> None:
    with developed(tmp_path) as (program, url):
        until(lambda: len(children(program)) == 2)
        before = children(program)
        write(tmp_path / "app.py", APP.replace("1", "2"))
        until_answered(url, "version 2")
        until(lambda: len(children(program)) == 2)
        assert len(set(before) & set(children(program))) == 1
        program.stop()
