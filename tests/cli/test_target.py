"""The app that a target names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import indent

import pytest
from support.commanding import APP, Served, Write, complaint, misuse
from support.processes import run_to_end

from microweb import App, cli
from microweb.cli.target import app_folder, import_app, load_app


def test_a_target_is_a_module_or_a_file(write: Write) -> None:
    write("hello.py", APP)
    app = load_app("hello:app")
    assert app is sys.modules["hello"].app
    assert load_app("hello.py") is app


@pytest.mark.parametrize(
    ("target", "folder"),
    [
        ("site_/web/main.py", "site_/web"),
        ("site_/web/main.py:app", "site_/web"),
        ("site_.web.main:app", "site_/web"),
        ("site_.web:app", "site_"),
        ("site_", "site_"),
        ("hello:app", "."),
        ("nothing:app", "."),
        ("a b", "."),
        ("", "."),
    ],
)
def test_folder_of_the_app_is_known_without_an_import(
    write: Write, target: str, folder: str
) -> None:
    for name in ("site_/__init__.py", "site_/web/__init__.py", "site_/web/main.py", "hello.py"):
        write(name, "raise SystemExit('imported')")
    assert app_folder(target) == Path(folder).resolve()


def test_folder_of_an_installed_app() -> None:
    assert app_folder("microweb.cli.run:app") == Path(cli.__file__).parent


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
    expected = f"there is no module 'nothing' in {Path.cwd()} or among the installed packages"
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
    expected = "./logging.py: another module is already named 'logging': rename the file"
    assert complaint("run", "./logging.py") == expected


@pytest.mark.parametrize("target", ["hello.py", "hello"])
def test_module_without_an_app(write: Write, target: str) -> None:
    write("hello.py", "from microweb import App\n")
    assert complaint("run", target) == (
        f"{target} has no App: expected one such as app = App(), or the name of a function that "
        f"returns one, as in {target}:create_app"
    )


def test_module_with_several_apps(write: Write) -> None:
    write("hello.py", APP + "\nother = App()\nthird = App()\n")
    expected = "hello.py has several apps, app, other and third: choose one, as in hello.py:app"
    assert complaint("run", "hello.py") == expected


def test_attribute_that_is_missing(write: Write) -> None:
    write("hello.py", APP)
    assert complaint("run", "hello:site") == "hello has no 'site': it has app"
    assert complaint("run", "hello:ap") == "hello has no 'ap': did you mean app?"


def test_function_whose_name_is_misspelled(write: Write) -> None:
    write("hello.py", "from microweb import App\ndef create_app(): return App()\n")
    assert (
        complaint("run", "hello:creat_app") == "hello has no 'creat_app': did you mean create_app?"
    )


def test_attribute_that_is_no_app(write: Write) -> None:
    write("hello.py", "app = 'App'\nfrom microweb import App\n")
    for command, wanted in (("check", "an App"), ("run", "an App, an ASGI or a WSGI application")):
        for name, got in (("app", "str"), ("App", "a class")):
            expected = f"hello.py:{name}: expected {wanted}, got {got}: it has no App"
            assert complaint(command, f"hello.py:{name}") == expected


ASGI_APP = """async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello from ASGI"})
"""


def test_an_asgi_application_is_named_by_commands_that_need_an_app(write: Write) -> None:
    write("hello.py", ASGI_APP)
    assert complaint("check", "hello.py:app") == (
        "hello.py:app: expected an App, got an ASGI application: `microweb run` serves it"
    )
    assert complaint("run", "hello.py") == (
        "hello.py has no App, but an ASGI application: name it, as hello.py:app"
    )
    assert complaint("run", "hello.py:app", "--interface", "wsgi") == (
        "hello.py:app: expected a WSGI application, got an ASGI application: `microweb run` "
        "serves it"
    )


WSGI_APP = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from WSGI"]
"""


@pytest.mark.parametrize("command", ["check", "routes", "openapi", "dev --no-reload"])
def test_a_command_that_needs_an_app_names_the_one_that_does_not(
    write: Write, command: str
) -> None:
    write("hello.py", WSGI_APP)
    assert complaint(*command.split(), "hello:application") == (
        "hello:application: expected an App, got a WSGI application: `microweb run` serves it"
    )


def test_a_wsgi_application_is_named(write: Write) -> None:
    write("hello.py", WSGI_APP)
    assert complaint("run", "hello") == (
        "hello has no App, but a WSGI application: name it, as hello:application"
    )


def test_the_kind_of_the_target_is_checked(write: Write) -> None:
    write("hello.py", APP + WSGI_APP)
    run = ("run", "--interface")
    assert complaint(*run, "wsgi", "hello") == (
        "hello has an App: name a WSGI application, as in hello:application"
    )
    assert complaint(*run, "wsgi", "hello:app").startswith(
        "hello:app: expected a WSGI application, got App"
    )
    assert complaint(*run, "microweb", "hello:application").startswith(
        "hello:application: expected an App, got a WSGI application"
    )


@pytest.mark.parametrize("command", [["run"], ["dev", "--no-reload"]])
@pytest.mark.parametrize("target", ["hello.py:create_app", "hello:create_app", "hello:site.make"])
def test_app_that_a_function_makes(
    write: Write,
    served: Served,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    target: str,
) -> None:
    source = (
        f"def create_app(*args, debug=False, **options):\n{indent(APP, '    ')}\n    return app"
    )
    write("hello.py", f"{source}\n\nclass site:\n    make = staticmethod(create_app)\n")
    cli.main([*command, target])
    ((app, _),) = served
    assert [route.path for route in app.routes] == ["/"]
    cli.main(["routes", target])
    assert "hello.create_app.<locals>.index" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "def make(): ...",
            "hello:make() returned NoneType: expected an App, an ASGI or a WSGI application",
        ),
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


def not_started(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return stderr of a command whose app can't be imported; check exit status 3."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 3
    return capsys.readouterr().err


def test_exception_of_a_function_that_makes_the_app(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hello.py", "def make():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        import_app("hello:make")
    assert "in make\n    return 1 / 0" in not_started(capsys, "run", "hello:make")


SETTINGS = """from microweb import App, ConfigurationError

class site:
    @staticmethod
    def create_app():
        check("SECRET_KEY")
        return App()

def check(name):
    raise ConfigurationError(f"set {name}")
"""


@pytest.mark.parametrize("command", [["run"], ["check"], ["routes"], ["dev", "--no-reload"]])
def test_configuration_error_of_the_application_is_one_line_with_its_place(
    write: Write, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    write("hello.py", SETTINGS)
    text = not_started(capsys, *command, "hello:site.create_app")
    assert text == "microweb: hello.py:10 in check: set SECRET_KEY\n"


def test_configuration_error_of_a_call_of_ours_names_the_line_of_the_call(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hello.py", APP + '\n\n@app.get("/a", max_boddy=1)\nasync def wrong() -> None: ...\n')
    text = not_started(capsys, "run", "hello.py")
    assert text.startswith("microweb: hello.py:11: ") and "max_boddy" in text
    assert text.count("\n") == 1


def test_missing_extra_is_one_line(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    source = (
        "from microweb.errors import MissingExtra\nraise MissingExtra('WebSocket', 'websocket')"
    )
    write("hello.py", source)
    text = not_started(capsys, "run", "hello.py")
    assert text.startswith("microweb: hello.py:2: WebSocket needs the extra websocket: ")
    assert text.count("\n") == 1


def test_configuration_error_is_one_object_in_a_log_of_objects(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(SETTINGS)
    command = ["-m", "microweb", "run", "hello:site.create_app", "--log", "json"]
    ended = run_to_end(command, tmp_path)
    assert (ended.returncode, ended.stderr) == (3, "")
    (line,) = ended.stdout.splitlines()
    assert json.loads(line)["message"] == "hello.py:10 in check: set SECRET_KEY"


def test_syntax_error_is_shown_with_its_place(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("hello.py", "app = (\n")
    text = not_started(capsys, "run", "hello.py:app")
    shown = f'microweb: hello.py can\'t be read\n  File "{path}", line 1\n    app = (\n'
    assert text.startswith(shown)
    assert text.endswith("SyntaxError: '(' was never closed\n")


@pytest.mark.parametrize("command", ["run", "check", "routes"])
def test_exception_of_the_module_keeps_its_traceback(tmp_path: Path, command: str) -> None:
    (tmp_path / "hello.py").write_text("import os\nprice = 1 / 0\n")
    ended = run_to_end(["-m", "microweb", command, "hello.py"], tmp_path)
    assert ended.returncode == 3
    assert 'hello.py", line 2, in <module>\n    price = 1 / 0' in ended.stderr
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_import_that_the_module_lacks(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("hello.py", "import nothing_of_this_name\n")
    text = not_started(capsys, "run", "hello.py")
    assert text.endswith("ModuleNotFoundError: No module named 'nothing_of_this_name'\n")
