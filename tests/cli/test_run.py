"""Serve an app by `microweb run`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commanding import APP, DEBUG, Served, Write
from support.processes import Program, get

from microweb import App, cli
from microweb.cli.run import COMMAND


def test_the_app_is_served_with_the_options_that_are_given(write: Write, served: Served) -> None:
    write("hello.py", APP)
    cli.main([COMMAND.name, "hello.py", "--port", "0"])
    ((app, options),) = served
    assert (type(app), options) == (App, {"port": 0})


def test_debug_is_not_shown_to_others(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("hello.py", DEBUG)
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "hello.py", "--host", "0.0.0.0"])
    assert caught.value.code == 1
    assert capsys.readouterr().err.endswith(
        "or allow this by debug_anywhere=True (--debug-anywhere)\n"
    )


def test_run_leaves_debug_as_it_is(write: Write, served: Served) -> None:
    write("hello.py", APP)
    cli.main(["run", "hello.py", "--host", "0.0.0.0"])
    assert not served[0][0].debug


def test_run_serves_until_a_signal(tmp_path: Path, start: Callable[..., Program]) -> None:
    (tmp_path / "hello.py").write_text(APP)
    program = start("-m", "microweb", "run", "hello:app", "--port", "0")
    assert get(program.urls()[0]) == (200, "hello")
    program.stop(signal.SIGINT)
    assert program.err.rest() == ""


WSGI_APP = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def create_app():
    return application
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["site_wsgi:application"],
        ["site_wsgi.py:application", "--interface", "wsgi"],
        ["site_wsgi:create_app", "--workers", "2"],
    ],
)
def test_run_serves_a_wsgi_application(
    tmp_path: Path, start: Callable[..., Program], arguments: list[str]
) -> None:
    (tmp_path / "site_wsgi.py").write_text(WSGI_APP)
    program = start("-m", "microweb", "run", *arguments, "--port", "0")
    url = program.urls()[0]
    assert get(url, "/a") == (200, "/a")
    program.stop()
    assert program.err.rest() == ""
