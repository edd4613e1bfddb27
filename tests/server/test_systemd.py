"""Sockets that systemd passes to a program."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, Program, get

from microweb.server import systemd

pytestmark = pytest.mark.skipif(os.name != "posix", reason="systemd runs on Linux")

APP = """
import os
from microweb import App

app = App()

@app.get("/")
async def index() -> str:
    return ",".join(sorted(name for name in os.environ if name.startswith("LISTEN_"))) or "none"
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
    monkeypatch.setattr(systemd, "_taken", None)
    return monkeypatch


def test_descriptors_are_taken_out_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    for name, value in (("PID", os.getpid()), ("FDS", 1), ("FDNAMES", "web")):
        environment.setenv(f"LISTEN_{name}", str(value))
    environment.setattr(os, "set_inheritable", lambda number, inheritable: None)
    assert list(systemd.of_this_process().descriptors) == [3]
    assert not [name for name in os.environ if name.startswith("LISTEN_")]
    assert list(systemd.of_this_process().descriptors) == [3]


@pytest.mark.parametrize("pid", ["1", "", "x"])
def test_descriptors_of_another_process_are_not_taken(
    environment: pytest.MonkeyPatch, pid: str
) -> None:
    environment.setenv("LISTEN_PID", pid)
    environment.setenv("LISTEN_FDS", "1")
    assert list(systemd.of_this_process().descriptors) == []
    assert os.environ["LISTEN_FDS"] == "1"


@pytest.mark.parametrize("count", ["", "x", "-1", "0"])
def test_count_that_is_none(environment: pytest.MonkeyPatch, count: str) -> None:
    environment.setenv("LISTEN_PID", str(os.getpid()))
    environment.setenv("LISTEN_FDS", count)
    assert list(systemd.of_this_process().descriptors) == []


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
