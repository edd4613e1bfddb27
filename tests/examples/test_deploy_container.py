"""The Containerfile of the deployment kit: its steps, and its process without any rights."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import containing
from support.containing import Container, Stage, instructions
from support.deploying import KIT, copied
from support.processes import ROOT
from support.supervising import until

REASON = containing.why_not()
WHEEL = re.findall(r"(?m)^\./wheels/(\S+?)\[", (KIT / "requirements.txt").read_text())

UPLOAD = """
import http.client
size = 20 << 20
head = b'--b\\r\\nContent-Disposition: form-data; name="file"; filename="a"\\r\\n\\r\\n'
body = head + bytes(size) + b"\\r\\n--b--\\r\\n"
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=20)
connection.request("POST", "/uploads", body, {"Content-Type": "multipart/form-data; boundary=b"})
answer = connection.getresponse().read().decode()
assert f'"bytes":{size}' in answer, answer
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    if REASON:
        pytest.skip(REASON)
    folder = tmp_path_factory.mktemp("container")
    kit = copied(folder)
    build_wheel(kit / "wheels")
    return containing.build(kit / "Containerfile", folder / "stages")


@pytest.fixture
def container(stage: Stage) -> Iterator[Container]:
    with containing.running(stage) as started:
        yield started


def build_wheel(folder: Path) -> None:
    """Build the wheel as requirements.txt says."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*pip, folder, ROOT], check=True, timeout=containing.BUILD_S)
    assert [path.name for path in folder.iterdir()] == WHEEL


def test_process_1_has_no_rights(container: Container) -> None:
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    assert status["NSpid"].split()[-1] == "1"
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_only_tmp_can_be_written(container: Container) -> None:
    """The root is mounted read-only, so that this also holds for files of the app's own user."""
    lines = Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in lines}
    assert "ro" in options["/"]
    for path in ("/new", "/srv/app/new", "/srv/app/venv/new"):
        assert container.executes("touch", path).returncode != 0, path
    assert container.executes("touch", "/tmp/new").returncode == 0


def test_upload_waits_in_tmp(container: Container) -> None:
    ended = container.executes("venv/bin/python", "-c", UPLOAD)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_health_follows_a_stop_that_reaches_process_1(container: Container) -> None:
    assert container.executes(*container.stage.health).returncode == 0
    os.kill(container.pid, signal.SIGTERM)
    until(lambda: container.executes(*container.stage.health).returncode != 0)
    assert container.program.process.poll() is None, "it drains"
    container.program.ends(0)


def test_instructions_are_those_of_a_small_image() -> None:
    found = instructions((KIT / "Containerfile").read_text())
    bases = [rest.split()[0] for name, rest in found if name == "FROM"]
    assert all(re.search(r"/python:3\.\d+-slim-\w+$", base) for base in bases), "pin a version"
    names = [name for name, _ in found]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    copied_first = [rest for name, rest in found if name == "COPY"]
    assert copied_first[-1].startswith("pyproject.toml app.py"), "what changes most is copied last"
