"""Run commands of the command line in this process: their errors, and an app to serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from microweb import App, cli
from microweb.server.config import ServerOptions

APP = """from microweb import App

app = App()


@app.get("/")
async def index() -> str:
    return "hello"
"""
DEBUG = APP.replace("App()", "App(debug=True)")

Write = Callable[[str, str], Path]
Served = list[tuple[App, ServerOptions]]


def misuse(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return the single stderr line of a command with wrong arguments; check exit status 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("microweb: ")
    assert text.count("\n") == 1, text
    return text.removeprefix("microweb: ")


def complaint(*argv: str) -> str:
    """Return the message of a command that fails; check exit status 1."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    text = str(caught.value.code)
    assert text.startswith("microweb: ")
    return text.removeprefix("microweb: ")
