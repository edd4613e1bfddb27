"""The stderr of workers, copied with its last lines kept."""

from __future__ import annotations

import os

import pytest

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
