"""Serve an app to this machine by `microweb dev`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.commanding import APP, DEBUG, Served, Write, complaint, misuse
from support.processes import Program, get

from microweb import cli
from microweb.cli.dev import COMMAND


def test_host_that_is_none(write: Write) -> None:
    write("hello.py", DEBUG)
    text = complaint("dev", "hello.py", "--host", "no such host")
    assert text.startswith("host 'no such host' is not an address of this machine")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_dev_serves_this_machine_alone(
    write: Write, served: Served, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    write("hello.py", APP)
    expected = (
        f"dev serves only this machine, but others can reach {host!r} (--host): "
        "use microweb run, or --host localhost\n"
    )
    assert misuse(capsys, "dev", "hello.py", "--host", host) == expected
    assert served == []


def test_host_of_the_environment_is_refused_too(
    write: Write, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP)
    monkeypatch.setenv("MICROWEB_HOST", "0.0.0.0")
    assert "can reach '0.0.0.0' (MICROWEB_HOST): use" in complaint("dev", "hello.py")
    cli.main(["dev", "hello.py", "--host", "localhost", "--no-reload"])
    assert len(served) == 1


def test_dev_takes_no_workers_of_the_environment(
    write: Write, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP)
    monkeypatch.setenv("MICROWEB_WORKERS", "4")
    monkeypatch.setenv("MICROWEB_DEBUG_ANYWHERE", "yes")
    monkeypatch.setenv("MICROWEB_THREADS", "3")
    cli.main(["dev", "hello.py", "--no-reload"])
    assert served[0][1] == {"log": "text", "stall_ms": 100, "threads": 3}


def test_dev_turns_debug_on_in_mounted_apps_too(
    write: Write, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hello.py", APP + "\nadmin = App()\napp.mount('/admin', admin)\n")
    cli.main([COMMAND.name, "hello.py", "--port", "0", "--no-reload"])
    ((app, options),) = served
    assert [each.debug for each in app.all_apps()] == [True, True]
    assert options == {"log": "text", "stall_ms": 100, "port": 0}
    assert capsys.readouterr().out.startswith("METHODS  PATH  NAME ")


@pytest.mark.parametrize("options", [(), ("--no-reload",)])
def test_dev_prints_the_routes_and_serves(
    tmp_path: Path, start: Callable[..., Program], options: tuple[str, ...]
) -> None:
    (tmp_path / "hello.py").write_text(APP)
    program = start("-m", "microweb", "dev", "hello.py", "--port", "0", *options)
    program.out.wait_for("GET      /     index  hello.index  hello.py:6")
    assert get(program.urls()[0]) == (200, "hello")
    program.stop()
