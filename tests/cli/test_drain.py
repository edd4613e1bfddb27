"""`microweb drain`: a service that ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.controlling import command, controlled

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")


def test_command_waits_for_the_end(tmp_path: Path) -> None:
    with controlled(tmp_path, workers=1) as (program, _, path):
        ended = command("drain", path, "--wait")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == "microweb: the service ended with status 0\n"
        program.ends(0)
        assert "there is no such file" in command("drain", path).stderr
