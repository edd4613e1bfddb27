from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import indent

import pytest
from support.processes import Program, get, run_to_end

import microweb
from microweb import App, cli
from microweb.server.config import ServerConfig, ServerOptions

APP = """from microweb import App

app = App()


@app.get("/")
async def index() -> str:
    return "hello"
"""
DEBUG = APP.replace("App()", "App(debug=True)")

Write = Callable[[str, str], Path]
Served = list[tuple[App, ServerOptions]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file below the current directory; what was imported is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file of one name each time
    before = set(sys.modules)

    def write_file(name: str, source: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return path

    yield write_file
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """What would be served; a process that does it is another test's."""
    calls: Served = []
    monkeypatch.setattr(cli, "run", lambda app, options: calls.append((app, options)))
    return calls


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(Program(*arguments, cwd=tmp_path))


def misuse(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return the one line on stderr of a command that is used wrongly, its exit status being 2."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("microweb: ")
    assert text.count("\n") == 1
    return text.removeprefix("microweb: ")


def complaint(*argv: str) -> str:
    """Return the line that a command leaves with, its exit status being 1."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    text = str(caught.value.code)
    assert text.startswith("microweb: ")
    return text.removeprefix("microweb: ")


# --- finding the app ------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["hello.py", "hello.py:app", "./hello.py", "hello:app", "hello", "hello:outer.app"],
)
def test_app_is_found(write: Write, served: Served, target: str) -> None:
    write("hello.py", APP + "\nclass outer:\n    app = app\n")
    cli.main(["run", target])
    ((app, options),) = served
    assert (type(app), options) == (App, {})
    assert app is sys.modules["hello"].app


def test_file_in_another_folder_imports_its_neighbours(write: Write, served: Served) -> None:
    write("site/names.py", "NAME = 'x'")
    path = write("site/hello.py", "from names import NAME\n" + APP)
    cli.main(["run", str(path)])
    assert len(served) == 1


@pytest.mark.parametrize("target", ["site/web/main.py", "site.web.main", "site.web.main:app"])
def test_file_in_a_package_has_its_relative_imports(
    write: Write, served: Served, target: str
) -> None:
    write("site_/web/__init__.py", "")
    write("site_/__init__.py", "NAME = 'x'")
    write("site_/web/main.py", "from .. import NAME\n" + APP)
    cli.main(["run", target.replace("site", "site_")])
    assert len(served) == 1


def test_guarded_run_of_the_file_is_not_executed(write: Write, served: Served) -> None:
    write("hello.py", APP + "\nif __name__ == '__main__':\n    raise SystemExit('run twice')\n")
    cli.main(["run", "hello.py"])
    assert len(served) == 1


def test_second_name_of_the_app_is_no_second_app(write: Write, served: Served) -> None:
    write("hello.py", APP + "\napplication = app\n")
    cli.main(["run", "hello.py"])
    assert len(served) == 1


def test_mounted_app_is_not_meant(write: Write, served: Served) -> None:
    write("hello.py", APP + "\nadmin = App()\napp.mount('/admin', admin)\n")
    cli.main(["run", "hello.py"])
    assert served[0][0] is sys.modules["hello"].app
    cli.main(["run", "hello.py:admin"])
    assert served[1][0] is sys.modules["hello"].admin


def test_unknown_module(write: Write) -> None:
    expected = f"there is no module 'nothing' in {Path.cwd()} or among the installed"
    assert complaint("run", "nothing:app") == expected


def test_unknown_module_of_a_package(write: Write) -> None:
    write("hello/__init__.py", "")
    assert complaint("run", "hello.web:app").startswith("there is no module 'hello.web' in ")


def test_unknown_file(write: Write) -> None:
    assert complaint("run", "web/hello.py") == "there is no file web/hello.py"


@pytest.mark.parametrize("name", ["hello.txt", "hello.web.py"])
def test_file_that_is_no_module(write: Write, name: str) -> None:
    write(name, APP)
    expected = f"expected a file that Python can import, such as app.py, got {name}"
    assert complaint("run", f"./{name}") == expected


@pytest.mark.parametrize("target", ["", ":", ":app", "a b", "hello:", "hello:1", "a..b:app"])
def test_target_that_is_none(write: Write, capsys: pytest.CaptureFixture[str], target: str) -> None:
    text = misuse(capsys, "run", target)
    assert text.startswith("expected module:app or path/to/file.py, got ")


def test_file_with_the_name_of_a_loaded_module(write: Write) -> None:
    write("logging.py", APP)
    expected = "./logging.py: another module is named 'logging' already, rename the file"
    assert complaint("run", "./logging.py") == expected


@pytest.mark.parametrize("target", ["hello.py", "hello"])
def test_module_without_an_app(write: Write, target: str) -> None:
    write("hello.py", "from microweb import App\n")
    assert complaint("run", target) == (
        f"{target} has no App: expected one such as app = App(), or the name of a function that "
        f"makes one, as in {target}:create_app"
    )


def test_module_with_several_apps(write: Write) -> None:
    write("hello.py", APP + "\nother = App()\nthird = App()\n")
    expected = "hello.py has several apps, app, other and third: choose one, as in hello.py:app"
    assert complaint("run", "hello.py") == expected


def test_attribute_that_is_missing(write: Write) -> None:
    write("hello.py", APP)
    assert complaint("run", "hello:ap") == "hello has no 'ap': it has app"


def test_attribute_that_is_no_app(write: Write) -> None:
    write("hello.py", "app = 'App'\nfrom microweb import App\n")
    assert complaint("run", "hello.py:app") == "hello.py:app is no App, got str: it has no App"
    assert complaint("run", "hello.py:App") == "hello.py:App is no App, got a class: it has no App"


@pytest.mark.parametrize("command", ["run", "dev"])
@pytest.mark.parametrize("target", ["hello.py:create_app", "hello:create_app", "hello:site.make"])
def test_app_that_a_function_makes(
    write: Write, served: Served, capsys: pytest.CaptureFixture[str], command: str, target: str
) -> None:
    source = (
        f"def create_app(*args, debug=False, **options):\n{indent(APP, '    ')}\n    return app"
    )
    write("hello.py", f"{source}\n\nclass site:\n    make = staticmethod(create_app)\n")
    cli.main([command, target])
    ((app, _),) = served
    assert [route.path for route in app.routes] == ["/"]
    cli.main(["routes", target])
    assert "hello.create_app.<locals>.index" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("def make(): ...", "hello:make() returned NoneType: expected an App"),
        (
            "def make(config): ...",
            "hello:make needs 'config': give it a default, it is called without arguments",
        ),
        (
            "async def make(): ...",
            "hello:make is async: make the app in a plain def, and await in a lifespan",
        ),
    ],
)
def test_function_that_makes_no_app(write: Write, source: str, text: str) -> None:
    write("hello.py", source)
    assert complaint("run", "hello:make") == text


def test_what_a_function_that_makes_the_app_raises_is_its_own_fault(write: Write) -> None:
    write("hello.py", "def make():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "hello:make"])


def test_syntax_error_is_shown_with_its_place(write: Write) -> None:
    path = write("hello.py", "app = (\n")
    text = complaint("run", "hello.py")
    assert text.startswith(f'hello.py can\'t be read\n  File "{path}", line 1\n    app = (\n')
    assert text.endswith("SyntaxError: '(' was never closed")


def test_what_the_module_raises_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("import os\nprice = 1 / 0\n")
    ended = run_to_end(["-m", "microweb", "run", "hello.py"], tmp_path)
    assert ended.returncode == 1
    assert 'hello.py", line 2, in <module>\n    price = 1 / 0' in ended.stderr
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_import_that_the_module_lacks_is_its_own_fault(write: Write) -> None:
    write("hello.py", "import nothing_of_this_name\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        cli.main(["run", "hello.py"])


# --- options --------------------------------------------------------------------------


def test_each_field_of_the_configuration_has_its_option(write: Write, served: Served) -> None:
    write("hello.py", APP)
    config = ServerConfig()
    options: dict[str, object] = {}
    argv = ["run", "hello.py"]
    for name in ServerOptions.__annotations__:
        flag, default = f"--{name.replace('_', '-')}", getattr(config, name)
        if name == "access_log":
            argv.append(flag)
            options[name] = True
        elif name == "loop":
            argv += [flag, "asyncio"]
            options[name] = "asyncio"
        elif name == "trusted_proxies":
            argv += [flag, "10.0.0.0/8, ::1", flag, "192.0.2.1"]
            options[name] = ["10.0.0.0/8", "::1", "192.0.2.1"]
        elif name == "debug_anywhere":
            argv.append(flag)
            options[name] = True
        elif isinstance(default, str):
            argv += [flag, "127.0.0.1"]
            options[name] = "127.0.0.1"
        else:
            argv += [flag, "7"]
            options[name] = 7
    cli.main(argv)
    assert served[0][1] == options
    taken = ServerConfig.from_options(served[0][1])
    assert taken.trusted_proxies == ("10.0.0.0/8", "::1", "192.0.2.1")


def test_access_log_can_be_turned_off(write: Write, served: Served) -> None:
    write("hello.py", APP)
    cli.main(["run", "--no-access-log", "--grace-s", "0.5", "hello.py"])
    assert served[0][1] == {"access_log": False, "grace_s": 0.5}


@pytest.mark.parametrize("command", ["run", "dev"])
def test_help_has_each_option_with_its_default(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    of_dev = {*ServerOptions.__annotations__} - {"debug_anywhere"}
    for name in ServerOptions.__annotations__ if command == "run" else of_dev:
        assert f"--{name.replace('_', '-')} " in text.replace(",", " ")
        assert f"(default: {getattr(ServerConfig(), name) or 'none'})" in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "the following arguments are required: command"),
        (["serve", "hello.py"], "invalid choice: 'serve'"),
        (["run"], "the following arguments are required: target"),
        (["run", "hello.py", "--prot", "1"], "unrecognized arguments: --prot 1"),
        (["run", "hello.py", "--max", "1"], "unrecognized arguments: --max 1"),
        (["run", "hello.py", "--port", "http"], "argument --port: invalid int value: 'http'"),
        (["run", "hello.py", "--loop", "trio"], "argument --loop: invalid choice: 'trio'"),
        (["dev", "hello.py", "--debug-anywhere"], "unrecognized arguments: --debug-anywhere"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    text = misuse(capsys, *argv)
    assert said in text
    assert text.endswith(" --help\n")


@pytest.mark.parametrize("option", ["--port=65536", "--max-body=0", "--trusted-proxies=here"])
@pytest.mark.parametrize("command", ["run", "dev"])
def test_value_that_the_server_refuses(
    write: Write, capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    write("hello.py", APP)
    misuse(capsys, command, "hello.py", option)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"microweb {microweb.__version__}\n"


# --- debug ----------------------------------------------------------------------------


def test_debug_is_not_shown_to_others(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("hello.py", DEBUG)
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "hello.py", "--host", "0.0.0.0"])
    assert caught.value.code == 1
    assert capsys.readouterr().err.endswith("or insist by debug_anywhere=True (--debug-anywhere)\n")


def test_run_leaves_debug_as_it_is(write: Write, served: Served) -> None:
    write("hello.py", APP)
    cli.main(["run", "hello.py", "--host", "0.0.0.0"])
    assert not served[0][0].debug


def test_host_that_is_none(write: Write) -> None:
    write("hello.py", DEBUG)
    text = complaint("dev", "hello.py", "--host", "no such host")
    assert text.startswith("host 'no such host' is no address of this machine")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_dev_serves_this_machine_alone(
    write: Write, served: Served, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    write("hello.py", APP)
    expected = f"dev serves this machine alone, and {host} is not it: use microweb run\n"
    assert misuse(capsys, "dev", "hello.py", "--host", host) == expected
    assert served == []


def test_dev_turns_debug_on_in_mounted_apps_too(
    write: Write, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hello.py", APP + "\nadmin = App()\napp.mount('/admin', admin)\n")
    cli.main(["dev", "hello.py", "--port", "0"])
    ((app, options),) = served
    assert [each.debug for each in app.all_apps()] == [True, True]
    assert options == {"port": 0}
    assert capsys.readouterr().out.startswith("METHODS  PATH  NAME ")


# --- the table of routes --------------------------------------------------------------

ROUTES = """import functools
from microweb import App, Router

app = App()
admin = App()
users = Router("/users", name="users")


@app.get("/")
async def index() -> str:
    return "hello"


@users.route("/{id:int}", ["GET", "POST"])
def show(id: int) -> str:
    return str(id)


class Page:
    async def __call__(self) -> str:
        return "page"

    async def method(self) -> str:
        return "page"


def logged(function):
    @functools.wraps(function)
    async def inner(*args, **kwargs):
        return await function(*args, **kwargs)

    return inner


@admin.get("/log", name="log")
@logged
async def show_log() -> str:
    return "log"


async def double(n: int, factor: int) -> str:
    return str(n * factor)


app.get("/page", name="page")(Page())
app.get("/method")(Page().method)
app.get("/double", name="double")(functools.partial(double, factor=2))
app.include(users)
app.mount("/admin", admin)
"""


def test_routes_are_printed_in_columns(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("web/pages.py", ROUTES)
    cli.main(["routes", "web/pages.py:app"])
    assert (
        capsys.readouterr().out
        == """\
METHODS   PATH             NAME        ENDPOINT           PLACE
GET       /                index       pages.index        web/pages.py:9
GET       /page            page        pages.Page         web/pages.py:20
GET       /method          method      pages.Page.method  web/pages.py:23
GET       /double          double      pages.double       web/pages.py:41
GET,POST  /users/{id:int}  users.show  pages.show         web/pages.py:14
GET       /admin/log       log         pages.show_log     web/pages.py:35
"""
    )


def test_routes_reports_all_conflicts(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        "hello.py",
        APP
        + """
@app.get("/")
async def again() -> str: ...

@app.get("/{a}")
async def a(a: str) -> str: ...

@app.get("/{b}")
async def b(b: str) -> str: ...
""",
    )
    first, second = complaint("routes", "hello.py").splitlines()
    assert first == (
        "GET / (index at hello.py:6) and GET / (again at hello.py:10) both answer GET at the same "
        "shape of path: change the path or the methods of one"
    )
    assert second.startswith("GET /{a} (a at hello.py:13) and GET /{b} (b at hello.py:16) both ")
    assert capsys.readouterr().out.count("hello.py:") == 4  # the table is there


def test_routes_reports_what_can_not_be_served(write: Write) -> None:
    write("hello.py", APP + "\n@app.get('/{x:nothing}')\nasync def f(x: str) -> str: ...\n")
    assert "nothing" in complaint("routes", "hello.py")


def test_place_outside_the_current_directory_is_whole(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("web/hello.py", APP)
    write("elsewhere/x.txt", "")
    monkeypatch.chdir("elsewhere")
    cli.main(["routes", "../web/hello.py"])
    assert f"hello.index  {path}:6" in capsys.readouterr().out


def test_app_without_routes_has_an_empty_table(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hello.py", "from microweb import App\napp = App()\n")
    cli.main(["routes", "hello.py"])
    assert capsys.readouterr().out == "METHODS  PATH  NAME  ENDPOINT  PLACE\n"


# --- processes ------------------------------------------------------------------------


def test_run_serves_until_a_signal(tmp_path: Path, start: Callable[..., Program]) -> None:
    (tmp_path / "hello.py").write_text(APP)
    program = start("-m", "microweb", "run", "hello:app", "--port", "0")
    assert get(program.urls()[0]) == (200, "hello")
    program.stop(signal.SIGINT)
    assert program.err.rest() == ""


def test_dev_prints_the_routes_and_serves(tmp_path: Path, start: Callable[..., Program]) -> None:
    (tmp_path / "hello.py").write_text(APP)
    program = start("-m", "microweb", "dev", "hello.py", "--port", "0")
    program.out.wait_for("GET      /     index  hello.index  hello.py:6")
    assert get(program.urls()[0]) == (200, "hello")
    program.stop()


def test_what_is_in_the_way_is_one_line_and_status_1(tmp_path: Path) -> None:
    ended = run_to_end(["-m", "microweb", "routes", "nothing.py"], tmp_path)
    assert ended.returncode == 1
    assert (ended.stdout, ended.stderr) == ("", "microweb: there is no file nothing.py\n")


def test_script_is_the_same_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("microweb")
    if not script.exists():
        pytest.skip("microweb is not installed beside this Python")
    (tmp_path / "hello.py").write_text(APP)
    ended = run_to_end([script, "routes", "hello:app"], tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "hello.index" in ended.stdout
