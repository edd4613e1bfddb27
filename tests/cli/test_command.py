"""How a command fails: one line and an exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.processes import run_to_end

from microweb.cli.command import fail, fail_usage


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
