"""The project's probe on its contract application: both live beside the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.processes import DEADLINE_S, ENVIRONMENT, Program

PROBE = Path(__file__).parents[2].parent / "shared" / "conformance"

pytestmark = pytest.mark.skipif(
    not (PROBE / "h1probe.py").exists(), reason=f"no conformance probe in {PROBE}"
)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_every_case_passes(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    made = [sys.executable, PROBE / "make_files.py", tmp_path]
    subprocess.run(made, check=True, capture_output=True, timeout=DEADLINE_S)
    monkeypatch.setitem(ENVIRONMENT, "CONTRACT_FILES", str(tmp_path))
    with Program(PROBE / "contract_app.py", "0", loop) as program:
        address = urlsplit(program.urls()[0]).netloc
        probe = subprocess.run(
            [sys.executable, PROBE / "h1probe.py", address, "--show", "--fail"],
            env=ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
    assert probe.returncode == 0, probe.stdout + probe.stderr
    assert " 0 failed" in probe.stdout
