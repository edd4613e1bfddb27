"""Applications of other frameworks, unchanged, under `microweb run`: `pytest -m applications`.

Their frameworks are no part of the `dev` extra. A test whose framework is missing is skipped. This
command installs all of them:

    pip install "fastapi[standard]" starlette django flask quart litestar blacksheep falcon \
        datasette fastmcp sse-starlette "strawberry-graphql[asgi]" ariadne itsdangerous
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from support.applications import PREFIX, PROGRAMS, Serve, Site
from support.processes import ENVIRONMENT, Program

QUIET = ("--log-level", "warning", "--host", "127.0.0.1")
FRAMEWORKS = (
    "fastapi starlette django flask quart litestar blacksheep falcon datasette fastmcp "
    "sse-starlette strawberry-graphql ariadne"
).split()


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave these files out of other runs: pytest-xdist fails if a whole file is skipped."""
    return None if _are_asked_for(config) else True


def pytest_report_header(config: pytest.Config) -> str | None:
    if not _are_asked_for(config):
        return None
    return "applications: " + ", ".join(f"{name} {_version_of(name)}" for name in FRAMEWORKS)


def _are_asked_for(config: pytest.Config) -> bool:
    return "not applications" not in config.option.markexpr


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is missing"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Serve]:
    """Serve a program of this folder, alone or mounted in an App; return a client of it.

    At the end of the test the server stops, and must have reported nothing.
    """
    sites: list[Site] = []
    monkeypatch.setitem(ENVIRONMENT, "PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setitem(ENVIRONMENT, "DATA_FOLDER", str(tmp_path))
    with ExitStack() as stack:

        def start(target: str, *options: str, is_mounted: bool = False) -> Site:
            if is_mounted:
                monkeypatch.setitem(ENVIRONMENT, "MOUNTED", target)
                monkeypatch.setitem(ENVIRONMENT, "PREFIX", PREFIX)
                target = "mounted:app"
            run = ("-m", "microweb", "run", target, "--log", "off", *QUIET)
            program = stack.enter_context(Program(*run, "--port", "0", *options, cwd=PROGRAMS))
            site = stack.enter_context(Site(program, PREFIX if is_mounted else ""))
            sites.append(site)
            return site

        yield start
        for site in sites:
            site.close()
            site.program.stop()
            assert site.program.err.rest() == ""
