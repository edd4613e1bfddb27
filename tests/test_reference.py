"""The reference in docs/reference/: each public name on one page, with its members; its tables."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from dataclasses import fields
from pathlib import Path
from types import FunctionType, MemberDescriptorType

import pytest
from support.pages import DOCS, PAGES, Page, read_page

import microweb
from microweb.cli.command import Command
from microweb.cli.command_line import COMMANDS
from microweb.debug.missing_names import OWN_NAMES
from microweb.server.config import ServerConfig

REFERENCE = [page for page in PAGES if page.name.startswith("docs/reference/")]

# Packages that hand on their public names.
PACKAGES = ("channels", "openapi", "sessions", "sse", "testing", "websocket")

# Other modules that users import from, and the names that are for them.
MODULES = {module: names for module, names in OWN_NAMES.items() if module not in PACKAGES}

# Classes of which users get objects, and make none.
MADE_BY_MICROWEB = set(
    "Address Broker Channel ClientCertificate ClientSocket EventStream Files Flash Form Gap"
    " HandshakeRefused LiveServer Message MissingTemplate Part ReceivedEvent Request Route Server"
    " Session SessionStore SocketClosed Subscription TLSInfo TemplateResponse TemplateStream"
    " TestClient UploadFile WebSocket".split()
)

# Objects of which users need only a part; the pages tell which.
TOLD_IN_PART = {"MemoryTransport", "Server", "WSGI"}

MEMBERS = (FunctionType, property, staticmethod, classmethod, MemberDescriptorType)


def public_names() -> dict[str, object]:
    found = {name: getattr(microweb, name) for name in microweb.__all__}
    for package in PACKAGES:
        module = importlib.import_module(f"microweb.{package}")
        found |= {name: getattr(module, name) for name in module.__all__}
    for path, names in MODULES.items():
        module = importlib.import_module(f"microweb.{path}")
        found |= {name: getattr(module, name) for name in names.split()}
    return found | errors()


def errors() -> dict[str, object]:
    found = vars(importlib.import_module("microweb.errors"))
    return {name: value for name, value in found.items() if is_public_class(value, "errors")}


def is_public_class(value: object, module: str) -> bool:
    if not isinstance(value, type) or value.__module__ != f"microweb.{module}":
        return False
    return not value.__name__.startswith("_")


PUBLIC = public_names()


# --- names ----------------------------------------------------------------------------


def headings_of(page: Page) -> list[str]:
    return re.findall(r"(?m)^#+ `(\w+)`$", page.prose())


def pages_of(name: str) -> list[Page]:
    row = re.compile(rf"(?m)^\| `{name}` \|")
    return [page for page in REFERENCE if name in headings_of(page) or row.search(page.prose())]


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_is_on_one_page(name: str) -> None:
    assert len(pages_of(name)) == 1, [page.name for page in pages_of(name)]


def test_each_heading_is_a_public_name() -> None:
    assert {name for page in REFERENCE for name in headings_of(page)} <= PUBLIC.keys()


def test_each_middleware_is_public() -> None:
    folder = Path(microweb.__file__).parent / "middleware"
    modules = {f"middleware.{path.stem}" for path in folder.glob("[a-z]*.py")}
    modules.remove("middleware.rate_limit_redis")  # the store of one
    found = {
        name
        for path in modules
        for name, value in vars(importlib.import_module(f"microweb.{path}")).items()
        if is_public_class(value, path) and "__call__" in vars(value)
    }
    assert len(found) >= len(modules)
    assert found <= PUBLIC.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_each_member_is_on_the_page(name: str) -> None:
    value, (page,) = PUBLIC[name], pages_of(name)
    if name not in headings_of(page) or name in TOLD_IN_PART:
        return
    assert public_members(value) | parameters_of(name, value) <= words_of(page)


def public_members(value: object) -> set[str]:
    """Return the members that a class adds to its base."""
    if not isinstance(value, type):
        return set()
    return {
        name
        for name, member in vars(value).items()
        if isinstance(member, MEMBERS) and not name.startswith("_")
        if not hasattr(value.__base__, name)
    }


def parameters_of(name: str, value: object) -> set[str]:
    if name in MADE_BY_MICROWEB or not callable(value):
        return set()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(value).parameters.values()
    return {each.name for each in parameters if each.kind not in variable}


def words_of(page: Page) -> set[str]:
    return {word for text in page.names() for word in re.findall(r"\w+", text)}


# --- tables ---------------------------------------------------------------------------


def test_each_option_is_there_with_its_default() -> None:
    rows = [row for row in read_page(DOCS / "reference/options.md").rows() if len(row) == 3]
    options = {row[0].strip("`"): row[1] for row in rows if row[0].startswith("`")}
    assert options == {
        field.name: in_words(getattr(ServerConfig(), field.name)) for field in fields(ServerConfig)
    }


def in_words(value: object) -> str:
    for size, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if isinstance(value, int) and value >= 4 * size and value % size == 0:
            return f"{value // size} {unit}"
    return "`" + repr(value).replace("'", '"') + "`"


def test_each_command_is_there() -> None:
    page = read_page(DOCS / "reference/command-line.md")
    named = [row[0] for row in page.rows() if row[0].startswith("`microweb ")]
    assert named == [f"`microweb {usage_of(command)}`" for command in COMMANDS]


def usage_of(command: Command) -> str:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    has_target = "target" in {action.dest for action in parser._actions}
    return f"{command.name}{' TARGET' if has_target else ''}"


def test_each_extra_is_there() -> None:
    text = (DOCS.parent / "pyproject.toml").read_text("utf-8")
    (table,) = re.findall(r"(?ms)^\[project.optional-dependencies\]\n(.*?)^\[", text)
    rows = read_page(DOCS / "reference/extras.md").rows()
    named = [row[0].strip("`") for row in rows if row[0].startswith("`")]
    assert named == re.findall(r"(?m)^(\w+) = ", table)
