"""The options of the server on the command line."""

from __future__ import annotations

import pytest
from support.commanding import APP, Served, Write, complaint, misuse

from microweb import cli
from microweb.cli import dev
from microweb.cli.options import NAMES
from microweb.server.config import ServerConfig, ServerOptions
from microweb.server.settings import variable_of


def test_options_are_the_fields_of_the_configuration() -> None:
    assert set(NAMES) == set(ServerOptions.__annotations__)


def test_each_field_of_the_configuration_has_its_option(write: Write, served: Served) -> None:
    write("hello.py", APP)
    config = ServerConfig()
    options: dict[str, object] = {}
    argv = ["run", "hello.py"]
    for name in ServerOptions.__annotations__:
        flag, default = f"--{name.replace('_', '-')}", getattr(config, name)
        if name == "log":
            argv += [flag, "text"]
            options[name] = "text"
        elif name == "log_level":
            argv += [flag, "error"]
            options[name] = "error"
        elif name == "loop":
            argv += [flag, "asyncio"]
            options[name] = "asyncio"
        elif name == "trusted_proxies":
            argv += [flag, "10.0.0.0/8, ::1", flag, "192.0.2.1"]
            options[name] = ["10.0.0.0/8", "::1", "192.0.2.1"]
        elif name == "trust_headers":
            argv += [flag, "x-forwarded-for, x-forwarded-proto", flag, "x-forwarded-host"]
            options[name] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
        elif name == "metrics_bind":
            argv += [flag, "9100"]
            options[name] = "9100"
        elif name == "root_path":
            argv += [flag, "/shop"]
            options[name] = "/shop"
        elif name == "bind":
            argv += [flag, "127.0.0.1:80, [::1]:80", flag, "unix:/run/app.sock?mode=660"]
            options[name] = ["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock?mode=660"]
        elif name.startswith("tls_") and default == ():
            argv += [flag, "a.pem, b.pem", flag, "c.pem"]
            options[name] = ["a.pem", "b.pem", "c.pem"]
        elif name == "tls_client":
            argv += [flag, "required"]
            options[name] = "required"
        elif name == "tls_minimum":
            argv += [flag, "1.3"]
            options[name] = "1.3"
        elif name in ("debug_anywhere", "supervised", "proxy_protocol"):
            argv.append(flag)
            options[name] = True
        elif name == "stall_ms":
            argv += [flag, "70"]
            options[name] = 70
        elif isinstance(default, str):
            argv += [flag, "127.0.0.1"]
            options[name] = "127.0.0.1"
        else:
            argv += [flag, "7"]
            options[name] = 7
    cli.main(argv)
    assert served[0][1] == options
    taken = ServerConfig.from_options(served[0][1])
    assert len(taken.bind) == 3
    assert taken.trusted_proxies == ("10.0.0.0/8", "::1", "192.0.2.1")


@pytest.mark.parametrize(("flag", "log"), [("--access-log", "text"), ("--no-access-log", "off")])
def test_flags_of_earlier_versions_mean_log(
    write: Write, served: Served, flag: str, log: str
) -> None:
    write("hello.py", APP)
    cli.main(["run", flag, "hello.py"])
    assert served[0][1] == {"log": log}


def test_access_log_can_be_turned_off(write: Write, served: Served) -> None:
    write("hello.py", APP)
    cli.main(["run", "--log", "off", "--grace-s", "0.5", "hello.py"])
    assert served[0][1] == {"log": "off", "grace_s": 0.5}


@pytest.mark.parametrize("command", ["run", "dev"])
def test_help_has_each_option_with_its_default(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert ("Limits are per worker." in text) == (command == "run")
    of_dev = {*ServerOptions.__annotations__} - {*dev.NOT_OFFERED}
    for name in ServerOptions.__annotations__ if command == "run" else of_dev:
        assert f"--{name.replace('_', '-')} " in text.replace(",", " ")
        default = getattr(ServerConfig(), name)
        if default is not False:  # a flag
            shown = ", ".join(default) if isinstance(default, tuple) else str(default)
            assert f"(default: {shown or 'none'})" in text
    assert "(default: False)" not in text and text.count("(default: none)") == (
        9 if command == "run" else 7
    )


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--port", "http", "expected an int from 0 to 65535, got 'http'"),
        ("--workers", "two", "expected an int from 1 to 512 or 'auto', got 'two'"),
        ("--max-body", "16MB", "expected an int from 1 to 4611686018427387904, got '16MB'"),
        ("--grace-s", "long", "expected a number from 0 to 1e9, got 'long'"),
        ("--loop", "trio", "expected one of 'auto', 'asyncio', 'uvloop', got 'trio'"),
        ("--bind", "80,80", "expected host:port, [::1]:port, unix:/run/app.sock?mode=660, fd:3 "),
        ("--trusted-proxies", "here", "'here' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_wrong_value_names_its_flag_with_the_text_of_the_variable(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
    value: str,
    said: str,
) -> None:
    assert misuse(capsys, "run", "hello.py", flag, value).startswith(f"{flag}: {said}")
    name = flag.removeprefix("--").replace("-", "_")
    monkeypatch.setenv(variable_of(name), value)
    assert complaint("run", "hello.py").startswith(f"{variable_of(name)}: {said}")


def test_address_that_two_flags_name(capsys: pytest.CaptureFixture[str]) -> None:
    text = misuse(capsys, "run", "hello.py", "--bind", "fd:3", "--bind", "fd:3")
    assert text.startswith("--bind: 'fd:3' is named twice")


def test_flag_that_needs_an_option_of_another_place(
    write: Write, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("hello.py", APP)
    monkeypatch.setenv("MICROWEB_TRUSTED_PROXIES", "10.0.0.10")
    cli.main(["run", "hello.py", "--proxy-protocol"])
    assert ServerConfig.from_options(served[0][1]).proxy_protocol


@pytest.mark.parametrize("option", ["--port=65536", "--max-body=0", "--trusted-proxies=here"])
@pytest.mark.parametrize("command", ["run", "dev"])
def test_value_that_the_server_refuses(
    write: Write, capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    write("hello.py", APP)
    misuse(capsys, command, "hello.py", option)
