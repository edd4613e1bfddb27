"""The documentation, run: the programs of each page, their tests, what curl prints, its links."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from support.pages import (
    DOCS,
    PAGES,
    Page,
    import_files,
    own_modules,
    read_page,
    running,
    write_files,
)
from support.processes import DEADLINE_S, ROOT

from microweb import App, Request, Response
from microweb.cli import main
from microweb.http.mediatypes import MEDIA_TYPES
from microweb.interop.interfaces import as_application
from microweb.server.process import Application
from microweb.testing.live import live_server

README = PAGES[0]
INDEX = read_page(DOCS / "README.md")
PROGRAMS = [page for page in PAGES if page.blocks("python")]
WITH_CONSOLE = [page for page in PAGES if page.blocks("console")]
WITH_PYTEST = [page for page in PAGES if page.is_for_pytest()]


def name_of(page: Page) -> str:
    return page.name


@pytest.fixture(autouse=True)
def media_types() -> Iterator[None]:
    """Take the media types that a page adds out of the table, which all tests share."""
    before = dict(MEDIA_TYPES)
    yield
    MEDIA_TYPES.clear()
    MEDIA_TYPES.update(before)


# --- programs -------------------------------------------------------------------------


@pytest.mark.parametrize("page", PROGRAMS, ids=name_of)
async def test_program_runs_and_its_tests_pass(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(page, tmp_path, monkeypatch) as module:
        application_of(module).freeze()
        modules = [module] if page.is_for_pytest() else [module, *import_files(page, tmp_path)]
        tests = [test for each in modules for test in own_tests(each)]
        for test in tests:
            result = test()
            if inspect.isawaitable(result):
                await result
    assert tests or page in WITH_CONSOLE or page in WITH_PYTEST, "expected a test, or curl"


def application_of(module: ModuleType) -> Application:
    application = as_application(module.app)
    assert application is not None
    return application


def own_tests(module: ModuleType) -> list[object]:
    return [value for name, value in vars(module).items() if name.startswith("test_")]


@pytest.mark.parametrize("page", WITH_PYTEST, ids=name_of)
def test_pytest_passes_with_the_files_of_the_page(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: another one would import pytest and its plugins for seconds."""
    write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with own_modules({Path(name).parts[0].removesuffix(".py") for name in page.files()}):
        assert pytest.main(["-q", "-p", "no:randomly", "-p", "no:cacheprovider"]) == 0


# --- curl -----------------------------------------------------------------------------


class Example(NamedTuple):
    command: list[str]
    output: str


def examples_of(page: Page) -> list[Example]:
    return [
        Example(shlex.split(command.replace("\\\n", " ")), output.rstrip("\n"))
        for block in page.blocks("console")
        for command, output in re.findall(r"(?m)^\$ ((?:.+\\\n)*.+)\n((?:(?!\$ ).*\n)*)", block)
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("page", WITH_CONSOLE, ids=name_of)
def test_curl_prints_what_is_shown(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, against one server, as a reader enters them."""
    with (
        running(page, tmp_path, monkeypatch) as module,
        live_server(application_of(module)) as server,
    ):
        for example in examples_of(page):
            printed = run_curl(example.command, f"{server.host}:{server.port}")
            assert without_date(printed) == without_date(example.output), example.command


def run_curl(command: list[str], address: str) -> str:
    assert command[0] == "curl", f"expected a curl command, got {command}"
    # -q and --noproxy: whatever the reader has set up for curl, it asks this server
    aside = ["-qsS", "--noproxy", "*", "--connect-to", f"localhost:5000:{address}"]
    ended = subprocess.run(["curl", *aside, *command[1:]], capture_output=True, timeout=DEADLINE_S)
    stopped_by_us = 28 if {"-m", "--max-time"} & set(command) else 0
    assert ended.returncode in (0, stopped_by_us), (command, ended.stderr.decode())
    return ended.stdout.decode().replace("\r\n", "\n").rstrip("\n")


def without_date(text: str) -> str:
    return re.sub(r"(?m)^Date: .*$", "Date:", text)


# --- names ----------------------------------------------------------------------------


NOUNS = {
    "app": set(dir(App())) | vars(App()).keys(),
    "request": set(dir(Request)),
    "response": set(dir(Response())),
    "Response": set(dir(Response)),
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_exist(page: Page) -> None:
    for text in page.names():
        for noun, name in re.findall(r"(?<![\w./])(app|request|response|Response)\.(\w+)", text):
            assert name in NOUNS[noun] or name in ("py", "service", "socket"), text  # or a file


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_options_exist(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    shell = "\n".join(page.blocks("sh")).replace("\\\n", " ")
    for line in re.findall(r"(?m)^(?:\S+/)?microweb (.+)$", shell):
        command, *arguments = shlex.split(line, comments=True)
        with pytest.raises(SystemExit) as ended:
            main(["--help"] if command.startswith("-") else [command, "--help"])
        assert ended.value.code == 0, line
        options = [text.partition("=")[0] for text in arguments if text.startswith("-")]
        helped = set(re.findall(r"-[\w-]+", capsys.readouterr().out))
        assert set(options) <= helped, line


# --- links ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links():
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath((ROOT / page.name).parent / path)) if path else None
        assert target is None or target.exists(), link
        if anchor:
            assert anchor in (read_page(target) if target else page).anchors(), link


def test_the_index_has_each_page_once() -> None:
    linked = [link for link in INDEX.links() if not link.startswith("#")]
    pages = {page.name.removeprefix("docs/") for page in PAGES[1:] if page.name != INDEX.name}
    assert sorted(linked) == sorted(pages)


# --- the README -----------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert README.text.count("\n") <= 160
    blocks = ([line for line in text.splitlines() if line] for text in README.blocks("python"))
    app, test, typed = blocks
    assert (len(app) <= 10, len(test) <= 5, len(typed) <= 12) == (True, True, True)


def test_commands_for_a_fresh_machine_are_as_they_must_be() -> None:
    serve, test = (block.strip() for block in README.blocks("sh"))
    venv = "python3 -m venv .venv && .venv/bin/pip install -e "
    assert serve == f"{venv}. && .venv/bin/python examples/hello.py"
    assert test == f"{venv}'.[dev]' && .venv/bin/python -m pytest"
