"""The configuration of a command, and its environment file."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commanding import APP, Served, Write, complaint, misuse
from support.processes import DEADLINE_S, ENVIRONMENT, Program, get

from microweb import cli

SHOWN = APP.replace('"hello"', 'os.environ["GREETING"]').replace("from", "import os\nfrom", 1)


@pytest.mark.parametrize("command", [["run"], ["dev", "--no-reload"]])
def test_flags_variables_file_and_project(
    write: Write, served: Served, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    write("hello.py", APP)
    write("pyproject.toml", "[tool.microweb]\nbacklog = 1\nthreads = 1\nport = 1\nmax_json = 1\n")
    write("app.env", "MICROWEB_BACKLOG=2\nMICROWEB_THREADS=2\nMICROWEB_PORT=2\nGREETING=hi\n")
    monkeypatch.setenv("MICROWEB_BACKLOG", "3")
    monkeypatch.setenv("MICROWEB_THREADS", "3")
    for name in ("MICROWEB_PORT", "GREETING"):
        monkeypatch.setenv(name, "")  # restored at the end of the test
        monkeypatch.delenv(name)
    cli.main([*command, "hello.py", "--env-file", "app.env", "--backlog", "4"])
    options = {"backlog": 4, "threads": 3, "port": 2, "max_json": 1}
    logged = {} if command == ["run"] else {"log": "text", "stall_ms": 100}
    assert served[0][1] == {**options, **logged}
    assert (os.environ["MICROWEB_THREADS"], os.environ["GREETING"]) == ("3", "hi")


def test_project_is_that_of_the_app_not_of_the_current_folder(write: Write, served: Served) -> None:
    write("pyproject.toml", "[tool.microweb]\nport = 1\n")
    write("site_/pyproject.toml", "[tool.microweb]\nport = 2\n")
    write("site_/hello.py", APP)
    cli.main(["run", "site_/hello.py"])
    assert served[0][1] == {"port": 2}


def test_wrong_flag_is_a_wrong_usage_but_not_a_wrong_variable(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP)
    monkeypatch.setenv("MICROWEB_PORT", "70000")
    said = "expected an int from 0 to 65535, got 70000"
    assert complaint("run", "hello.py") == f"MICROWEB_PORT: {said}"
    assert misuse(capsys, "run", "hello.py", "--port", "70000") == f"--port: {said}\n"


def test_missing_file_of_variables(write: Write) -> None:
    write("hello.py", APP)
    text = complaint("run", "hello.py", "--env-file", "no.env")
    assert text.startswith("no.env can't be read: ")


def test_a_reload_reads_the_file_anew(
    tmp_path: Path, start: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.name != "posix":
        pytest.skip("workers inherit sockets")
    (tmp_path / "hello.py").write_text(SHOWN)
    file = tmp_path / "app.env"
    file.write_text("GREETING=before\nMICROWEB_SUPERVISED=yes\nMICROWEB_PORT=0\n")
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_HOST", "127.0.0.1")
    program = start("-m", "microweb", "run", "hello:app", "--env-file", "app.env")
    (url,) = program.urls()
    assert get(url) == (200, "before")

    file.write_text("GREETING=after\nMICROWEB_GRACE_S=soon\n")
    program.process.send_signal(signal.SIGHUP)
    program.err.wait_for("MICROWEB_GRACE_S: expected a number")
    program.err.wait_for("the old ones go on")
    assert get(url) == (200, "before")

    file.write_text("GREETING=after\n")
    program.process.send_signal(signal.SIGHUP)
    program.err.wait_for("reload complete")
    ends_at = time.monotonic() + DEADLINE_S
    while get(url) != (200, "after"):  # the old worker may not have read its command yet
        assert time.monotonic() < ends_at
    program.stop()
