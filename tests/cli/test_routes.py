"""The table of routes of `microweb routes`."""

from __future__ import annotations

import pytest
from support.commanding import APP, Write, complaint

from microweb import App, cli
from microweb.cli.routes import print_routes

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


def test_paths_that_middleware_answers_are_listed(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
from microweb import App
from microweb.middleware.health import Health
from microweb.middleware.metrics import Metrics
app, admin = App(), App()
app.use(Health())
admin.use(Metrics("/numbers"))
app.mount("/admin", admin)
"""
    write("hello.py", source)
    cli.main(["routes", "hello.py"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    health, metrics = "microweb.middleware.health.Health", "microweb.middleware.metrics.Metrics"
    assert rows[1:] == [
        ["GET", "/livez", "-", health, "middleware"],
        ["GET", "/readyz", "-", health, "middleware"],
        ["GET", "/admin/numbers", "-", metrics, "middleware"],
    ]


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
    assert capsys.readouterr().out.count("hello.py:") == 4  # the table is printed


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


def test_table_of_an_app_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    app = App()
    app.get("/login", name="login")(lambda: "hello")
    print_routes(app)
    _, row = capsys.readouterr().out.splitlines()
    assert row.split()[:3] == ["GET", "/login", "login"]
