"""The process of `microweb dev`, which starts the app anew when a file changes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.developing import APP, developed, until_answered, write
from support.processes import get

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")


def test_a_save_is_answered_by_the_new_code(tmp_path: Path) -> None:
    with developed(tmp_path) as (program, url):
        assert get(url) == (200, "version 1")
        write(tmp_path / "app.py", APP.replace("1", "2"))
        until_answered(url, "version 2")
        assert program.err.wait_for("reload") == "microweb: app.py changed: reload"
        program.stop(signal.SIGINT)
