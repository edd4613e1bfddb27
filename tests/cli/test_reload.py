"""`microweb reload`: its outcome is its exit status."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.controlling import command, controlled

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")


def test_outcome_is_printed_and_the_exit_status_says_it(tmp_path: Path) -> None:
    with controlled(tmp_path, workers=1) as (program, _, path):
        ended = command("reload", path)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith("microweb: reload complete: workers ")
        script = tmp_path / "app.py"
        script.write_text(script.read_text().replace("app = App()", "app = App()\n1 / 0"))
        ended = command("reload", path)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "reload failed: worker" in ended.stderr and ended.stderr.count("\n") == 1
        program.stop()
