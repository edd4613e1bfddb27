"""The rooms: each module has its test file, tests mirror the package, the top level stays small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import microweb

TESTS = Path(__file__).parent
PACKAGE = Path(microweb.__file__).parent

# Folders of tests that mirror no package.
OTHERS = {"applications", "bench", "conformance", "examples", "fuzz", "integration", "support"}

# The public names that packages hand on, by the paths that users write.
PUBLIC = {
    "channels": "Broker Channel Channels Gap MemoryBroker Message Subscription",
    "cli": "main",
    "sessions": "Session SessionStore",
    "sse": "ServerEvent",
    "testing": "ClientSocket EventStream HandshakeRefused LiveServer MemoryTransport Misbehaving "
    "ReceivedEvent SocketClosed TestClient live_server",
    "websocket": "WebSocket",
}


def modules() -> list[Path]:
    """Return the modules that need a test file, relative to the package."""
    found = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    return sorted(path for path in found if not path.stem.startswith("__"))


@pytest.mark.parametrize("module", modules(), ids=str)
def test_each_module_has_its_test_file(module: Path) -> None:
    own = module.with_name(f"test_{module.name}")
    assert (TESTS / own).is_file(), f"expected tests of microweb/{module} in tests/{own}"


def test_folders_of_tests_mirror_packages() -> None:
    folders = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert folders - packages <= OTHERS


def test_no_folder_of_tests_is_a_package() -> None:
    """`tests/http/__init__.py` would hide the standard library's `http`."""
    assert list(TESTS.rglob("__init__.py")) == []


def test_the_top_level_is_small() -> None:
    files = list(PACKAGE.glob("*.py"))
    folders = [path for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))]
    assert len(files) <= 18
    assert len(folders) <= 18


def test_a_package_hands_on_its_public_names() -> None:
    for package, names in PUBLIC.items():
        module = __import__(f"microweb.{package}", fromlist=["__all__"])
        assert module.__all__ == names.split()
        for name in module.__all__:
            assert getattr(module, name).__module__.startswith(f"microweb.{package}.")


def test_an_init_holds_nothing_but_names_that_it_hands_on() -> None:
    for path in PACKAGE.rglob("*/__init__.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            assert not isinstance(node, ast.ClassDef), path


# --- sizes ----------------------------------------------------------------------------

MAX_MODULE_LINES = 430
MAX_FUNCTION_LINES = 50  # without its docstring


def sources() -> dict[str, str]:
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def functions_in(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each function, and how many lines it has without its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            docstring = ast.get_docstring(node, clean=False)
            lines = 0 if docstring is None else docstring.count("\n") + 1
            yield node.name, node.end_lineno - node.lineno + 1 - lines


def test_functions_are_measured() -> None:
    source = 'def one(): pass\n\nasync def three():\n    """A\n    b."""\n    a = 1\n    return a\n'
    assert list(functions_in(source)) == [("one", 1), ("three", 3)]


def test_no_module_is_long() -> None:
    long = {path for path, source in sources().items() if source.count("\n") > MAX_MODULE_LINES}
    assert long == set(), "look for the second role in it"


def test_no_function_is_long() -> None:
    long = {
        f"{path}:{name}"
        for path, source in sources().items()
        for name, lines in functions_in(source)
        if lines > MAX_FUNCTION_LINES
    }
    assert long == set(), "look for the second step in it"
