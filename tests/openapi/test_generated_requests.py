"""Requests that schemathesis generates from the document of an app with everything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.processes import ROOT, Program

PROGRAM = shutil.which("schemathesis")

# For its answer the program has `items` in place of `prefixItems`: no JSON Schema of 2020-12.
LEFT_OUT = ["--exclude-path", "/answers/point"]

# Forms and files have only texts and bytes. A number in place of a text, or 0 in place of `false`,
# is sent as such a text, so the program waits for a refusal in vain.
FORMS = ["/sources/form", "/sources/upload"]
OTHERS = [each for path in FORMS for each in ("--exclude-path", path)]
TEXTS = [each for path in FORMS for each in ("--include-path", path)]
TEXTS += ["--exclude-checks", "negative_data_rejection"]


@pytest.mark.skipif(PROGRAM is None, reason="needs schemathesis")
@pytest.mark.parametrize(
    ("selected", "tested"), [(LEFT_OUT + OTHERS, 31), (TEXTS, 2)], ids=["json", "forms"]
)
def test_no_generated_request_finds_an_issue(
    tmp_path: Path, selected: list[str], tested: int
) -> None:
    app = ROOT / "tests" / "support" / "kitchen_sink.py"
    with Program("-m", "microweb", "run", app, "--port", "0") as server:
        options = ["--max-examples", "10", "--seed", "1", *selected]
        options += ["--header", "Authorization: Bearer sesame"]
        ended = subprocess.run(
            [str(PROGRAM), "run", f"{server.urls()[0]}/openapi.json", *options],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=240,
        )
    assert ended.returncode == 0, ended.stdout
    assert f"Tested: {tested}" in ended.stdout  # operations
