"""The places that an option comes from, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from support.processes import ENVIRONMENT, get
from support.started import Start, apps_in

from microweb import App, ConfigurationError
from microweb.server.config import ServerConfig
from microweb.server.settings import NAMES, Settings, project_file, read_settings, variable_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an app, below one with a pyproject.toml that sets nothing."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    folder = tmp_path / "shop" / "web"
    folder.mkdir(parents=True)
    return folder


def project(folder: Path, table: str) -> Path:
    file = folder.parent / "pyproject.toml"
    file.write_text(f"[tool.microweb]\n{table}\n")
    return file


def of_variables(folder: Path, **environment: str) -> Settings:
    return read_settings({}, folder, environment)


def complaint(folder: Path, **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        of_variables(folder, **environment)
    return str(caught.value)


# --- the order


def test_argument_before_variable_before_project_before_default(folder: Path) -> None:
    file = project(folder, "threads = 1\nbacklog = 1\nmax_body = 1")
    environment = {"MICROWEB_THREADS": "2", "MICROWEB_BACKLOG": "2"}
    settings = read_settings({"threads": 3}, folder, environment)
    assert settings.options == {"threads": 3, "backlog": 2, "max_body": 1}
    places = [settings.source(name) for name in ("threads", "backlog", "max_body", "port")]
    assert places == ["threads=", "MICROWEB_BACKLOG", str(file), "default"]


def test_nearer_port_replaces_an_address_that_is_farther(folder: Path) -> None:
    file = project(folder, "bind = ['unix:/run/app.sock']")
    settings = read_settings({"port": 8000}, folder, {}, source="--{}".format)
    assert settings.options == {"bind": (), "port": 8000}
    assert settings.source("bind") == f"--port, in place of {file}"

    settings = read_settings({}, folder, {"MICROWEB_HOST": "::1", "MICROWEB_BIND": ""})
    assert settings.options == {"bind": (), "host": "::1"}
    assert settings.source("bind") == f"MICROWEB_HOST, in place of {file}"


def test_nearer_address_replaces_a_port_that_is_farther(folder: Path) -> None:
    project(folder, "port = 8000\nbind = ['127.0.0.1:1']")
    settings = of_variables(folder, MICROWEB_BIND="127.0.0.1:2", MICROWEB_PORT="9000")
    assert ServerConfig.from_options(settings.options).bind == ("127.0.0.1:2",)
    assert settings.source("bind") == "MICROWEB_BIND"

    settings = read_settings({"bind": ("fd:3",), "port": 1}, folder, {"MICROWEB_BIND": "fd:4"})
    assert ServerConfig.from_options(settings.options).bind == ("fd:3",)


def test_only_the_options_of_the_command_are_read(folder: Path) -> None:
    project(folder, "workers = 4\nthreads = 1")
    environment = {"MICROWEB_WORKERS": "4", "MICROWEB_BACKLOG": "2"}
    settings = read_settings({}, folder, environment, names=["threads", "backlog"])
    assert settings.options == {"threads": 1, "backlog": 2}
    assert settings.unknown == []


async def test_server_in_a_program_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROWEB_MAX_BODY", "7")
    app = App()
    assert app.serve().config == ServerConfig()
    async with app.test_client() as client:
        assert (await client.post("/", content=b"x" * 100)).status_code == 404


# --- variables


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "8000", 8000),
        ("grace_s", "0.5", 0.5),
        ("host", "0.0.0.0", "0.0.0.0"),
        ("loop", "asyncio", "asyncio"),
        ("log", "json", "json"),
        ("log_level", "warning", "warning"),
        ("supervised", "Yes", True),
        ("debug_anywhere", "0", False),
        ("workers", "auto", "auto"),
        ("workers", "3", 3),
        ("trusted_proxies", "10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
        ("bind", "[::1]:80,unix:/s?mode=600", ("[::1]:80", "unix:/s?mode=600")),
    ],
)
def test_value_of_a_variable(folder: Path, name: str, text: str, value: object) -> None:
    settings = of_variables(folder, **{variable_of(name): text})
    assert settings.options == {name: value}
    assert settings.sources == {name: variable_of(name)}


@pytest.mark.parametrize("name", NAMES)
def test_each_option_has_a_variable(folder: Path, name: str) -> None:
    default = ServerConfig.__dataclass_fields__[name].default
    special = {"bind": "127.0.0.1:80", "trust_headers": "forwarded", "metrics_bind": "9100"}
    usual = {"()": "::1", "": "/path"}.get(str(default), str(default))
    text = special.get(name, usual)
    settings = of_variables(folder, **{variable_of(name): text})
    value = text if default == "" else default
    assert settings.options == {name: (text,) if isinstance(default, tuple) else value}


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("MICROWEB_PORT", "http", "expected an int from 0 to 65535, got 'http'"),
        ("MICROWEB_PORT", "70000", "expected an int from 0 to 65535, got 70000"),
        ("MICROWEB_GRACE_S", "10s", "expected a number from 0 to 1e9, got '10s'"),
        ("MICROWEB_GRACE_S", "nan", "expected a number from 0 to 1e9, got nan"),
        ("MICROWEB_SUPERVISED", "maybe", "expected one of True, False, got 'maybe'"),
        ("MICROWEB_WORKERS", "many", "expected an int from 1 to 512 or 'auto', got 'many'"),
        ("MICROWEB_LOOP", "trio", "expected one of 'auto', 'asyncio', 'uvloop', got 'trio'"),
    ],
)
def test_wrong_value_names_its_variable(folder: Path, variable: str, text: str, said: str) -> None:
    assert complaint(folder, **{variable: text}) == f"{variable}: {said}"


def test_variable_that_is_empty_is_not_set(folder: Path) -> None:
    project(folder, "port = 8000")
    assert of_variables(folder, MICROWEB_PORT="").options == {"port": 8000}


def test_unknown_variables_are_ignored_and_named(folder: Path) -> None:
    settings = of_variables(
        folder, MICROWEB_PROT="1", MICROWEB_port="2", MICROWEB_X="3", MICROWEB_WORKER="4", PORT="5"
    )
    assert settings.options == {}
    assert settings.notes == [
        "MICROWEB_PROT is not an option: did you mean MICROWEB_PORT?",
        "MICROWEB_port is not an option: did you mean MICROWEB_PORT?",
    ]
    assert settings.unknown == [
        "MICROWEB_X is not an option: `microweb run --help` lists the options"
    ]


def test_an_option_that_needs_another_one_may_be_set_in_another_place(folder: Path) -> None:
    project(folder, "trusted_proxies = ['10.0.0.10']")
    settings = of_variables(folder, MICROWEB_PROXY_PROTOCOL="yes")
    assert ServerConfig.from_options(settings.options).proxy_protocol


def test_port_of_a_kubernetes_service_is_ignored_and_said(folder: Path) -> None:
    settings = of_variables(folder, MICROWEB_PORT="tcp://10.0.0.1:80")
    assert settings.options == {}
    (note,) = settings.notes
    assert note.startswith("MICROWEB_PORT='tcp://10.0.0.1:80' is ignored: Kubernetes sets it")


# --- pyproject.toml


def test_the_nearest_project_file_counts(folder: Path) -> None:
    outer = folder.parent.parent / "pyproject.toml"
    assert project_file(folder) == outer
    outer.write_text("[tool.microweb]\nport = 1\n")
    assert of_variables(folder).options == {"port": 1}
    nearest = project(folder, "")
    assert project_file(folder) == nearest
    assert of_variables(folder).options == {}


def test_lists_are_tuples(folder: Path) -> None:
    project(folder, "trusted_proxies = ['10.0.0.0/8']")
    assert of_variables(folder).options == {"trusted_proxies": ("10.0.0.0/8",)}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("prot = 1", "'prot' in [tool.microweb] is not an option: did you mean port?"),
        ("max-body = 1", "'max-body' in [tool.microweb] is not an option: did you mean max_body?"),
        ("port = '80'", "port: expected an int from 0 to 65535, got '80'"),
        ("supervised = 1.5", "supervised: expected one of True, False, got 1.5"),
    ],
)
def test_wrong_key_or_value_names_the_file(folder: Path, table: str, said: str) -> None:
    file = project(folder, table)
    assert complaint(folder) == f"{file}: {said}"


@pytest.mark.parametrize("text", ["[tool.microweb", "port = \xff"])
def test_file_that_is_no_toml_is_named(folder: Path, text: str) -> None:
    file = folder / "pyproject.toml"
    file.write_bytes(text.encode("latin-1"))
    assert complaint(folder).startswith(f"{file} can't be read: ")


@pytest.mark.parametrize("text", ["[tool]\nmicroweb = 1\n", "[[tool.microweb]]\nport = 1\n"])
def test_another_value_in_place_of_the_table(folder: Path, text: str) -> None:
    file = folder / "pyproject.toml"
    file.write_text(text)
    assert complaint(folder).startswith(f"{file}: expected a table [tool.microweb], got ")


def test_names_are_the_fields_of_the_configuration() -> None:
    assert list(NAMES) == [field.name for field in fields(ServerConfig)]


# --- app.run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with apps_in(tmp_path) as start_app:
        yield start_app


def test_run_reads_the_environment_and_the_project(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_HOST", "127.0.0.1")
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_GRACE_S", "0.25")
    (tmp_path / "pyproject.toml").write_text("[tool.microweb]\nport = 0\nsupervised = true\n")
    program = start("", "app.run(supervised=False, grace_s=0.5)")
    (url,) = program.urls()
    assert url.startswith("http://127.0.0.1:")
    assert get(url) == (200, "hello")
    program.stop()
    assert program.err.rest() == ""


def test_run_says_once_which_variable_it_ignores(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_PROT", "8000")
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_XYZZY", "the application's own")
    program = start("", "app.run(port=0, supervised=True)")
    program.urls()
    program.stop()
    said = program.err.rest()
    assert said.count("is ignored: Kubernetes") == 1
    assert said.count("microweb: MICROWEB_PROT is not an option: did you mean MICROWEB_PORT?") == 1
    assert "XYZZY" not in said


def test_wrong_variable_is_one_line(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "MICROWEB_PORT", "http")
    program = start("", "app.run()")
    program.ends(1)
    said = "microweb: MICROWEB_PORT: expected an int from 0 to 65535, got 'http'"
    assert program.err.rest() == said
