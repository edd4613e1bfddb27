"""Requests that schemathesis generates from the document of an app with everything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.processes import ROOT, Program

PROGRAM = shutil.which("schemathesis")

# A box in a form may be sent as 0, which the program counts as a number and no boolean. For the
# answer it has `items` in place of `prefixItems`, which is no JSON Schema of 2020-12.
LEFT_OUT = ("/sources/form", "/answers/point")


@pytest.mark.skipif(PROGRAM is None, reason="needs schemathesis")
def test_no_generated_request_finds_an_issue(tmp_path: Path) -> None:
    app = ROOT / "tests" / "support" / "kitchen_sink.py"
    with Program("-m", "microweb", "run", app, "--port", "0") as server:
        options = ["--max-examples", "10", "--seed", "1"]
        options += [each for path in LEFT_OUT for each in ("--exclude-path", path)]
        options += ["--header", "Authorization: Bearer sesame"]
        ended = subprocess.run(
            [str(PROGRAM), "run", f"{server.urls()[0]}/openapi.json", *options],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=240,
        )
    assert ended.returncode == 0, ended.stdout
    assert "Tested: 32" in ended.stdout  # operations
