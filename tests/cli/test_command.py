"""How a command fails: one line and an exit status."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest
from support.commanding import APP
from support.processes import DEADLINE_S, ENVIRONMENT, run_to_end

from microweb.cli.command import fail, fail_usage, write_out


def test_failure_is_one_line_and_status_1() -> None:
    with pytest.raises(SystemExit) as caught:
        fail("there is no app")
    assert caught.value.code == "microweb: there is no app"  # Python prints it, and exits with 1


def test_wrong_usage_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fail_usage("expected a target")
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", "microweb: expected a target\n")


def test_what_is_in_the_way_is_one_line_and_status_1(tmp_path: Path) -> None:
    ended = run_to_end(["-m", "microweb", "routes", "nothing.py"], tmp_path)
    assert ended.returncode == 1
    assert (ended.stdout, ended.stderr) == ("", "microweb: there is no file nothing.py\n")


# --- the text of a command


BUFFERED = {**ENVIRONMENT, "PYTHONUNBUFFERED": ""}  # so that Python flushes at exit
LONG = "x" * 300_000 + "\n"  # more than a pipe takes


def run_with(stdout: int | IO[bytes], *arguments: str, cwd: Path) -> tuple[int, str]:
    """Run a command, and return its status and the lines on stderr."""
    command = [sys.executable, *arguments]
    ended = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, cwd=cwd, env=BUFFERED,
        encoding="utf-8", timeout=DEADLINE_S,
    )  # fmt: skip
    return ended.returncode, ended.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(f"print('imported')\n{APP}\napp.openapi('Shop', '1')\n")
    return tmp_path


PRINTING = [("routes", "app.py"), ("openapi", "app.py"), ("check", "app.py", "--port", "0"),
            ("systemd", "app.py", "--user", "shop")]  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", PRINTING)
def test_full_disk_is_a_failure(folder: Path, command: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        ended = run_with(full, "-m", "microweb", *command, cwd=folder)
    assert ended == (1, "microweb: stdout: No space left on device\n")


@pytest.mark.parametrize("command", PRINTING)
def test_pipe_that_is_closed_is_a_failure(folder: Path, command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        ended = run_with(pipe, "-m", "microweb", *command, cwd=folder)
    assert ended == (1, "microweb: stdout: Broken pipe\n")


def test_stdout_that_is_closed_before_the_start_is_a_failure(folder: Path) -> None:
    shell = 'exec "$0" -m microweb systemd app.py --user shop >&-'
    ended = subprocess.run(
        ["sh", "-c", shell, sys.executable], capture_output=True, cwd=folder, env=ENVIRONMENT,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, b"microweb: stdout: it is closed\n")


@pytest.mark.parametrize("blocks", [True, False])
def test_all_of_a_long_text_is_written(tmp_path: Path, blocks: bool) -> None:
    script = "import sys; from microweb.cli.command import write_out; write_out(sys.stdin.read())"
    reading, writing = os.pipe()
    os.set_blocking(writing, blocks)
    received: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as pipe:
            received.append(pipe.read())

    reader = threading.Thread(target=read)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=writing, env=ENVIRONMENT
    ) as process:
        os.close(writing)
        assert process.stdin is not None
        process.stdin.write(LONG.encode())
        process.stdin.close()
        reader.start()
        assert process.wait(DEADLINE_S) == 0
    reader.join(DEADLINE_S)
    assert received == [LONG.encode()]


def test_captured_text(capsys: pytest.CaptureFixture[str]) -> None:
    write_out("a\n")
    assert capsys.readouterr().out == "a\n"
