"""The stderr of workers, copied with its last lines kept."""

from __future__ import annotations

import os
import pty
import select
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.developing import APP, write
from support.processes import DEADLINE_S, ENVIRONMENT, get

from microweb.development.terminal import Terminal


def test_last_lines_since_the_worker_began(capfd: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    os.write(terminal.descriptor, b"of the worker before\n")
    terminal.copy()
    terminal.forget()
    text = "".join(f"line {number}\n" for number in range(100))
    os.write(terminal.descriptor, text.encode())
    assert terminal.last_lines() == "\n".join(text.splitlines()[-30:])
    os.write(terminal.descriptor, b"the end\n")
    terminal.close()
    assert capfd.readouterr().err == f"of the worker before\n{text}the end\n"


# --- a debugger

DEBUGGED = APP.replace("    return", "    answer = 41\n    breakpoint()\n    return")


class AtTerminal:
    """`microweb dev app.py` at a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            command = [sys.executable, "-m", "microweb", "dev", "app.py", "--port", "0"]
            os.execve(sys.executable, command, ENVIRONMENT)
        self._seen = b""

    def wait_for(self, text: str) -> str:
        """Return what is printed until `text`."""
        ends_at = time.monotonic() + DEADLINE_S
        while text.encode() not in self._seen:
            left_s = max(ends_at - time.monotonic(), 0)
            assert select.select([self.descriptor], [], [], left_s)[0], self._seen.decode()
            self._seen += os.read(self.descriptor, 65536)
        found, _, self._seen = self._seen.partition(text.encode())
        return found.decode()

    def enter(self, line: str) -> None:
        os.write(self.descriptor, line.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.descriptor)[3] & termios.ECHO)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[AtTerminal]:
    write(tmp_path / "app.py", DEBUGGED)
    made = AtTerminal(tmp_path)
    yield made
    os.close(made.descriptor)  # the end of a terminal ends its programs
    ends_at = time.monotonic() + DEADLINE_S
    while os.waitpid(made.pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_debugger_in_an_endpoint(terminal: AtTerminal, tmp_path: Path) -> None:
    terminal.wait_for("http://")
    url = "http://" + terminal.wait_for(" ")
    answers: list[str] = []

    def ask() -> None:
        try:
            answers.append(get(url)[1])
        except OSError:
            answers.append("cut")

    asking = threading.Thread(target=ask)
    asking.start()
    terminal.wait_for("(Pdb)")
    terminal.enter("p answer + 1\n")
    assert "42" in terminal.wait_for("(Pdb)")
    terminal.enter("c\n")
    asking.join(DEADLINE_S)
    assert answers == ["version 1"]

    asking = threading.Thread(target=ask)
    asking.start()
    terminal.wait_for("(Pdb)")
    write(tmp_path / "app.py", APP)  # a save ends the session
    terminal.wait_for("it is killed")
    asking.join(DEADLINE_S)
    assert answers[1] == "cut"
    assert get(url) == (200, "version 1")
    assert terminal.echoes()


def test_stderr_of_the_app_is_a_terminal(terminal: AtTerminal, tmp_path: Path) -> None:
    terminal.wait_for("listening on")
    shown = "import os, sys\nsys.stderr.write(f'<{sys.stderr.isatty()}>{os.isatty(0)}')\n"
    write(tmp_path / "app.py", shown + APP)
    terminal.wait_for("<True>True")
