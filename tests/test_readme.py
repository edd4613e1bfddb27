"""The README, run: its programs, what curl prints for them, its tables and its names."""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import NamedTuple

import pytest
from support.processes import DEADLINE_S, ROOT

import microweb
from microweb import App, Request, Response
from microweb.cli import main
from microweb.endpoints.results import ReturnConverter
from microweb.parser import Parser
from microweb.server.config import ServerConfig
from microweb.server.connection import Connection
from microweb.server.network import NetworkStream
from microweb.server.server import Server
from microweb.testing.live import live_server

PACKAGE = Path(microweb.__file__).parent
README = (ROOT / "README.md").read_text("utf-8")


class Section(NamedTuple):
    title: str
    text: str

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def names(self) -> list[str]:
        """Return what stands in backticks."""
        return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```$", "", self.text))


SECTIONS = [
    Section(title, text)
    for title, text in re.findall(r"(?ms)^##? ([^\n]+)\n(.*?)(?=^##? |\Z)", README)
]
PROGRAMS = [section for section in SECTIONS if section.blocks("python")]


class Example(NamedTuple):
    section: Section
    command: str
    output: str


EXAMPLES = [
    Example(section, command, output)
    for section in SECTIONS
    for block in section.blocks("console")
    for command, output in re.findall(r"(?m)^\$ (.+)\n((?:(?!\$ ).*\n)*)", block)
]


def section_of(title: str) -> Section:
    return next(section for section in SECTIONS if section.title == title)


@contextmanager
def run_blocks(section: Section, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield a module that has run a section's blocks, each of which may import the first.

    The templates of the section stand beside it.
    """
    with TemporaryDirectory() as folder:
        for name, text in re.findall(r"(?ms)^`([\w/.]+)`:\n\n```html\n(.*?)^```$", section.text):
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        yield run_in_module(section, monkeypatch, folder)


def run_in_module(section: Section, monkeypatch: pytest.MonkeyPatch, folder: str) -> ModuleType:
    module = ModuleType("app")
    module.__file__ = str(Path(folder, "app.py"))
    monkeypatch.chdir(ROOT)  # where a reader tries them
    monkeypatch.setitem(sys.modules, "app", module)
    if not section.blocks("python")[0].startswith("from microweb import App\n"):
        vars(module).update({name: getattr(microweb, name) for name in microweb.__all__})
        vars(module)["app"] = App()
    for block in section.blocks("python"):
        exec(compile(block, f"README.md, {section.title}", "exec"), vars(module))
    return module


def ids_of(item: Section | Example) -> str:
    return item.title if isinstance(item, Section) else f"{item.section.title}: {item.command}"


# Programs


@pytest.mark.parametrize("section", PROGRAMS, ids=ids_of)
async def test_program_runs_and_its_tests_pass(
    section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_blocks(section, monkeypatch) as module:
        module.app.freeze()
        tests = [value for name, value in vars(module).items() if name.startswith("test_")]
        for test in tests:
            result = test()
            if inspect.isawaitable(result):
                await result
        assert tests or any(example.section is section for example in EXAMPLES)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("example", EXAMPLES, ids=ids_of)
def test_curl_prints_what_is_shown(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        run_blocks(example.section, monkeypatch) as module,
        live_server(module.app) as server,
    ):
        command = example.command.replace("localhost:5000", f"{server.host}:{server.port}")
        # -q and --noproxy: whatever the reader has set up for curl, it asks this server
        arguments = ["curl", "-qsS", "--noproxy", "*", *shlex.split(command)[1:]]
        ended = subprocess.run(arguments, capture_output=True, timeout=DEADLINE_S, check=True)
    shown = ended.stdout.decode().replace("\r\n", "\n").rstrip("\n")
    assert without_date(shown) == without_date(example.output.rstrip("\n"))


def without_date(text: str) -> str:
    return re.sub(r"(?m)^Date: .*$", "Date:", text)


def test_app_is_about_ten_lines_and_its_test_five() -> None:
    app, test = (
        [line for line in block.splitlines() if line] for block in PROGRAMS[0].blocks("python")
    )
    assert (len(app) <= 10, len(test) <= 5) == (True, True)


# Tables


def rows_of(section: Section) -> list[list[str]]:
    """Return the cells of all tables."""
    rows = re.findall(r"(?m)^\| (.*) \|$", section.text)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]


def test_each_option_is_there_with_its_default() -> None:
    rows = rows_of(section_of("Running"))
    options = {row[0].strip("`"): row[1] for row in rows if row[0].startswith("`")}
    assert options == {
        field.name: in_words(getattr(ServerConfig(), field.name)) for field in fields(ServerConfig)
    }


def in_words(value: object) -> str:
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if isinstance(value, int) and value >= 4 * size and value % size == 0:
            return f"{value // size} {unit}"
    return "`" + repr(value).replace("'", '"') + "`"


def test_each_module_has_a_role() -> None:
    rows = [row for row in rows_of(section_of("How it is built")) if row[0].startswith("`")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    modules = [
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("__")
    ]
    assert sorted(named) == sorted(modules)


def test_the_way_of_a_request_names_what_is_there() -> None:
    places = [row[1] for row in rows_of(section_of("How it is built")) if row[0].isdigit()]
    assert len(places) == 7
    for place in places:
        owner, _, method = place.strip("`").partition(".")
        assert not method or method in vars(CLASSES[owner]), place


CLASSES = {
    each.__name__: each
    for each in (Server, Connection, NetworkStream, Parser, App, ReturnConverter, Response)
}


# Names


NOUNS = {
    "app": set(dir(App())) | vars(App()).keys(),
    "request": set(dir(Request)),
    "response": set(dir(Response())),
    "Response": set(dir(Response)),
}


@pytest.mark.parametrize("section", SECTIONS, ids=ids_of)
def test_names_exist(section: Section) -> None:
    for text in section.names():
        for noun, name in re.findall(r"(?<![\w.])(app|request|response|Response)\.(\w+)", text):
            assert name in NOUNS[noun] or text in ("app.py", "microweb dev app.py"), text


def test_command_line_is_that_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = capsys.readouterr().out
    (block,) = (b for b in section_of("Running").blocks("sh") if "microweb dev" in b)
    commands = re.findall(r"(?m)^microweb (\w+)", block)
    assert len(commands) == 3
    assert all(re.search(rf"(?m)^ +{command} ", helped) for command in commands)


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        titles = re.findall(r"(?m)^#+ (.+)$", README)
        assert not anchor or anchor in {title.lower().replace(" ", "-") for title in titles}


def test_commands_for_a_fresh_machine_are_as_they_must_be() -> None:
    serve, test = (block.strip() for block in SECTIONS[0].blocks("sh"))
    venv = "python3 -m venv .venv && .venv/bin/pip install -e "
    assert serve == f"{venv}. && .venv/bin/python examples/hello.py"
    assert test == f"{venv}'.[dev]' && .venv/bin/python -m pytest"
