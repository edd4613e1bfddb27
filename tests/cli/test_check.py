"""Check an app and its options by `microweb check`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commanding import APP, DEBUG, Write, complaint, misuse
from support.processes import Program

from microweb import cli
from microweb.cli.check import COMMAND
from microweb.server.settings import NAMES

STATE = """
from microweb.channels import Channels
from microweb.middleware.rate_limit import RateLimit
from microweb.sessions.memory import MemoryStore

store = MemoryStore()
channels = Channels()
app.use(RateLimit(1, 60))
"""
STARTS = """
@app.on_startup
async def start() -> None:
    print("started")
"""

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the variables of this test run out of the environment."""
    for name in [name for name in os.environ if name.startswith("MICROWEB_")]:
        monkeypatch.delenv(name)


def check(capsys: Out, *argv: str) -> list[str]:
    """Return the lines of a check that finds no problem."""
    cli.main(["check", *argv])
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()


def problems(capsys: Out, *argv: str) -> list[str]:
    """Return the problems that a check finds."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["check", *argv])
    assert caught.value.code == 1
    return [line.removeprefix("microweb: ") for line in capsys.readouterr().err.splitlines()]


def test_each_value_is_shown_with_its_place(
    write: Write, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP + STARTS)
    file = write("pyproject.toml", "[tool.microweb]\nthreads = 3\ntrusted_proxies = ['::1']\n")
    monkeypatch.setenv("MICROWEB_GRACE_S", "2.5")
    lines = check(capsys, "hello.py", "--port", "0")
    assert [line.split() for line in lines] == [
        ["OPTION", "VALUE", "FROM"],
        ["port", "0", "--port"],
        ["threads", "3", str(file)],
        ["trusted_proxies", "::1", str(file)],
        ["grace_s", "2.5", "MICROWEB_GRACE_S"],
        ["microweb:", "hello.py", "can", "be", "served"],
    ]


def test_port_that_replaces_an_address_is_shown(
    write: Write, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP)
    monkeypatch.setenv("MICROWEB_BIND", "unix:/nowhere/app.sock")
    lines = check(capsys, "hello.py", "--port", "0")
    assert [line.split(maxsplit=2) for line in lines[1:-1]] == [
        ["port", "0", "--port"],
        ["bind", "none", "--port, in place of MICROWEB_BIND"],
    ]
    monkeypatch.setenv("MICROWEB_PORT", "1")
    lines = check(capsys, "hello.py", "--bind", "127.0.0.1:0")
    assert [line.split(maxsplit=2) for line in lines[1:-1]] == [
        ["port", "1", "MICROWEB_PORT, not used: bind is set"],
        ["bind", "127.0.0.1:0", "--bind"],
    ]


def test_show_prints_all_options(write: Write, capsys: Out) -> None:
    write("hello.py", APP)
    rows = [line.split() for line in check(capsys, "hello.py", "--port", "0", "--show")]
    assert [row[0] for row in rows[1:-1]] == list(NAMES)
    assert ["host", "localhost", "default"] in rows
    assert ["trusted_proxies", "none", "default"] in rows


def test_ignored_variables_are_named(
    write: Write, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP)
    write("app.env", "MICROWEB_PORT=tcp://10.0.0.1:80\n")
    monkeypatch.setenv("MICROWEB_THREAD", "3")
    lines = check(capsys, "hello.py", "--port", "0", "--env-file", "app.env")
    assert "microweb: MICROWEB_THREAD is not an option: did you mean MICROWEB_THREADS?" in lines
    assert any("'tcp://10.0.0.1:80' is ignored" in line for line in lines)


def test_wrong_options_end_as_those_of_run(
    write: Write, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP)
    assert misuse(capsys, "check", "hello.py", "--port", "70000").startswith("--port: expected ")
    monkeypatch.setenv("MICROWEB_PORT", "x")
    assert complaint(COMMAND.name, "hello.py").startswith("MICROWEB_PORT: expected an int")


def test_all_problems_are_named(write: Write, capsys: Out) -> None:
    write("hello.py", DEBUG + "\napp.get('/')(lambda: 'x')\n")
    found = problems(capsys, "hello.py", "--bind", "0.0.0.0:0", "--bind", "unix:/nowhere/app.sock")
    route, debug, address = found
    assert route.startswith("GET / (index at ")
    assert debug.startswith("debug is on, but other machines can reach 0.0.0.0")
    assert address == "can't listen on unix:/nowhere/app.sock: there is no directory /nowhere"


@pytest.mark.skipif(sys.platform != "linux", reason="of /proc")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_address_of_the_running_service_is_a_note(
    tmp_path: Path, start: Callable[..., Program], workers: str
) -> None:
    """An operator checks before a reload."""
    (tmp_path / "hello.py").write_text(APP)
    options = ("hello.py", "--workers", workers, "--host", "127.0.0.1", "--port")
    service = start("-m", "microweb", "run", *options, "0")
    port = service.urls()[0].rpartition(":")[2]
    program = start("-m", "microweb", "check", *options, port)
    program.ends(0)
    named = re.escape(f"microweb: port {port} on 127.0.0.1 is in use by process ")
    named += rf"{service.process.pid} \(\S+\): a reload keeps it, "
    lines = program.out.rest().splitlines()
    assert [line for line in lines if re.match(named, line)]
    assert lines[-1] == "microweb: hello.py can be served"
    service.stop()


def test_state_in_memory_is_a_problem_of_several_workers(write: Write, capsys: Out) -> None:
    path = write("hello.py", APP + STATE)
    assert check(capsys, "hello.py", "--port", "0")[-1] == "microweb: hello.py can be served"
    found = problems(capsys, "hello.py", "--port", "0", "--workers", "2")
    store, broker = [line for line in found if str(path) in line]  # others are of other tests
    assert store.startswith(f"MemoryStore ({path}:14): ")
    assert broker.startswith(f"MemoryBroker ({path}:15): ")
    assert store.endswith(", or --per-process-ok if this is meant")


def test_state_in_memory_may_be_meant(write: Write, capsys: Out) -> None:
    path = write("hello.py", APP + STATE)
    lines = check(capsys, "hello.py", "--port", "0", "--workers", "2", "--per-process-ok")
    names = [line.split()[1] for line in lines if str(path) in line]
    assert names == ["MemoryStore", "MemoryBroker", "RateLimit"]
    assert lines[-1] == "microweb: hello.py can be served"


@pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")
def test_the_start_names_state_in_memory_once(
    tmp_path: Path, start: Callable[..., Program]
) -> None:
    (tmp_path / "hello.py").write_text(APP + STATE)
    program = start("-m", "microweb", "run", "hello.py", "--port", "0", "--workers", "2")
    program.urls()
    program.stop()
    names = [line.split()[:2] for line in program.err.rest().splitlines()]
    assert names == [["warning:", name] for name in ("MemoryStore", "MemoryBroker", "RateLimit")]
