"""The tables of docs/architecture.md, floors and the steps of its walks, and docs/modules.md."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest
from support.pages import DOCS, read_page
from test_layering import FLOORS

import microweb

PACKAGE = Path(microweb.__file__).parent
PAGE = read_page(DOCS / "architecture.md")

FLOOR_ROWS = [row for row in PAGE.rows() if len(row) == 2 and row[0].isdigit()]
STEPS = [row for row in PAGE.rows() if len(row) == 4 and row[0].isdigit()]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_floors_are_those_of_the_imports() -> None:
    floors = [FLOORS[int(number)] for number, _ in FLOOR_ROWS]
    assert [set(names_in(cell)) for _, cell in FLOOR_ROWS] == [set(each.split()) for each in floors]
    assert len(FLOOR_ROWS) == len(FLOORS)


def role_of(path: Path) -> str:
    """Return the first paragraph of a module's docstring."""
    documented = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert documented, f"{path}: expected a docstring"
    return " ".join(documented.split("\n\n")[0].split())


def modules_page() -> str:
    """Return docs/modules.md: `python tests/test_architecture.py > docs/modules.md` writes it."""
    page = "# Modules\n\nThe role of each module is the first paragraph of its docstring.\n"
    for package in (PACKAGE, *sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))):
        modules = (path for path in sorted(package.glob("*.py")) if path.stem[:2] != "__")
        page += f"\n## `{package.name}`\n\n{role_of(package / '__init__.py')}\n\n"
        page += "| module | role |\n|---|---|\n"
        page += "".join(
            f"| `{path.stem}` | {role_of(path).replace('|', '&#124;')} |\n" for path in modules
        )
    return page


def test_each_module_has_a_role() -> None:
    assert (DOCS / "modules.md").read_text("utf-8") == modules_page()


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


if __name__ == "__main__":
    sys.stdout.write(modules_page())
