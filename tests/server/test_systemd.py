"""Sockets that systemd passes to a program, and messages that the program sends to systemd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, Program, get

from microweb.server import systemd

pytestmark = pytest.mark.skipif(os.name != "posix", reason="systemd runs on Linux")

APP = """
import os, time
from microweb import App

app = App()
PREFIXES = ("LISTEN_", "NOTIFY_", "WATCHDOG_")

@app.get("/")
async def index() -> str:
    return ",".join(sorted(name for name in os.environ if name.startswith(PREFIXES))) or "none"

@app.get("/block")
async def block(seconds: float) -> str:
    time.sleep(seconds)
    return "unblocked"
"""

# Passes a listening socket to a program as systemd does: as descriptor 3 of the same process.
ACTIVATE = """
import os, socket, sys
bound = socket.create_server(("127.0.0.1", 0))
if bound.fileno() != 3:
    os.dup2(bound.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
os.execv(sys.executable, [sys.executable, "-m", "microweb", "run", "app:app", *sys.argv[1:]])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Forget the values of this process."""
    monkeypatch.setattr(systemd, "_descriptors", None)
    monkeypatch.setattr(systemd, "_notifier", None)
    return monkeypatch


def test_descriptors_are_taken_out_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    for name, value in (("PID", os.getpid()), ("FDS", 1), ("FDNAMES", "web")):
        environment.setenv(f"LISTEN_{name}", str(value))
    environment.setattr(os, "set_inheritable", lambda number, inheritable: None)
    assert list(systemd.passed_descriptors()) == [3]
    assert not [name for name in os.environ if name.startswith("LISTEN_")]
    assert list(systemd.passed_descriptors()) == [3]


@pytest.mark.parametrize("pid", ["1", "", "x"])
def test_descriptors_of_another_process_are_not_taken(
    environment: pytest.MonkeyPatch, pid: str
) -> None:
    environment.setenv("LISTEN_PID", pid)
    environment.setenv("LISTEN_FDS", "1")
    assert list(systemd.passed_descriptors()) == []
    assert os.environ["LISTEN_FDS"] == "1"


@pytest.mark.parametrize("count", ["", "x", "-1", "0"])
def test_count_that_is_none(environment: pytest.MonkeyPatch, count: str) -> None:
    environment.setenv("LISTEN_PID", str(os.getpid()))
    environment.setenv("LISTEN_FDS", count)
    assert list(systemd.passed_descriptors()) == []


@pytest.mark.parametrize(
    "options", [(), ("--bind", "systemd"), ("--bind", "fd:3"), ("--workers", "2")]
)
def test_socket_of_systemd_is_served(folder: Path, options: tuple[str, ...]) -> None:
    with Program("-c", ACTIVATE, *options, cwd=folder) as program:
        (url,) = program.urls()
        assert get(url) == (200, "none")
        program.stop()
        assert program.err.rest() == ""


def test_bind_systemd_without_sockets_is_one_line(folder: Path) -> None:
    arguments = ["-m", "microweb", "run", "app:app", "--bind", "systemd"]
    with Program(*arguments, cwd=folder) as program:
        program.ends(1)
        (line,) = program.err.rest().splitlines()
        assert line.startswith("microweb: bind: systemd has passed no socket to this process")


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None or shutil.which("curl") is None,
    reason="needs systemd-socket-activate and curl",
)
@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_systemd_socket_activate(folder: Path, options: tuple[str, ...]) -> None:
    path = folder / "s"
    command = ["systemd-socket-activate", "-l", path, f"-EPYTHONPATH={ENVIRONMENT['PYTHONPATH']}"]
    command += [sys.executable, "-m", "microweb", "run", "app:app", *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as program:
        try:
            curl = ["curl", "-qsS", "--fail", "--retry", "50", "--retry-connrefused"]
            curl += ["--retry-delay", "0", "--retry-all-errors", "--unix-socket", path]
            for _ in range(3):
                answer = subprocess.check_output(
                    [*curl, "http://localhost/"], encoding="ascii", timeout=DEADLINE_S
                )
                assert answer == "none"
        finally:
            program.terminate()
            assert program.wait(DEADLINE_S) == 0
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(path))  # the file is of systemd, so it stays


# --- messages -------------------------------------------------------------------------

# Runs a program with the variables that systemd sets for Type=notify.
NOTIFIED = """
import os, sys
address, *arguments = sys.argv[1:]
os.environ |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"}
os.environ["WATCHDOG_PID"] = str(os.getpid())
command = [sys.executable, "-m", "microweb", "run", "app:app", "--port", "0", *arguments]
os.execv(sys.executable, command)
"""


class Listener:
    """The socket on which systemd hears of a service."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)

    def next(self, timeout_s: float = DEADLINE_S) -> dict[str, str] | None:
        """Return the next message, None if there is none in time."""
        self.socket.settimeout(timeout_s)
        try:
            text = self.socket.recv(4096).decode()
        except (TimeoutError, BlockingIOError):
            return None
        return dict(line.split("=", 1) for line in text.splitlines())

    def wait_for(self, name: str) -> dict[str, str]:
        """Return the next message with this variable. Messages of the watchdog may come before."""
        while (message := self.next()) is not None:
            if name in message:
                return message
            assert message == {"WATCHDOG": "1"}
        raise AssertionError(f"expected {name}")

    def is_fed(self, within_s: float) -> bool:
        """Return whether the watchdog is fed in the next `within_s` seconds."""
        return self.next(within_s) is not None


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    address = tmp_path / "notify" if request.param == "path" else f"@microweb-test-{tmp_path}"
    made = Listener(str(address))
    with made.socket:
        yield made


def test_supervised_service_sends_its_states(folder: Path, listener: Listener) -> None:
    with Program("-c", NOTIFIED, listener.address, "--workers", "2", cwd=folder) as program:
        (url, *_) = program.urls()
        ready = listener.wait_for("READY")
        assert ready["READY"] == "1" and url in ready["STATUS"]
        assert get(url) == (200, "none")
        before = time.monotonic_ns() // 1000
        program.process.send_signal(signal.SIGHUP)
        reloading = listener.wait_for("RELOADING")
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert listener.wait_for("READY") == ready
        program.err.wait_for("reload complete")
        listener.wait_for("WATCHDOG")
        program.process.send_signal(signal.SIGTERM)
        listener.wait_for("STOPPING")
        program.ends(0)


either_way = pytest.mark.parametrize("options", [(), ("--workers", "2")])


@either_way
def test_stop_is_reported_before_the_delay(
    folder: Path, listener: Listener, options: tuple[str, ...]
) -> None:
    delayed = ("--drain-delay-s", "60", *options)
    with Program("-c", NOTIFIED, listener.address, *delayed, cwd=folder) as program:
        (url, *_) = program.urls()
        listener.wait_for("READY")
        program.process.send_signal(signal.SIGTERM)
        listener.wait_for("STOPPING")
        assert get(url) == (200, "none")
        listener.wait_for("WATCHDOG")
        program.stop(signal.SIGTERM, status=128 + signal.SIGTERM)


@either_way
def test_stop_is_reported_once(folder: Path, listener: Listener, options: tuple[str, ...]) -> None:
    delayed = ("--drain-delay-s", "0.1", *options)
    with Program("-c", NOTIFIED, listener.address, *delayed, cwd=folder) as program:
        listener.wait_for("READY")
        program.process.send_signal(signal.SIGTERM)
        listener.wait_for("STOPPING")
        program.ends(0)
    while (message := listener.next(0.001)) is not None:
        assert message == {"WATCHDOG": "1"}


def test_reload_that_ends_after_the_signal_is_not_ready_again(
    folder: Path, listener: Listener
) -> None:
    delayed = ("--drain-delay-s", "60", "--workers", "2")
    with Program("-c", NOTIFIED, listener.address, *delayed, cwd=folder) as program:
        listener.wait_for("READY")
        (folder / "app.py").write_text("import time; time.sleep(0.5); 1 / 0")
        program.process.send_signal(signal.SIGHUP)
        listener.wait_for("RELOADING")
        program.process.send_signal(signal.SIGTERM)
        listener.wait_for("STOPPING")
        program.err.wait_for("reload failed")
        program.process.send_signal(signal.SIGTERM)
        program.ends(128 + signal.SIGTERM)
    while (message := listener.next(0.001)) is not None:
        assert message == {"WATCHDOG": "1"}


def test_failed_reload_is_ready_again(folder: Path, listener: Listener) -> None:
    with Program("-c", NOTIFIED, listener.address, "--workers", "2", cwd=folder) as program:
        listener.wait_for("READY")
        (folder / "app.py").write_text("1/0")
        program.process.send_signal(signal.SIGHUP)
        listener.wait_for("RELOADING")
        listener.wait_for("READY")
        program.stop()


def test_single_process_sends_its_states(folder: Path, listener: Listener) -> None:
    with Program("-c", NOTIFIED, listener.address, cwd=folder) as program:
        (url, *_) = program.urls()
        assert url in listener.wait_for("READY")["STATUS"]
        assert get(url) == (200, "none")
        listener.wait_for("WATCHDOG")
        program.process.send_signal(signal.SIGTERM)
        listener.wait_for("STOPPING")
        program.ends(0)


@pytest.mark.parametrize("listener", ["path"], indirect=True)
@pytest.mark.parametrize("options", [(), ("--supervised",)])
def test_watchdog_starves_while_no_event_loop_turns(
    folder: Path, listener: Listener, options: tuple[str, ...]
) -> None:
    with Program("-c", NOTIFIED, listener.address, *options, cwd=folder) as program:
        (url, *_) = program.urls()
        listener.wait_for("READY")
        listener.wait_for("WATCHDOG")
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as client:
            client.sendall(b"GET /block?seconds=9 HTTP/1.1\r\nHost: x\r\n\r\n")
            ends_at = time.monotonic() + 9
            while listener.is_fed(within_s=2.5):
                assert time.monotonic() < ends_at, "it is fed although the event loop stands still"
            client.settimeout(DEADLINE_S)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        listener.wait_for("WATCHDOG")
        program.stop()


def test_silent_without_systemd(environment: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        environment.delenv(name, raising=False)
    notifier = systemd.notifier()
    assert notifier.watchdog_s == 0
    notifier.ready("")
    notifier.stopping()
    notifier.feed()


@pytest.mark.parametrize("address", ["/no/such/socket", "vsock:2:1", "@microweb-no-such-socket"])
def test_listener_that_is_gone_is_no_error(address: str) -> None:
    notifier = systemd.Notifier(address, 1.0)
    notifier.ready("listening")
    notifier.feed()
    notifier.close()
    notifier.ready("not sent")


def test_message_to_a_listener_that_does_not_read_is_dropped(tmp_path: Path) -> None:
    listener = Listener(str(tmp_path / "notify"))
    with listener.socket:
        notifier = systemd.Notifier(listener.address)
        for _ in range(1000):  # more than the queue holds: it must not wait
            notifier.ready("listening")
        notifier.close()
        heard = 0
        while listener.next(timeout_s=0) is not None:
            heard += 1
    assert 0 < heard < 1000


@pytest.mark.parametrize(
    ("period", "process", "seconds"),
    [("2000000", "", 2.0), ("2000000", "1", 0.0), ("x", "", 0.0), ("", "", 0.0)],
)
def test_watchdog_of_this_process(
    environment: pytest.MonkeyPatch, period: str, process: str, seconds: float
) -> None:
    environment.setenv("NOTIFY_SOCKET", "/no/such/socket")
    environment.setenv("WATCHDOG_USEC", period)
    environment.setenv("WATCHDOG_PID", process)
    assert systemd.notifier().watchdog_s == seconds
    systemd.notifier().close()
    assert not [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_"))]
