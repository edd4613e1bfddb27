"""The pages of documentation as data: their blocks, the files that they show, their programs.

All Python blocks of a page run in order in one module named `app`. A block below a line that is
just a file name in backticks and a colon is that file. Unless a page imports `App`, its blocks
begin with the public names of microweb and `app = App()`. A page of the tutorial continues with the
files of the pages before it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import NamedTuple

import pytest

import microweb

from .processes import ROOT

DOCS = ROOT / "docs"


class Block(NamedTuple):
    language: str
    text: str
    name: str  # of the file that it shows, else empty
    line: int  # of its first line in the page


class Page(NamedTuple):
    name: str  # its path from the root of the repository
    text: str
    earlier: Mapping[str, str] = MappingProxyType({})  # files of the pages before it

    def blocks(self, language: str) -> list[str]:
        return [block.text for block in self.all_blocks() if block.language == language]

    def all_blocks(self) -> Iterator[Block]:
        found = r"(?ms)(?:^`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```$"
        for match in re.finditer(found, self.text):
            line = self.text.count("\n", 0, match.start(3)) + 1
            yield Block(match[2], match[3], match[1] or "", line)

    def program(self) -> list[Block]:
        """Return the blocks that run in the module `app`."""
        python = [block for block in self.all_blocks() if block.language == "python"]
        program = [block for block in python if block.name in ("", "app.py")]
        if not program and "app.py" in self.earlier:
            return [Block("python", self.earlier["app.py"], "app.py", 1)]
        return program

    def files(self) -> dict[str, str]:
        """Return the texts of the files that it shows; the last block of a name counts."""
        shown = {block.name: block.text for block in self.all_blocks() if block.name}
        files = {**self.earlier, **shown}
        if program := self.program():
            files["app.py"] = "\n\n".join(block.text for block in program)
        return files

    def modules(self) -> list[str]:
        """Return the Python files that stand beside `app.py`."""
        return [name for name in self.files() if name.endswith(".py") and name != "app.py"]

    def is_for_pytest(self) -> bool:
        """Whether its files are tests that pytest runs as the page configures it."""
        return not {"pyproject.toml", "conftest.py"}.isdisjoint(self.files())

    def prose(self) -> str:
        return re.sub(r"(?ms)^```.*?^```$", "", self.text)

    def names(self) -> list[str]:
        """Return each text in backticks."""
        return re.findall(r"`([^`\n]+)`", self.prose())

    def links(self) -> list[str]:
        return re.findall(r"\]\(([^)\s]+)\)", self.prose())

    def anchors(self) -> set[str]:
        """Return the anchors of its headings, as GitHub makes them."""
        titles = re.findall(r"(?m)^#+ (.+)$", self.prose())
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    def rows(self) -> list[list[str]]:
        """Return the cells of all tables, a list for each row."""
        rows = re.findall(r"(?m)^\| (.*) \|$", self.prose())
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]


def read_page(path: Path) -> Page:
    return Page(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))


def read_pages() -> Iterator[Page]:
    yield read_page(ROOT / "README.md")
    files: dict[str, str] = {}
    for path in sorted(DOCS.rglob("*.md")):
        page = read_page(path)
        if path.parent.name == "tutorial":
            page = page._replace(earlier=files)
            files = page.files()
        yield page


PAGES = list(read_pages())


def write_files(page: Page, folder: Path) -> None:
    for name, text in page.files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@contextmanager
def running(page: Page, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Write the page's files into `folder`, run its blocks there and yield their module, `app`."""
    write_files(page, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("SECRET_KEY", "a key for the pages, of 32 characters")
    module = ModuleType("app")
    module.__file__ = str(folder / "app.py")
    with own_modules({"app", *(name.split("/")[0].split(".")[0] for name in page.modules())}):
        sys.modules["app"] = module
        run_program(page, module)
        yield module


def run_program(page: Page, module: ModuleType) -> None:
    blocks = page.program()
    if not any(re.search(r"(?m)^from microweb import .*\bApp\b", block.text) for block in blocks):
        vars(module).update({name: getattr(microweb, name) for name in microweb.__all__})
        vars(module)["app"] = microweb.App()
    for block in blocks:
        lines_before = "\n" * (block.line - 1)  # a traceback shows the line of the page
        exec(compile(lines_before + block.text, page.name, "exec"), vars(module))
    if not hasattr(module, "app"):
        vars(module)["app"] = module.create_app()


@contextmanager
def own_modules(names: set[str]) -> Iterator[None]:
    """Inside, these modules and packages are not imported yet; afterwards they are as before."""

    def take_out() -> dict[str, ModuleType]:
        found = [name for name in sys.modules if name.split(".")[0] in names]
        return {name: sys.modules.pop(name) for name in found}

    before = take_out()
    try:
        yield
    finally:
        take_out()
        sys.modules.update(before)


def import_files(page: Page, folder: Path) -> list[ModuleType]:
    """Import the page's Python files beside `app.py`; tests by their path, as pytest does."""
    modules = []
    for name in page.modules():
        path = folder / name
        if path.stem.startswith("test_"):
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            module = importlib.import_module(dotted)
        modules.append(module)
    return modules
