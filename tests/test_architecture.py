"""The tables of docs/architecture.md: floors, modules, and the steps of its walks."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from support.pages import DOCS, read_page
from test_layering import FLOORS

import microweb

PACKAGE = Path(microweb.__file__).parent
PAGE = read_page(DOCS / "architecture.md")

FLOOR_ROWS = [row for row in PAGE.rows() if len(row) == 2 and row[0].isdigit()]
MODULE_ROWS = [row for row in PAGE.rows() if len(row) == 2 and row[0].startswith("`")]
STEPS = [row for row in PAGE.rows() if len(row) == 4 and row[0].isdigit()]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_floors_are_those_of_the_imports() -> None:
    floors = [FLOORS[int(number)] for number, _ in FLOOR_ROWS]
    assert [set(names_in(cell)) for _, cell in FLOOR_ROWS] == [set(each.split()) for each in floors]
    assert len(FLOOR_ROWS) == len(FLOORS)


def test_each_module_has_a_role() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if not path.stem.startswith("__")
    ]
    assert sorted(name for row in MODULE_ROWS for name in names_in(row[0])) == sorted(modules)


def test_there_are_five_walks() -> None:
    assert [row[0] for row in STEPS].count("1") == 5


@pytest.mark.parametrize("step", STEPS, ids=lambda row: f"{row[0]} {row[2].strip('`')}")
def test_each_step_names_code_of_its_file(step: list[str]) -> None:
    (file,), (name,) = names_in(step[1]), names_in(step[2])
    path = "microweb." + file.removesuffix(".py").replace("/", ".")
    owner, _, member = name.partition(".")
    value = vars(importlib.import_module(path))[owner]
    assert value.__module__ == path
    assert not member or member in vars(value)
