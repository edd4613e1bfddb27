"""Fixtures: files of an app in the current directory, and commands in this process or others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.commanding import Served, Write
from support.processes import Program

from microweb.server import process


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file below the current directory; forget modules and variables afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(
        sys, "dont_write_bytecode", True
    )  # each test writes a file of the same name
    before = set(sys.modules)
    environment = dict(os.environ)  # `--env-file` adds to it

    def write_file(name: str, source: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    yield write_file
    os.environ.clear()
    os.environ.update(environment)
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """The recorded arguments of `process.run`, which serves nothing here."""
    calls: Served = []
    monkeypatch.setattr(process, "supervise_if_asked", lambda options: None)
    monkeypatch.setattr(process, "run", lambda app, options: calls.append((app, options)))
    return calls


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Program(*arguments, cwd=tmp_path))
