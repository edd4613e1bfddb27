"""`microweb.serve`, in programs of their own."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.processes import Program, get, run_to_end

import microweb
from microweb import ConfigurationError, Router

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            print(kind)
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
OURS = """
app = microweb.App()
app.get("/")(lambda: "hello")
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(application: str, arguments: str) -> Path:
        path = tmp_path / "program.py"
        served = (
            f'if __name__ == "__main__":\n    microweb.serve({arguments})\n    print("ended")\n'
        )
        path.write_text(f"import microweb\n{application}\n{served}")
        return path

    return write


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(write: Callable[..., Path], number: signal.Signals) -> None:
    with Program(write(ASGI, "app, port=0")) as program:
        assert get(program.urls()[0]) == (200, "hello")
        program.stop(number)
        assert program.err.rest() == ""
        output = program.out.rest()
    assert output.startswith("lifespan.startup\n")
    assert output.endswith("lifespan.shutdown\nended")  # it returns, as `App.run` does


@pytest.mark.parametrize(
    ("application", "arguments"),
    [
        (OURS, "app, port=0"),
        (WSGI, "microweb.WSGI(app), port=0"),
        (WSGI, "app, '127.0.0.1', 0"),
        (ASGI, "app, bind=['127.0.0.1:0'], workers=2"),
    ],
)
def test_an_application_of_each_interface_is_served(
    write: Callable[..., Path], application: str, arguments: str
) -> None:
    with Program(write(application, arguments)) as program:
        assert get(program.urls()[0]) == (200, "hello")
        program.stop()
        assert program.err.rest() == ""


STUBBORN = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("goes on")
"""


def test_a_lifespan_that_goes_on_after_its_cancellation_does_not_hold_the_process(
    write: Callable[..., Path],
) -> None:
    with Program(write(STUBBORN, "app, port=0, grace_s=0.1")) as program:
        program.urls()
        program.stop()
        assert program.out.rest().endswith("goes on\nended")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("app, prot=1", "unknown option 'prot': did you mean 'port'?"),
        ("app, port='a'", "port"),
        ("app, ssl_certfile='a.pem'", "tls_certificate"),
    ],
)
def test_a_wrong_option_is_one_line(
    write: Callable[..., Path], tmp_path: Path, arguments: str, told: str
) -> None:
    ended = run_to_end([write(ASGI, arguments)], tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("microweb: ") and told in ended.stderr
    assert ended.stderr.count("\n") == 1 and ended.stdout == ""


def test_options_of_the_project_of_the_calling_file_count(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.microweb]\nport = 0\n")
    with Program(write(ASGI, "app")) as program:
        url = program.urls()[0]
        assert get(url) == (200, "hello")
        assert not url.endswith(":5000")
        program.stop()


async def factory() -> None: ...


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("shop:app", "use `microweb run shop:app`"),
        (microweb.App, "the class App: pass an object of it"),
        (factory, "pass the value that it returns"),
        (Router("/a"), "got <microweb.router.Router object"),
        (None, "got None"),
    ],
)
def test_another_value_is_refused_with_the_remedy(value: Any, remedy: str) -> None:
    with pytest.raises(
        ConfigurationError, match="expected an App, an ASGI 3 application"
    ) as caught:
        microweb.serve(value, port=0)
    assert remedy in str(caught.value)
