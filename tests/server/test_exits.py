"""Exit statuses: the same ones for one process and for workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.processes import run_to_end

from microweb.server.exits import FAILED, NOT_STARTED, exit_not_started

APP = """
from microweb import App

app = App()

@app.get("/")
async def index() -> str:
    return ""
"""
LIFESPAN = """
@app.lifespan
async def life(app):
    raise OSError("no database")
    yield
"""
OPTIONS = pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(
            ["--workers", "2"],
            marks=pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets"),
        ),
    ],
    ids=["single", "workers"],
)


@OPTIONS
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("app = (", "SyntaxError: '(' was never closed"),
        (APP + LIFESPAN, "OSError: no database"),
    ],
    ids=["import", "exception", "syntax", "lifespan"],
)
def test_app_that_can_not_start(tmp_path: Path, source: str, said: str, options: list[str]) -> None:
    (tmp_path / "served.py").write_text(source)
    ended = run_to_end(["-m", "microweb", "run", "served.py", "--port", "0", *options], tmp_path)
    assert ended.returncode == NOT_STARTED == 3
    assert said in ended.stderr and ended.stdout == ""


@OPTIONS
@pytest.mark.parametrize(
    ("source", "said"),
    [
        (APP, "served.py has no 'wrong': it has app"),
        (APP + 'app.get("/")(index)', "GET / (index at "),
    ],
    ids=["target", "routes"],
)
def test_app_that_is_set_up_wrongly(
    tmp_path: Path, source: str, said: str, options: list[str]
) -> None:
    (tmp_path / "served.py").write_text(source)
    target = "served.py:wrong" if "wrong" in said else "served.py"
    ended = run_to_end(["-m", "microweb", "run", target, "--port", "0", *options], tmp_path)
    assert ended.returncode == FAILED == 1
    assert said in ended.stderr and "Traceback" not in ended.stderr


def test_exception_of_the_start_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        exit_not_started(OSError("no database"))
    assert caught.value.code == NOT_STARTED
    assert capsys.readouterr().err.endswith("OSError: no database\n")
