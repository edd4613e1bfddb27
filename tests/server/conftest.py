"""Fixtures of the tests of the server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.supervising import SCRIPT

from microweb.server.board import Board
from microweb.server.config import ServerConfig
from microweb.server.pool import WorkerPool

SLEEPS = "import time; time.sleep(600)"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return a program that serves by two workers."""
    path = tmp_path / "app.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """Return a pool with one place, whose workers sleep and never become ready."""
    made = WorkerPool(ServerConfig(), [sys.executable, "-c", SLEEPS], [], 1)
    yield made
    made.close()


@pytest.fixture
def board() -> Iterator[Board]:
    """Return a board with slots for four workers."""
    made = Board.create(4)
    yield made
    made.close()
