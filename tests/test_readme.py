"""The README's tables and commands. Its programs and names are tested in test_docs.py."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from support.pages import SECTIONS, section_of

import microweb
from microweb import App, Response
from microweb.cli import main
from microweb.endpoints.results import ReturnConverter
from microweb.parser import Parser
from microweb.server.config import ServerConfig
from microweb.server.connection import Connection
from microweb.server.network import NetworkStream
from microweb.server.server import Server

PACKAGE = Path(microweb.__file__).parent


def test_app_is_about_ten_lines_and_its_test_five() -> None:
    app, test = (
        [line for line in block.splitlines() if line] for block in SECTIONS[0].blocks("python")
    )
    assert (len(app) <= 10, len(test) <= 5) == (True, True)


# Tables


def test_each_option_is_there_with_its_default() -> None:
    rows = section_of("Running").rows()
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
    rows = [row for row in section_of("How it is built").rows() if row[0].startswith("`")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    modules = [
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("__")
    ]
    assert sorted(named) == sorted(modules)


def test_the_way_of_a_request_names_what_is_there() -> None:
    places = [row[1] for row in section_of("How it is built").rows() if row[0].isdigit()]
    assert len(places) == 7
    for place in places:
        owner, _, method = place.strip("`").partition(".")
        assert not method or method in vars(CLASSES[owner]), place


CLASSES = {
    each.__name__: each
    for each in (Server, Connection, NetworkStream, Parser, App, ReturnConverter, Response)
}


# Commands


def test_command_line_is_that_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = capsys.readouterr().out
    (block,) = (b for b in section_of("Running").blocks("sh") if "microweb dev" in b)
    commands = re.findall(r"(?m)^microweb (\w+)", block)
    assert len(commands) == 3
    assert all(re.search(rf"(?m)^ +{command} ", helped) for command in commands)


def test_commands_for_a_fresh_machine_are_as_they_must_be() -> None:
    serve, test = (block.strip() for block in SECTIONS[0].blocks("sh"))
    venv = "python3 -m venv .venv && .venv/bin/pip install -e "
    assert serve == f"{venv}. && .venv/bin/python examples/hello.py"
    assert test == f"{venv}'.[dev]' && .venv/bin/python -m pytest"
