"""Clients that other programs make from the document of the orders, as the how-to page says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.orders import EXAMPLE, import_orders
from support.pages import DOCS, read_page
from support.processes import DEADLINE_S

from microweb.testing import LiveServer, live_server

PAGE = read_page(DOCS / "how-to/generate-a-client.md")
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
PYTHON = shutil.which("openapi-python-client", path=PATH)
# The three packages of the page, in one `node_modules`, whose `.bin` is in PATH.
TYPESCRIPT = shutil.which("openapi-typescript", path=PATH)
BUILD_S = 3 * DEADLINE_S


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """The example on a real socket. Its document is `openapi.json` in the current folder."""
    module = import_orders(monkeypatch, tmp_path)
    with live_server(module.app) as started:
        document = run(sys.executable, "-m", "microweb", "openapi", str(EXAMPLE))
        Path("openapi.json").write_text(document, "utf-8")
        yield started


def run(*command: str) -> str:
    environment = {**os.environ, "PATH": PATH}
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=BUILD_S
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def write_program(name: str, server: LiveServer) -> None:
    (program,) = (block.text for block in PAGE.all_blocks() if block.name == name)
    assert "http://localhost:5000" in program
    Path(name).write_text(program.replace("http://localhost:5000", server.url), "utf-8")


def arguments_of(command: str) -> list[str]:
    """Return the arguments that the page gives a command."""
    shell = "\n".join(PAGE.blocks("sh")).splitlines()
    (line,) = (line for line in shell if line.removeprefix("npx ").startswith(command + " "))
    return line.split(command, 1)[1].split()


@pytest.mark.skipif(PYTHON is None, reason="needs openapi-python-client")
def test_a_client_in_python_makes_a_call_for_201_and_one_for_422(server: LiveServer) -> None:
    assert PYTHON is not None
    run(PYTHON, *arguments_of("openapi-python-client"))
    write_program("call.py", server)
    first = Path(PYTHON).read_text("utf-8").splitlines()[0]
    python = first.removeprefix("#!") if first.startswith("#!/") else sys.executable
    printed = run(python, "call.py").splitlines()
    assert printed[0] == "tea 1"
    assert printed[1].startswith("Unprocessable Content [Fault(")
    assert len(printed) == 2


@pytest.mark.skipif(TYPESCRIPT is None, reason="needs openapi-typescript and openapi-fetch")
def test_a_client_in_typescript_is_strict_and_makes_both_calls(server: LiveServer) -> None:
    assert TYPESCRIPT is not None
    Path("node_modules").symlink_to(Path(TYPESCRIPT).parent.parent)
    Path("package.json").write_text('{"type": "module"}')
    run(TYPESCRIPT, *arguments_of("openapi-typescript"))
    write_program("call.ts", server)
    compiler = str(Path(TYPESCRIPT).with_name("tsc"))
    strict = [compiler, "--strict", "--target", "es2022", "--module", "esnext"]
    run(*strict, "--moduleResolution", "bundler", "--outDir", "out", "call.ts")
    assert run("node", "out/call.js").splitlines() == ["tea 1", "Unprocessable Content #/item"]
    wrong = Path("call.ts").read_text("utf-8").replace("body: { item }", "body: { itm: item }")
    Path("wrong.ts").write_text(wrong, "utf-8")
    with pytest.raises(AssertionError, match="'itm' does not exist"):
        run(*strict, "--moduleResolution", "bundler", "--noEmit", "wrong.ts")
