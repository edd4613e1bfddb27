"""Signals while a server runs, in a separate process and in this one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, connect, get
from support.started import HANGS, HEAD, LOOPS, RUN, Start, apps_in

from microweb.server.signals import has_terminal, signals_handled


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with apps_in(tmp_path) as start_app:
        yield start_app


def test_second_signal_leaves_at_once(start: Start) -> None:
    program = start(HANGS, "app.run(port=0, grace_s=600)")
    url = program.urls()[0]
    connection = connect(url)
    connection.request("GET", "/hang")
    program.out.wait_for("hanging")
    program.process.send_signal(signal.SIGTERM)
    with pytest.raises(ConnectionRefusedError):  # now the stop has begun
        while True:
            get_or_reset(url)
    program.stop(signal.SIGINT, status=128 + signal.SIGINT)
    connection.close()


def get_or_reset(url: str) -> None:
    try:
        get(url)
    except ConnectionRefusedError:
        raise
    except OSError:  # accepted by the kernel when the listener closed
        pass


@pytest.mark.parametrize("loop", LOOPS)
def test_second_signal_leaves_even_where_the_loop_is_blocked(start: Start, loop: str) -> None:
    program = start(
        """
@app.get("/block")
async def block() -> None:
    print("blocking")
    time.sleep(600)
""",
        f"app.run(port=0, loop={loop!r})",
    )
    connection = connect(program.urls()[0])
    connection.request("GET", "/block")
    program.out.wait_for("blocking")
    status = None
    while status is None:
        program.process.send_signal(signal.SIGTERM)
        try:
            status = program.process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    assert status == 128 + signal.SIGTERM
    connection.close()


def test_signal_handlers_are_put_back(start: Start) -> None:
    program = start(
        # A shell makes its background processes ignore SIGINT.
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        RUN + "; print(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))",
    )
    program.urls()
    program.stop(signal.SIGTERM)
    assert program.out.rest().splitlines()[-1].startswith(f"{signal.SIG_IGN!s} <built-in function")


def test_run_in_another_thread_has_no_signal_handlers(start: Start) -> None:
    program = start(
        "",
        "threading.Thread(target=app.run, kwargs={'port': 0}, daemon=True).start()\n"
        "sys.stdin.read()",
    )
    line = program.out.wait_for("listening on")
    assert "Ctrl-C" not in line
    assert get(line.split()[3]) == (200, "hello")
    program.stdin.close()
    program.ends(0)


def test_first_interrupt_says_for_which_requests_the_server_waits(start: Start) -> None:
    program = start(HANGS, "app.run(port=0, grace_s=600)")
    connection = connect(program.urls()[0])
    connection.request("GET", "/hang?secret=1")
    program.out.wait_for("hanging")
    program.process.send_signal(signal.SIGINT)
    assert program.out.wait_for("stopping") == (
        "microweb: stopping: waits up to 600 s for 1 request (GET /hang (route /hang)) "
        "(Ctrl-C again exits immediately)"
    )
    program.stop(signal.SIGINT, status=128 + signal.SIGINT)
    connection.close()


def test_interrupt_is_answered_where_the_loop_is_blocked(start: Start) -> None:
    program = start("""
@app.get("/block")
async def block() -> None:
    print("blocking")
    time.sleep(600)
""")
    connection = connect(program.urls()[0])
    connection.request("GET", "/block")
    program.out.wait_for("blocking")
    program.process.send_signal(signal.SIGINT)
    program.out.wait_for("for 1 request (GET /block (route /block))")
    program.stop(signal.SIGINT, status=128 + signal.SIGINT)
    connection.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_sigusr1_does_nothing(start: Start, loop: str) -> None:
    program = start("", f"app.run(port=0, loop={loop!r})")
    (url, *_) = program.urls()
    program.process.send_signal(signal.SIGUSR1)
    assert get(url) == (200, "hello")
    program.stop()
    assert program.err.rest() == ""


def test_sigusr1_of_the_application_stays_its_own(start: Start) -> None:
    program = start("import faulthandler; faulthandler.register(signal.SIGUSR1)")
    program.urls()
    program.process.send_signal(signal.SIGUSR1)
    program.err.wait_for("most recent call first")
    program.stop()


@pytest.mark.parametrize("loop", LOOPS)
def test_sighup_is_a_line_in_the_log(start: Start, loop: str) -> None:
    not_ignored = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # nohup ignores it
    program = start(not_ignored, f"app.run(port=0, loop={loop!r})")
    (url, *_) = program.urls()
    program.process.send_signal(signal.SIGHUP)
    program.err.wait_for("SIGHUP is ignored because there is nothing to reload: send SIGTERM")
    assert get(url) == (200, "hello")
    program.stop()


def test_sighup_that_was_ignored_stays_so(start: Start) -> None:
    program = start("signal.signal(signal.SIGHUP, signal.SIG_IGN)")  # like nohup
    (url, *_) = program.urls()
    program.process.send_signal(signal.SIGHUP)
    assert get(url) == (200, "hello")
    program.stop()
    assert program.err.rest() == ""


def test_terminal_that_goes_away_stops_the_server(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    script = tmp_path / "app.py"
    script.write_text(f"""{HEAD}
import fcntl, signal, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # stdin is the controlling terminal from now on

@app.on_shutdown
async def say() -> None:
    print("shut down")

app.run(port=0); print("after run")
""")
    terminal, stdin = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, script],
        env=ENVIRONMENT,
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(stdin)
    try:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        os.close(terminal)  # the kernel sends SIGHUP
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert out.split("\n")[:2] == ["shut down", "after run"]
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        process.stdout.close()


# --- in this process


def test_terminal_counts_as_there_if_no_descriptor_is_free() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        is_there = has_terminal()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert is_there


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Set the handlers of a normal shell: the parent of pytest may have set others."""
    handlers = {
        number: signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


@pytest.mark.usefixtures("default_signals")
async def test_stop_is_called_in_the_handler() -> None:
    stops: list[int] = []
    with signals_handled(stops.append) as is_handled:
        assert is_handled
        signal.raise_signal(signal.SIGTERM)
        assert stops == [signal.SIGTERM]  # without the event loop
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("default_signals")
async def test_interrupt_stops_as_well_and_its_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    stops: list[int] = []
    with signals_handled(stops.append):
        signal.raise_signal(signal.SIGINT)
    assert stops == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("default_signals")
async def test_signals_of_others_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    stops: list[int] = []
    with signals_handled(stops.append):
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGHUP)
        async with asyncio.timeout(DEADLINE_S):
            while not caplog.records:
                await asyncio.sleep(0)
    assert stops == []
    (record,) = caplog.records
    assert record.getMessage().startswith("SIGHUP is ignored")


@pytest.mark.usefixtures("default_signals")
async def test_handlers_of_the_application_stay() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heard: list[int] = []
    own = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    assert own is signal.SIG_DFL
    with signals_handled(lambda number: None):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        signal.raise_signal(signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]


@pytest.mark.usefixtures("default_signals")
async def test_another_thread_has_no_handlers() -> None:
    def handle() -> bool:
        with signals_handled(lambda number: None) as is_handled:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            return is_handled

    assert await asyncio.to_thread(handle) is False
