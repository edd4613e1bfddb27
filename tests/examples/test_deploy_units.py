"""The units of the deployment kit: printed by `microweb systemd`, accepted by systemd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.deploying import KIT, copied
from support.processes import DEADLINE_S

from microweb.cli import main, systemd

HOME = "/srv/app"
PYTHON = f"{HOME}/venv/bin/python"


@pytest.mark.parametrize("kind", ["service", "socket"])
def test_unit_is_the_printed_one(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For an app in /srv/app with its virtual environment."""
    monkeypatch.setattr("sys.executable", PYTHON)
    monkeypatch.setattr(systemd, "start_directory", lambda: HOME)
    main(["systemd", "app:app", "--only", kind])
    assert (KIT / f"app.{kind}").read_text() == capsys.readouterr().out


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    kit = copied(tmp_path)
    service = kit / "app.service"
    service.write_text(service.read_text().replace(PYTHON, "/bin/true"))  # it must exist
    ended = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", service, kit / "app.socket"],
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
