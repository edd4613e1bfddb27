"""The units of the deployment kit: printed by `microweb systemd`, accepted by systemd."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.deploying import KIT, copied, replaced
from support.processes import DEADLINE_S

from microweb.cli import main, systemd

HOME = "/srv/app"
PYTHON = f"{HOME}/venv/bin/python3"


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_unit_is_the_printed_one(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For an app in /srv/app with its virtual environment."""
    monkeypatch.chdir(KIT)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    monkeypatch.setattr("sys.executable", PYTHON)
    monkeypatch.setattr(systemd, "start_directory", lambda: HOME)
    main(["systemd", "app:app", "--only", kind])
    assert (KIT / f"app.{kind}").read_text() == capsys.readouterr().out


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with a program that exists on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    kit = copied(tmp_path)
    service = kit / "app.service"
    service.write_text(replaced(service.read_text(), {PYTHON: "/bin/true"}))
    return [service, kit / "app.socket"]


def analyzed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, encoding="utf-8", timeout=DEADLINE_S
    )


def test_systemd_accepts_the_units(units: list[Path]) -> None:
    ended = analyzed("verify", "--man=no", *units)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_service_is_little_exposed(units: list[Path]) -> None:
    """It has 1.7 of 10. A unit without any restriction has 9.6."""
    ended = analyzed("security", "--offline=true", "--threshold=20", "--no-pager", units[0])
    assert ended.returncode == 0, ended.stdout + ended.stderr
