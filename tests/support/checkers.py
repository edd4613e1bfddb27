"""Type checkers as programs: mypy, and pyright if it is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_BESIDE = str(Path(sys.executable).parent)  # the commands of this environment
PYRIGHT = shutil.which("pyright", path=os.pathsep.join([_BESIDE, os.environ.get("PATH", "")]))


def mypy(path: Path) -> list[int]:
    """Return the lines with errors of `mypy --strict`."""
    cache = os.environ.get("MYPY_CACHE_DIR", str(path.parent / "cache"))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, path.name]
    return lines_with_errors(command, path)


def pyright(path: Path) -> list[int]:
    """Return the lines with errors of pyright. `# pyright: strict` is in the file."""
    assert PYRIGHT is not None
    return lines_with_errors([PYRIGHT, "--pythonpath", sys.executable, path.name], path)


def lines_with_errors(command: list[str], path: Path) -> list[int]:
    ended = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=300)
    lines = [int(number) for number in re.findall(rf"{path.name}:(\d+):.*? error: ", ended.stdout)]
    assert (ended.returncode == 0) is (lines == []), ended.stdout + ended.stderr
    return sorted(set(lines))


CHECKERS = [
    pytest.param(mypy, marks=pytest.mark.skipif(not find_spec("mypy"), reason="needs mypy")),
    pytest.param(pyright, marks=pytest.mark.skipif(not PYRIGHT, reason="needs pyright")),
]


def wrong_lines_of(path: Path) -> list[int]:
    """Return the lines of a file that end with `# wrong`."""
    lines = path.read_text("utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith("  # wrong")]
