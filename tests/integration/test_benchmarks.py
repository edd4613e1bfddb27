"""`python -m benchmarks` in its smallest form: each workload is answered rightly, and measured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="needs a clone"),
]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_the_list_is_measured_and_printed() -> None:
    pytest.importorskip("uvloop")
    brief = "--rounds", "1", "--seconds", "0.1", "--cookies", "5", "--files", "3"
    found = run("--servers", "microweb", "streams", *brief)
    assert found.returncode == 0, found.stdout + found.stderr
    lines = found.stdout.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ") and "---" not in line]
    assert rows[0] == ["|", "microweb", "streams |"]
    assert [name.removeprefix("| ") for name, *_ in rows[1:]] == [
        *("real", "real, 5 cookies", "session_read", "session_read, 5 cookies"),
        *("session_write", "session_write, 5 cookies", "small", "small, 3 files"),
        *("close", "notfound", "varied", "echo", "json", "typed", "sse100", "multipart"),
        *("page", "stream"),
    ]
    assert {own.rpartition(" ")[2] for _, own, _ in rows[1:]} == {"(1.00)"}
    measured = [name for name, _, streams in rows[1:] if streams != "- |"]
    assert measured == ["| close", "| varied", "| json"]
    assert [line.partition(":")[0] for line in lines if line.startswith("load")] == [
        "load average before",
        "load average after",
    ]


def test_a_missing_load_tool_is_named(tmp_path: Path) -> None:
    found = run("--workloads", "json", PATH=str(tmp_path))
    assert found.returncode == 1
    assert "expected the load tool wrk on PATH: install it" in found.stderr
    assert "Traceback" not in found.stderr
