from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, connect, get, run_to_end
from support.started import HANGS, HEAD, LOOPS, RUN, Start, apps_in
from support.websocketing import FIN, PING, PONG, TEXT, handshake, masked

from microweb import App
from microweb.errors import ConfigurationError, ThreadsStuck
from microweb.server.sockets import bind


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with apps_in(tmp_path) as start_app:
        yield start_app


def fail(tmp_path: Path, source: str) -> str:
    """Run an app that cannot start; return its one line on stderr."""
    script = tmp_path / "app.py"
    script.write_text(f"{HEAD}\n{source}\n")
    ended = run_to_end([script], tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    return line


# --- serving and stopping -------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_says_where_it_listens_and_stops_at_a_signal(
    start: Start, loop: str, number: int
) -> None:
    program = start("", f"app.run(port=0, loop={loop!r}); print('after run')")
    urls = program.urls()
    assert [get(url) for url in urls] == [(200, "hello")] * len(urls)
    program.stop(number)
    assert "after run" in program.out.rest()
    assert program.err.rest() == ""


EXITS = """
async def leave(kind: str) -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt if kind == "interrupt" else SystemExit(3)

@app.get("/group/{kind}")
async def group(kind: str) -> str:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leave(kind))
    return "not reached"

@app.get("/task/{kind}")
async def task(kind: str) -> str:
    leaving = asyncio.create_task(leave(kind))
    await asyncio.wait([leaving])
    return f"{leaving.exception()!r}"

@app.get("/callback")
async def callback() -> str:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0)
    return "called"
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_exit_in_a_task_of_the_application_ends_no_server(start: Start, loop: str) -> None:
    program = start(EXITS, f"app.run(port=0, host='127.0.0.1', loop={loop!r})")
    (url,) = program.urls()
    for kind, shown in (("interrupt", "KeyboardInterrupt()"), ("exit", "SystemExit(3)")):
        assert get(url, f"/group/{kind}")[0] == 500
        program.err.wait_for(f"a task or a callback of the application raised {shown}")
        program.err.wait_for(f"GET /group/{kind} failed")
        assert get(url, f"/task/{kind}") == (200, shown)
    assert get(url, "/callback") == (200, "called")
    assert get(url) == (200, "hello")
    program.stop()


@pytest.mark.parametrize("loop", LOOPS)
def test_exit_in_a_task_of_the_lifespan_ends_the_program(start: Start, loop: str) -> None:
    program = start(
        """
async def work() -> None:
    await asyncio.to_thread(sys.stdin.readline)
    sys.exit(3)

@app.lifespan
async def life(app):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        yield
    print("not reached")
""",
        f"app.run(port=0, loop={loop!r})",
    )
    program.urls()
    program.stdin.write("\n")
    program.stdin.flush()
    program.ends(3)
    assert "not reached" not in program.out.rest()


def test_exchange_under_way_is_finished(start: Start) -> None:
    program = start("""
@app.get("/last")
async def last() -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.05)
    return "finished"
""")
    connection = connect(program.urls()[0])
    connection.request("GET", "/last")
    response = connection.getresponse()
    assert (response.read(), response.headers["Connection"]) == (b"finished", "close")
    connection.close()
    program.ends(0)


def test_shutdown_handlers_run(start: Start) -> None:
    program = start("""
@app.on_shutdown
async def say() -> None:
    print("shut down")
""")
    program.urls()
    program.stop()
    assert "shut down" in program.out.rest()


def test_exchange_that_outlasts_the_grace_is_cancelled(start: Start) -> None:
    program = start(HANGS, "app.run(port=0, grace_s=0.05)")
    connection = connect(program.urls()[0])
    connection.request("GET", "/hang")
    program.out.wait_for("hanging")
    program.stop()
    connection.close()


# --- startup, shutdown, signals -------------------------------------------------------


async def test_clients_are_refused_until_the_startup_is_over() -> None:
    app, entered, go_on = App(), asyncio.Event(), asyncio.Event()

    @app.on_startup
    async def begin() -> None:
        entered.set()
        await go_on.wait()

    server = app.serve(host="127.0.0.1", port=0)
    starting = asyncio.create_task(server.start())
    await entered.wait()
    address = server.sockets[0].getsockname()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
    go_on.set()
    await starting
    _, writer = await asyncio.open_connection(*address)
    writer.close()
    await server.stop(silence_s=0.0)


async def test_server_that_listens_second_is_told_that_the_port_is_taken() -> None:
    app, entered, go_on = App(), asyncio.Event(), asyncio.Event()

    @app.on_startup
    async def begin() -> None:
        entered.set()
        await go_on.wait()

    slow = app.serve(host="127.0.0.1", port=0)
    starting = asyncio.create_task(slow.start())
    await entered.wait()
    port = slow.sockets[0].getsockname()[1]
    async with App().serve(host="127.0.0.1", port=port):
        go_on.set()
        with pytest.raises(ConfigurationError, match=rf"port {port} on 127.0.0.1 is in use"):
            await starting


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_startup(start: Start, loop: str, number: int) -> None:
    program = start(
        """
@app.lifespan
async def life(app: App):
    try:
        print("starting")
        await asyncio.Event().wait()
        yield
    finally:
        print("cleaned up")
""",
        f"app.run(port=0, loop={loop!r}); print('after run')",
    )
    program.out.wait_for("starting")
    program.stop(number)
    rest = program.out.rest()
    assert "cleaned up" in rest and "after run" in rest and "listening" not in rest
    assert program.err.rest() == ""


def test_lifespan_that_does_not_end_is_cancelled(start: Start) -> None:
    program = start(
        """
@app.on_shutdown
async def end() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled")
""",
        "app.run(port=0, grace_s=0.05)",
    )
    program.urls()
    program.stop()
    assert "cancelled" in program.out.rest()
    assert program.err.rest() == "error: the lifespan did not end within 1 s: it is cancelled"


def test_lifespan_that_goes_on_behind_its_cancellation_is_told(start: Start) -> None:
    program = start(
        """
@app.on_shutdown
async def end() -> None:
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("cancelled")
""",
        "app.run(port=0, grace_s=0.05)",
    )
    program.urls()
    program.stop()
    assert "cancelled" in program.out.rest()
    assert program.err.rest().splitlines() == [
        "error: the lifespan did not end within 1 s: it is cancelled",
        "error: the lifespan did not end within 1 s of its cancellation: it is abandoned",
    ]


@pytest.mark.parametrize("when", ["startup", "shutdown"])
def test_lifespan_that_swallows_its_cancellation_holds_no_stop(start: Start, when: str) -> None:
    program = start(
        f"""
@app.lifespan
async def outer(app):
    try:
        yield
    finally:
        await asyncio.sleep(0)
        print("outer left")

@app.on_{when}
async def stubborn() -> None:
    print("begun")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            print("swallowed")
""",
        "app.run(port=0, grace_s=0.05)\nprint('after run')",
    )
    if when == "startup":
        program.out.wait_for("begun")
    else:
        program.urls()
    program.stop()
    out = program.out.rest()
    assert "swallowed" in out and "after run" in out
    assert "outer left" in out
    assert "1 s of its cancellation: it is abandoned" in program.err.rest()


# --- threads that never return --------------------------------------------------------


def test_stuck_thread_is_named_and_left(start: Start) -> None:
    program = start(
        """
@app.get("/stuck")
def stick() -> None:
    print("sticking")
    time.sleep(600)

@app.on_shutdown
async def say() -> None:
    print("shut down")
""",
        "app.run(port=0, grace_s=0)",
    )
    connection = connect(program.urls()[0])
    connection.request("GET", "/stuck")
    program.out.wait_for("sticking")
    program.stop(status=1)
    connection.close()
    assert "shut down" in program.out.rest()
    assert "GET /stuck (stick at app.py:" in program.err.rest()
    assert "time.sleep(600)" in program.err.rest()


def test_startup_that_fails_beside_a_stuck_thread_shows_both(start: Start) -> None:
    program = start(
        """
from microweb.concurrency.threads import run_in_thread

@app.on_startup
async def begin() -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(600)
    asyncio.create_task(run_in_thread("work", work))
    await begun.wait()
    raise OSError("no database")
""",
        "app.run(port=0, grace_s=0)",
    )
    program.ends(1)
    assert "OSError: no database" in program.err.rest()
    assert "time.sleep(600)" in program.err.rest()


async def test_stop_raises_where_a_thread_is_stuck() -> None:
    app, began, go_on = App(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    stopped = []

    @app.get("/stuck")
    def stick() -> None:
        loop.call_soon_threadsafe(began.set)
        go_on.wait(DEADLINE_S)

    @app.on_shutdown
    async def note() -> None:
        stopped.append(True)

    server = await app.serve(port=0, grace_s=0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
    await began.wait()
    try:
        with pytest.raises(ThreadsStuck, match=r"stick at test_process\.py:\d+") as caught:
            await server.stop()
    finally:
        go_on.set()
    assert "go_on.wait(DEADLINE_S)" in caught.value.places[0]
    assert stopped == [True]
    writer.close()


async def test_stop_waits_for_a_thread_whose_client_has_left() -> None:
    app, began, go_on = App(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    order = []

    @app.get("/slow")
    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        go_on.wait(DEADLINE_S)
        order.append("worked")

    @app.on_shutdown
    async def note() -> None:
        order.append("stopped")

    server = await app.serve(port=0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    await began.wait()
    writer.transport.abort()
    stopping = asyncio.create_task(server.stop())
    loop.call_later(0.05, go_on.set)
    await stopping
    assert order == ["worked", "stopped"]


# --- what is in the way ---------------------------------------------------------------


def test_busy_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = fail(tmp_path, f"app.run(port={port})")
    assert line.startswith(f"microweb: port {port} on localhost is in use")
    assert line.endswith(": choose another port")


def test_two_servers_on_one_port(start: Start, tmp_path: Path) -> None:
    port = int(start("").urls()[0].rpartition(":")[2])
    other = tmp_path / "other"
    other.mkdir()
    assert f"port {port} on localhost is in use" in fail(other, f"app.run(port={port})")


def test_host_of_another_machine_is_one_line(tmp_path: Path) -> None:
    line = fail(tmp_path, "app.run('192.0.2.1', 0)")
    assert line == "microweb: host '192.0.2.1' is not an address of this machine"


def test_host_that_is_none_is_one_line(tmp_path: Path) -> None:
    line = fail(tmp_path, "app.run('256.0.0.1.invalid', 0)")
    assert line.startswith("microweb: host '256.0.0.1.invalid' is not an address of this machine: ")


def unprivileged_port_start() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except OSError:
        return 0  # without this file, as on macOS, any user may use any port


@pytest.mark.skipif(unprivileged_port_start() <= 81, reason="any user may have port 81 here")
def test_port_without_the_right_is_one_line(tmp_path: Path) -> None:
    # A later import might not be readable for another user.
    source = """
import encodings.idna, microweb.server.process
os.geteuid() or os.setuid(65534)
app.run("127.0.0.1", 81, loop="asyncio")
"""
    line = fail(tmp_path, source)
    assert line == (
        "microweb: this user may not listen on port 81 of 127.0.0.1: choose a port from 1024 up"
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_debug_for_others_is_one_line(tmp_path: Path, host: str) -> None:
    line = fail(tmp_path, f"app.debug = True\napp.run({host!r}, 0)")
    assert line == (
        f"microweb: debug is on, but other machines can reach {host} and would see the app's "
        "internals: turn debug off, or allow this by debug_anywhere=True (--debug-anywhere)"
    )


def test_debug_of_a_mounted_app_is_not_for_others_either() -> None:
    app = App()
    app.mount("/admin", App(debug=True))
    with pytest.raises(ConfigurationError, match="debug is on, but "):
        app.serve(host="0.0.0.0", port=0)


def test_debug_is_for_others_where_one_insists() -> None:
    server = App(debug=True).serve(host="0.0.0.0", port=0, debug_anywhere=True)
    assert server.config.host == "0.0.0.0"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_debug_is_for_this_machine(host: str) -> None:
    assert App(debug=True).serve(host=host, port=0).config.host == host


def test_running_loop_is_one_line(tmp_path: Path) -> None:
    line = fail(tmp_path, "async def main(): app.run()\nasyncio.run(main())")
    assert line == (
        "microweb: an event loop is already running: use `async with app.serve():` instead of run()"
    )


def test_missing_uvloop_is_one_line(tmp_path: Path) -> None:
    line = fail(tmp_path, "sys.modules['uvloop'] = None\napp.run(port=0, loop='uvloop')")
    start = "microweb: loop='uvloop' needs the extra uvloop: pip install 'uvloop>="
    assert line.startswith(start)


def test_missing_uvloop_is_no_fault_of_auto(start: Start) -> None:
    program = start("sys.modules['uvloop'] = None")
    assert get(program.urls()[0]) == (200, "hello")


def test_unknown_option_is_one_line(tmp_path: Path) -> None:
    line = fail(tmp_path, "app.run(prot=1)")
    assert line.startswith("microweb: unknown option 'prot': did you mean 'port'?")


def test_wrong_option_is_one_line(tmp_path: Path) -> None:
    line = fail(tmp_path, "app.run(port=65536)")
    assert line == "microweb: port: expected an int from 0 to 65535, got 65536"


def test_routes_in_conflict_are_one_line(tmp_path: Path) -> None:
    line = fail(tmp_path, "app.get('/')(lambda: 'x')\napp.run(port=0)")
    assert line.startswith("microweb: GET / (index at app.py:7) and GET / (<lambda> at app.py:")


def test_startup_that_raises_shows_its_traceback(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(f"""{HEAD}
@app.on_startup
async def begin() -> None:
    raise OSError("no database")

@app.on_shutdown
async def say() -> None:
    print("shut down")

{RUN}
""")
    ended = run_to_end([script], tmp_path)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("Traceback ")
    assert ended.stderr.endswith("OSError: no database\n")


async def test_startup_that_raises_leaves_the_port_free() -> None:
    app = App()

    @app.on_startup
    async def begin() -> None:
        raise OSError("no database")

    server = app.serve(host="127.0.0.1", port=0)
    with pytest.raises(OSError, match="no database"):
        await server.start()
    assert [bound.fileno() for bound in server.sockets] == [-1]


async def test_serve_raises_where_the_port_is_busy() -> None:
    (other,) = bind("127.0.0.1", 0)
    other.listen()
    with other, pytest.raises(ConfigurationError, match="is in use"):
        await App().serve(host="127.0.0.1", port=other.getsockname()[1])


# --- the limit of open files ----------------------------------------------------------

resource = pytest.importorskip("resource")


def test_limit_of_open_files_is_raised(start: Start) -> None:
    program = start(
        """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 400))

@app.on_startup
async def show() -> None:
    print(resource.getrlimit(resource.RLIMIT_NOFILE))
""",
        "app.run(port=0, max_connections=400)",
    )
    program.out.wait_for("(400, 400)")
    program.urls()
    program.stop()
    assert program.err.rest() == ""


def test_garbage_collector_rests_unless_the_app_has_said_otherwise(start: Start) -> None:
    source = """
import gc
@app.on_startup
async def tell() -> None:
    print("threshold", gc.get_threshold()[0])
"""
    for said, expected in (("", 50_000), ("gc.set_threshold(1000, 10, 10)", 1000)):
        program = start(source + said)
        assert program.out.wait_for("threshold") == f"threshold {expected}"
        program.stop()


def test_low_limit_of_open_files_is_told(start: Start) -> None:
    program = start(
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))",
        "app.run(port=0, max_connections=201)",
    )
    program.urls()
    program.err.wait_for("the limit of open files is 200, below max_connections=201")


@pytest.mark.parametrize("loop", LOOPS)
def test_uploads_in_files_do_not_pause_accepting(start: Start, loop: str) -> None:
    """Of a limit of 220, 120 are for connections and 100 are reserved: both exceed 70."""
    program = start(
        """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (220, 220))

@app.post("/upload")
async def upload(request: Request) -> str:
    return str(len((await request.form()).files))

@app.get("/files")
async def files() -> str:
    links = [f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd")]
    names = [os.readlink(each) for each in links if os.path.islink(each)]
    return str(sum(name.endswith(" (deleted)") for name in names))
""",
        f"app.run('127.0.0.1', 0, max_connections=110, loop={loop!r})",
    )
    (url,) = program.urls()
    host, port = url.removeprefix("http://").split(":")
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    fields = "Host: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 3000000"
    with ExitStack() as stack:
        for _ in range(70):
            client = stack.enter_context(socket.create_connection((host, int(port))))
            client.settimeout(DEADLINE_S)
            client.sendall(f"POST /upload HTTP/1.1\r\n{fields}\r\n\r\n".encode())
            client.sendall(head + bytes(1_500_000))
        ends_at = time.monotonic() + DEADLINE_S
        while get(url, "/files") != (200, "70"):
            assert time.monotonic() < ends_at
        assert get(url) == (200, "hello")
        program.process.kill()
        program.process.wait(DEADLINE_S)
    assert "nearly out of file descriptors" not in program.err.rest()


@pytest.mark.parametrize("loop", LOOPS)
def test_pong_that_came_during_a_pause_keeps_the_websocket(start: Start, loop: str) -> None:
    source = """
@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for message in socket:
        await socket.send(message)
"""
    program = start(
        f"from microweb import WebSocket\n{source}",
        f"app.run('127.0.0.1', 0, loop={loop!r}, ping_interval_s=1, ping_timeout_s=1.5)",
    )
    address = urlsplit(program.urls()[0])
    with socket.create_connection((address.hostname, address.port), DEADLINE_S) as client:
        client.sendall(handshake())
        with client.makefile("rb") as file:
            while file.readline() != b"\r\n":
                pass
            assert file.read(2) == bytes((FIN | PING, 0))
            program.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, program.process.pid, os.WSTOPPED)
            client.sendall(masked(b"", PONG))
            time.sleep(2)  # longer than the pong may take
            program.process.send_signal(signal.SIGCONT)
            client.sendall(masked("alive"))
            assert file.read(7) == bytes((FIN | TEXT, 5)) + b"alive"


# --- the access log -------------------------------------------------------------------


def test_request_is_a_line_on_a_terminal(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(f"{HEAD}\napp.run('127.0.0.1', 0)\n")
    pty = pytest.importorskip("pty")
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, script], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=stderr, text=True
    )
    os.close(stderr)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[3]
        assert get(url, "/nothing?secret=1")[0] == 404
        line = os.read(terminal, 1000)
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        process.stdout.close()
        os.close(terminal)
    method, path, status, size, duration, client = line.decode().split()
    assert (method, path, status, client) == ("GET", "/nothing", "404", "127.0.0.1")
    assert size.endswith("B") and int(size[:-1]) > 0
    assert duration.endswith("ms") and float(duration[:-2]) >= 0


def test_request_is_no_line_where_there_is_no_terminal(start: Start) -> None:
    program = start("")
    get(program.urls()[0])
    program.stop()
    assert program.err.rest() == ""


def test_request_is_a_line_where_it_is_asked_for(start: Start) -> None:
    program = start("", "app.run(port=0, log='text')")
    get(program.urls()[0])
    assert program.err.wait_for("GET").startswith("GET / 200 ")


def test_request_is_a_record_where_logging_is_set_up(start: Start) -> None:
    program = start("logging.basicConfig(level='INFO', format='%(name)s %(status)s %(client)s')")
    get(program.urls()[0])
    program.err.wait_for("microweb.access 200 127.0.0.1")
