from __future__ import annotations

import functools
import pydoc
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextvars import ContextVar
from datetime import date
from typing import Any

import pytest
from support.apps import client_of, hello, noted, tracer
from support.processes import ENVIRONMENT
from support.reading import FakePeer

import microweb
import microweb.suggestions as suggestions
import microweb.websocket.suggestions as socket_suggestions
from microweb import (
    App,
    ConfigurationError,
    Handler,
    Request,
    Response,
    Router,
    WebSocket,
)
from microweb.errors import HTTPError, RouteConflict
from microweb.http.interfaces import MatchInfo
from microweb.http.request_head import PlainSection, parse_request_line
from microweb.request import make_request

# --- middleware -----------------------------------------------------------------------


class Unasked:
    async def __call__(self, request: Request) -> str:
        return ""


async def of_one(request: Request) -> Any: ...


async def of_three(request: Request, call_next: Handler, options: object) -> Any: ...


async def of_keywords(request: Request, call_next: Handler, *, options: object) -> Any: ...


WRONG_MIDDLEWARE: list[tuple[Any, str]] = [
    ("http", r"^middleware\('http'\): write @app.middleware, without parentheses"),
    (ValueError, r"^middleware: ValueError is a class: make an instance, as ValueError\(\.\.\.\)"),
    (lambda r, n: n(r), r"^<lambda> at test_app.py:\d+: write middleware as async def"),
    (5, r"^int: write middleware as async def \(request, call_next\)"),
    (None, r"^NoneType: write middleware as async def"),
    (of_one, r"of_one at .*: middleware takes \(request, call_next\), this takes \(request: "),
    (of_three, r"of_three at .*: middleware takes \(request, call_next\), this takes "),
    (of_keywords, r"of_keywords at .*: middleware takes \(request, call_next\), this takes "),
    (Unasked(), r"^Unasked: middleware takes \(request, call_next\), this takes \(request: "),
]


@pytest.mark.parametrize(("middleware", "text"), WRONG_MIDDLEWARE)
@pytest.mark.parametrize(
    "register",
    [
        lambda each: App().use(each),
        lambda each: App().middleware(each),
        lambda each: App().get("/", use=[each]),
        lambda each: App().route("/", use=[each]),
        lambda each: App().websocket("/", use=[each]),
        lambda each: App().mount("/x", App(), use=[each]),
        lambda each: Router("/x", use=[each]),
    ],
)
def test_wrong_middleware_is_refused_when_it_is_registered(
    middleware: Any, text: str, register: Callable[[Any], object]
) -> None:
    with pytest.raises(ConfigurationError, match=text):
        register(middleware)


def test_middleware_behind_a_decorator_is_taken() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    app = App()
    app.use(logged(of_one))  # its parameters cannot be checked
    app.use(functools.partial(of_three, options=None))
    app.before_request(logged(hello))
    app.freeze()


def passing_on(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Decorated:
    """A callable object whose `async def` is inside a decorator that is a plain `def`."""

    at = 3  # an attribute with a plain name

    @passing_on
    async def __call__(self, request: Request, call_next: Handler) -> Response:
        return await call_next(request)

    @passing_on
    async def show(self, request: Request) -> str:
        return "seen"

    @passing_on
    async def look(self, request: Request) -> None:
        request.state.seen = True


@passing_on
async def pass_by(name: str, request: Request, call_next: Handler) -> Response:
    return await call_next(request)


@pytest.mark.parametrize(
    "middleware",
    [
        Decorated(),
        functools.partial(Decorated()),
        functools.partial(pass_by, "name"),
        functools.partial(functools.partial(pass_by), "name"),
    ],
)
async def test_an_async_function_is_found_behind_any_decorators(middleware: Any) -> None:
    app = App()
    app.use(middleware)
    app.before_request(functools.partial(Decorated().look))
    app.get("/")(functools.partial(passing_on(Decorated().show)))
    async with app.test_client() as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.text) == (200, "seen")


def test_errorhandler_without_parentheses_is_refused() -> None:
    app = App()
    with pytest.raises(ConfigurationError) as caught:
        app.errorhandler(of_one)  # type: ignore[arg-type]
    assert str(caught.value).startswith("errorhandler(of_one at test_app.py:")
    assert str(caught.value).endswith(
        "): write @app.errorhandler(404) or @app.errorhandler(ExceptionType)"
    )


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/users/<id>", "{id} in place of <id>"),
        ("/users/<string:id>/x", "{id} in place of <string:id>"),
        ("/users/<int:id>", "{id:int} in place of <int:id>"),
        ("/<path:rest>", "{rest:path} in place of <path:rest>"),
        ("/<any(a, b):id>", "{id:any} in place of <any(a, b):id>"),
    ],
)
def test_parameters_in_angles_are_answered_with_ours(path: str, ours: str) -> None:
    app = App()
    registers: list[Callable[[str], object]] = [app.get, app.route, app.websocket, Router]
    for register in registers:
        with pytest.raises(ConfigurationError) as caught:
            register(path)
        assert str(caught.value).endswith(f" {path!r}: write {ours}")
    with pytest.raises(ConfigurationError, match=" in place of "):
        app.mount(path, App())


def test_a_converter_in_the_place_of_the_name_is_answered_with_ours() -> None:
    app = App()
    app.get("/{int:id}")(hello)  # a converter `id` may be registered later
    with pytest.raises(ConfigurationError, match=r"write \{id:int\} in place of \{int:id\}$"):
        app.freeze()


def test_what_other_frameworks_pass_to_an_app_is_answered_with_ours() -> None:
    with pytest.raises(ConfigurationError) as caught:
        App(__name__)  # type: ignore[arg-type]
    assert str(caught.value) == f"App takes only keywords: leave {__name__!r} out"
    with pytest.raises(ConfigurationError) as caught:
        App(title="a", debug=True)  # type: ignore[arg-type]
    remedy = "in microweb it is `app.openapi(title, version)`"
    assert str(caught.value) == f"App() has no keyword 'title': {remedy}"
    with pytest.raises(ConfigurationError, match=r"^App\(\) has no keyword 'nonsense'$"):
        App(nonsense=1)  # type: ignore[arg-type]


def test_what_other_frameworks_pass_to_a_route_is_answered_with_ours() -> None:
    app = App()
    with pytest.raises(ConfigurationError) as caught:
        app.get("/a", methods=["GET"])  # type: ignore[call-arg]
    assert str(caught.value) == (
        "get() has no keyword 'methods': in microweb it is `app.route('/a', methods)`"
    )
    for register in (app.get, app.post, app.put, app.patch, app.delete, app.route):
        with pytest.raises(ConfigurationError, match=r"'dependencies': .* `use=\[middleware\]`$"):
            register("/a", dependencies=[])
        with pytest.raises(ConfigurationError, match=r"^\w+\(\) has no keyword 'nonsense'$"):
            register("/a", nonsense=1)


@pytest.mark.parametrize("name", ["jsonify", "request", "session", "Blueprint"])
def test_what_is_imported_from_other_frameworks_is_answered_with_ours(name: str) -> None:
    with pytest.raises(ImportError, match=rf"^microweb has no '{name}': "):
        exec(f"from microweb import {name}")


def test_websocket_of_other_frameworks_is_answered_with_ours() -> None:
    """A new interpreter has not imported the package `microweb.websocket` yet."""
    code = "from microweb import App, WebSocket, websocket"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert "ImportError: microweb has no 'websocket': @app.websocket gives" in ended.stderr


def test_websocket_is_a_public_name_that_is_imported_when_it_is_asked_for() -> None:
    code = """import microweb, sys
assert not [name for name in sys.modules if name.startswith("microweb.websocket")]
assert "WebSocket" in dir(microweb) and "WebSocket" in microweb.__all__
from microweb import *
from microweb.websocket import WebSocket as same
assert WebSocket is microweb.WebSocket is same
"""
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, timeout=60, check=True)


def test_modules_can_be_imported_under_names_of_other_frameworks() -> None:
    for name in ("request", "websocket"):
        code = f"import microweb.{name} as found; import microweb; assert microweb.{name} is found"
        exec(code)
    assert not hasattr(microweb, "jsonify")
    with pytest.raises(ImportError, match="cannot import name 'nonsense' from 'microweb'"):
        exec("from microweb import nonsense")
    with pytest.raises(AttributeError, match="return the dict or list itself"):
        _ = microweb.jsonify  # type: ignore[attr-defined]


async def test_url_for_is_absolute_if_it_is_asked_to_be() -> None:
    app, inner = App(), App()

    @inner.get("/users/{id}", name="user")
    async def user(request: Request, id: int) -> str:
        return request.url_for("user", id=id, tab="a b", absolute=True)

    app.mount("/inner", inner)
    async with app.test_client(base_url="https://example.org:8443") as client:
        expected = "https://example.org:8443/inner/users/7?tab=a+b"
        assert (await client.get("/inner/users/7")).text == expected
        answer = await client.raw(b"GET /inner/users/7 HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"expected the field Host, got none" in answer


async def test_context_variables_do_not_reach_the_next_request() -> None:
    app, user = App(), ContextVar("user", default="nobody")

    @app.middleware
    async def know(request: Request, call_next: Handler) -> Response:
        if name := request.query.get("user"):
            user.set(name)
        return await call_next(request)

    @app.get("/async")
    async def show() -> str:
        return user.get()

    @app.get("/def")
    def show_in_thread() -> str:
        return user.get()

    async with client_of(app) as client:
        for path in ("/async", "/def"):
            assert (await client.get(f"{path}?user=bob")).text == "bob"
            assert (await client.get(path)).text == "nobody"


# --- url_for --------------------------------------------------------------------------


async def test_request_url_for_knows_the_mount() -> None:
    app, inner = App(), App()

    @inner.get("/x/{id}", name="x")
    async def show(request: Request, id: int) -> str:
        return request.url_for("x", id=id + 1, page=2)

    app.mount("/inner", inner)
    app.mount("/é", inner)
    async with client_of(app) as client:
        assert (await client.get("/inner/x/1")).text == "/inner/x/2?page=2"
        assert (await client.get("/é/x/1")).text == "/%C3%A9/x/2?page=2"


# --- converters -----------------------------------------------------------------------


async def test_own_converter_both_ways() -> None:
    app = App()

    @app.get("/{day:day}")
    async def show(request: Request, day: date) -> str:
        return request.url_for("show", day=day.replace(year=1999))

    app.converter("day", r"\d{4}-\d\d-\d\d", date.fromisoformat, date.isoformat)
    async with client_of(app) as client:
        assert (await client.get("/2026-02-03")).text == "/1999-02-03"


async def test_what_an_own_converter_made_is_not_shared_by_requests() -> None:
    app = App()
    app.converter("words", "[a-z,]+", lambda text: text.split(","))

    @app.get("/{words:words}")
    async def show(words: list[str]) -> list[str]:
        words.append("seen")
        return words

    async with client_of(app) as client:
        for _ in range(2):
            assert (await client.get("/a,b")).json() == ["a", "b", "seen"]


async def test_what_an_own_converter_decides_is_not_kept() -> None:
    tenants: set[str] = set()

    def known_tenant(text: str) -> str:
        if text not in tenants:
            raise ValueError
        return text

    app = App()
    app.converter("tenant", "[a-z]+", known_tenant)

    @app.get("/{name:tenant}/home")
    async def home(name: str) -> str:
        return f"home of {name}"

    @app.post("/{name}/home")
    @app.get("/{name}")
    async def other(name: str) -> str:
        return f"other {name}"

    @app.get("/{name:tenant}")
    async def tenant(name: str) -> str:
        return f"tenant {name}"

    async with client_of(app) as client:
        assert (await client.get("/acme/home")).status_code == 405
        assert (await client.get("/acme")).text == "other acme"
        tenants.add("acme")
        assert (await client.get("/acme/home")).text == "home of acme"
        assert (await client.get("/acme")).text == "tenant acme"
        tenants.clear()
        assert (await client.get("/acme/home")).status_code == 405
        assert (await client.get("/acme")).text == "other acme"


async def test_error_of_a_broken_path_is_of_one_request() -> None:
    app = App()
    app.get("/{name}")(hello)

    @app.errorhandler(400)
    async def show(request: Request, error: HTTPError) -> Response:
        error.headers["X-Seen"] = error.headers.get("X-Seen", "") + "i"
        return Response(error.headers["X-Seen"], 400)

    async with client_of(app) as client:
        for _ in range(3):
            assert (await client.get("/%zz")).text == "i"


def match_of(app: App, method: str, target: str) -> MatchInfo:
    request = make_request(parse_request_line(method, target), PlainSection(), FakePeer())
    app.handle(request).close()
    assert request.match is not None
    return request.match


def test_match_is_found_once_for_a_method_and_path() -> None:
    app = App()
    app.get("/{id:int}")(hello)
    app.delete("/{id:int}")(hello)
    match = match_of(app, "GET", "/1")
    assert match_of(app, "GET", "/1?a=b") is match
    assert match.params == {"id": 1}
    assert match_of(app, "GET", "/2").params == {"id": 2}
    route = match_of(app, "DELETE", "/1").route
    assert route is not None and route.methods == ("DELETE",)
    assert match_of(app, "PUT", "/1").allowed == ("DELETE", "GET", "HEAD", "OPTIONS")


def test_match_of_a_known_path_does_not_excuse_an_https_target() -> None:
    app = App()
    app.get("/")(hello)
    plain = match_of(app, "GET", "/")
    for target in ("https://testserver/", "http://testserver/"):
        assert match_of(app, "GET", target).route is plain.route
        assert match_of(app, "GET", target) is not plain
    assert match_of(app, "GET", "/") is plain


def test_memo_of_matches_is_bounded() -> None:
    app = App()
    app.get("/{path:path}")(hello)
    for number in range(2100):
        assert match_of(app, "GET", f"/{number}").params == {"path": str(number)}
        assert len(app._matches) <= 1024
    app._matches.clear()
    match_of(app, "GET", "/" + "a" * 300)
    match_of(app, "A" * 300, "/")
    assert not app._matches


def test_converter_of_a_taken_name_or_unknown_name() -> None:
    app = App()
    with pytest.raises(ConfigurationError, match="'int': the name is taken"):
        app.converter("int", ".+", int)
    app.get("/{x:slug}")(hello)
    with pytest.raises(ConfigurationError, match="register the converter 'slug'"):
        app.freeze()


# --- mounting -------------------------------------------------------------------------


async def test_mounted_app_sees_its_own_paths() -> None:
    app, inner = App(), App()

    @inner.get("/")
    @inner.get("/u/{id}")
    async def show(request: Request, **params: str) -> object:
        assert request.app is inner
        return [request.path, request.prefix, request.raw_path, params]

    app.mount("/admin", inner)
    app.get("/admin-not")(hello)
    async with client_of(app) as client:
        assert (await client.get("/admin/")).json() == ["/", "/admin", "/admin/", {}]
        assert (await client.get("/%61dmin/u/a%2Fb")).json() == [
            "/u/a/b",
            "/admin",
            "/%61dmin/u/a%2Fb",
            {"id": "a/b"},
        ]
        assert (await client.get("/admin-not")).text == "|/admin-not"


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_bare_prefix_of_a_mount_answers_308(method: str) -> None:
    app, inner = App(), App()
    inner.get("/")(hello)
    app.mount("/admin", inner)
    app.mount("/é", inner)
    async with client_of(app) as client:
        response = await client.request(method, "/admin?x=1")
        assert (response.status_code, response.headers["location"]) == (308, "/admin/?x=1")
        response = await client.request(method, "/é")
        assert (response.status_code, response.headers["location"]) == (308, "/%C3%A9/")


async def test_nested_mounts() -> None:
    app, middle, inner = App(), App(), App()
    inner.get("/x")(hello)
    middle.get("/x")(hello)
    middle.mount("/inner", inner)
    app.mount("/middle", middle)
    async with client_of(app) as client:
        assert (await client.get("/middle/inner/x")).text == "/middle/inner|/x"
        assert (await client.get("/middle/x")).text == "/middle|/x"
        location = (await client.get("/middle/inner")).headers["location"]
    assert location == "/middle/inner/"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_outer_wildcard_does_not_answer_below_a_mount(method: str) -> None:
    app, inner = App(), App()
    app.route("/{path:path}", methods=["GET", "POST"])(hello)
    app.get("/api/status")(hello)
    inner.get("/x")(hello)

    @inner.errorhandler(404)
    async def lost(request: Request) -> str:
        return f"{request.prefix} has no {request.path}"

    app.mount("/api", inner)
    async with client_of(app) as client:
        assert (await client.get("/elsewhere")).text == "|/elsewhere"
        assert (await client.get("/api/status")).text == "|/api/status"  # names the prefix itself
        answer = await client.request(method, "/api/unknown")
        assert answer.status_code == 404
        if method != "HEAD":
            assert answer.text == "/api has no /unknown"
        assert (await client.post("/api/x")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_same_app_mounted_twice() -> None:
    log: list[str] = []
    app, left, right, shared = App(), App(), App(), App()
    shared.get("/x")(hello)
    shared.lifespan(noted(log, "shared"))

    @left.errorhandler(404)
    async def lost_left(request: Request) -> str:
        return "left"

    @right.errorhandler(404)
    async def lost_right(request: Request) -> str:
        return "right"

    left.mount("/s", shared)
    right.mount("/s", shared)
    app.mount("/left", left)
    app.mount("/right", right)
    async with client_of(app) as client:
        assert (await client.get("/left/s/x")).text == "/left/s|/x"
        assert (await client.get("/right/s/x")).text == "/right/s|/x"
        assert (await client.get("/left/s/none")).text == "left"
        assert (await client.get("/right/s/none")).text == "right"
    assert log == ["shared", "/shared"]


async def test_mounted_app_can_also_be_served_alone() -> None:
    app, inner = App(), App()
    inner.get("/x")(hello)
    app.mount("/m", inner)
    async with client_of(app) as outer, client_of(inner) as alone:
        assert (await outer.get("/m/x")).text == "/m|/x"
        assert (await alone.get("/x")).text == "|/x"


async def test_mounted_router_is_part_of_the_app() -> None:
    app, router = App(), Router("/r")

    @router.get("")
    async def bare(request: Request) -> object:
        assert request.app is app
        return request.path

    app.mount("/m", router)
    async with client_of(app) as client:
        assert (await client.get("/m/r")).text == "/m/r"


async def test_routers_nest() -> None:
    app, outer, inner = App(), Router("/u/{id}", name="user"), Router("/posts", name="posts")

    @inner.get("/{n}")
    async def show(request: Request, id: int, n: int) -> str:
        return request.url_for("user.posts.show", id=id, n=n + 1)

    outer.include(inner)
    app.include(outer)
    async with client_of(app) as client:
        assert (await client.get("/u/5/posts/1")).text == "/u/5/posts/2"


@pytest.mark.parametrize("prefix", ["", "/", "admin", "/admin/", "/{x}"])
def test_prefix_that_no_mount_has(prefix: str) -> None:
    app = App()
    with pytest.raises(ConfigurationError, match="prefix"):
        app.mount(prefix, App())
        app.freeze()


def test_app_is_not_mounted_in_itself() -> None:
    app, inner = App(), App()
    inner.mount("/x", app)
    for each in (app, inner):
        with pytest.raises(ConfigurationError, match="don't mount an app in itself"):
            app.mount("/x", each)


@pytest.mark.parametrize("outer", [App(), Router("/a")])
def test_an_app_is_not_included_in_anything(outer: Router) -> None:
    inner = App()
    with pytest.raises(ConfigurationError, match=r"^include\(\) takes a Router: use app\.mount"):
        outer.include(inner)
    with pytest.raises(ConfigurationError, match=r"^include: expected a Router, got <function "):
        outer.include(test_app_is_mounted_not_included)  # type: ignore[arg-type]
    assert outer.routes == []


@pytest.mark.parametrize("value", [lambda scope, receive, send: None, Request, "app", None])
def test_only_an_application_or_a_router_is_mounted(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        App().mount("/x", value)
    text = str(caught.value)
    kinds = "an App, a Router, an ASGI application or WSGI(app)"
    assert text.startswith(f"mount '/x': expected {kinds}, got ")
    assert text.endswith("; route a function with @app.route('/x/{path:path}')")


def test_app_is_mounted_not_included() -> None:
    with pytest.raises(ConfigurationError, match=r"use app.mount\(prefix, other_app\)"):
        App().include(App())


# --- freezing -------------------------------------------------------------------------

LATE: list[Callable[[App], object]] = [
    lambda app: app.get("/late")(hello),
    lambda app: app.use(tracer([], "")),
    lambda app: app.middleware(tracer([], "")),
    lambda app: app.before_request(hello),
    lambda app: app.after_request(hello),
    lambda app: app.errorhandler(404)(hello),
    lambda app: app.mount("/late", App()),
    lambda app: app.mount("/late", Router()),
    lambda app: app.include(Router("/late")),
    lambda app: app.lifespan(noted([], "")),
    lambda app: app.on_startup(hello),
    lambda app: app.on_shutdown(hello),
    lambda app: app.converter("late", ".", str),
]


@pytest.mark.parametrize("register", LATE)
@pytest.mark.parametrize("is_mounted", [False, True])
def test_what_is_registered_late_is_refused(
    register: Callable[[App], object], is_mounted: bool
) -> None:
    app, inner = App(), App()
    app.mount("/inner", inner)
    app.freeze()
    with pytest.raises(ConfigurationError, match="before the application starts"):
        register(inner if is_mounted else app)


def test_included_router_is_closed_too() -> None:
    app, router = App(), Router("/r")
    app.include(router)
    app.freeze()
    with pytest.raises(ConfigurationError, match="before the application starts"):
        router.get("/late")(hello)


async def test_first_request_freezes() -> None:
    app = App()
    app.get("/")(hello)
    async with client_of(app) as client:
        assert (await client.get("/")).status_code == 200
    with pytest.raises(ConfigurationError, match="before the application starts"):
        app.get("/late")(hello)


def test_freezing_again_is_nothing() -> None:
    app = App()
    app.get("/")(hello)
    app.freeze()
    path = app.url_for("hello")
    app.freeze()
    assert app.url_for("hello") == path == "/"


def test_conflict_names_both_routes_with_file_and_line() -> None:
    app, inner = App(), App()
    app.get("/m/{a}")(hello)

    @inner.get("/{b}")
    async def other(b: str) -> str:
        return b

    app.mount("/m", inner)
    with pytest.raises(RouteConflict) as caught:
        app.freeze()
    first, second = hello.__code__.co_firstlineno, other.__code__.co_firstlineno
    assert f"GET /m/{{a}} (hello at apps.py:{first})" in str(caught.value)
    assert f"GET /m/{{b}} (other at test_app.py:{second})" in str(caught.value)
    with pytest.raises(RouteConflict, match="both answer GET"):
        app.freeze()  # the same error again


def test_two_apps_at_one_prefix_are_a_conflict() -> None:
    app = App()
    app.mount("/m", App())
    app.mount("/m", App())
    with pytest.raises(RouteConflict, match="'/m'"):
        app.freeze()


# --- limits and state -----------------------------------------------------------------


async def test_body_limit_is_the_routes_else_the_apps_else_the_outer_apps() -> None:
    app, inner, own = App(max_body=10), App(), App(max_body=20)

    async def size(request: Request) -> str:
        return str(len(await request.body()))

    app.post("/app")(size)
    app.post("/route", max_body=30)(size)
    app.post("/nothing", max_body=0)(size)
    inner.post("/")(size)
    own.post("/")(size)
    app.mount("/inner", inner)
    app.mount("/own", own)
    limits = {"/app": 10, "/route": 30, "/nothing": 0, "/inner/": 10, "/own/": 20}
    async with client_of(app) as client:
        for path, limit in limits.items():
            assert (await client.post(path, content=bytes(limit))).text == str(limit)
            assert (await client.post(path, content=bytes(limit + 1))).status_code == 413


async def test_json_limits_are_the_routes_else_the_apps_else_the_outer_apps() -> None:
    app, inner = App(max_json=10, max_json_values=3), App()
    own = App(max_json=20, max_json_values=4)

    async def number(request: Request) -> str:
        return str(len(await request.json()))

    app.post("/app")(number)
    app.post("/route", max_json=30, max_json_values=6)(number)
    inner.post("/")(number)
    own.post("/")(number)
    app.mount("/inner", inner)
    app.mount("/own", own)
    limits = {"/app": (10, 3), "/route": (30, 6), "/inner/": (10, 3), "/own/": (20, 4)}
    async with client_of(app) as client:
        for path, (size, values) in limits.items():
            most = b"[" + b",".join([b"1"] * values) + b"]"
            assert (await client.post(path, content=most.ljust(size))).text == str(values)
            answer = await client.post(path, content=most.ljust(size + 1))
            assert answer.status_code == 413
            assert f"at most {size} bytes of JSON (max_json)" in answer.text
            answer = await client.post(path, content=most[:-1] + b",1]")
            assert answer.status_code == 413
            assert f"at most {values} values in a JSON body (max_json_values)" in answer.text


async def test_json_limits_are_the_servers_at_last() -> None:
    app = App()

    @app.post("/")
    async def number(request: Request) -> str:
        return str(len(await request.json()))

    async with client_of(app) as client:
        most = b"[" + b",".join([b"1"] * 150_000) + b"]"
        assert (await client.post("/", content=most.ljust(1 << 20))).text == "150000"
        assert (await client.post("/", content=most.ljust((1 << 20) + 1))).status_code == 413
        assert (await client.post("/", content=most[:-1] + b",1]")).status_code == 413


async def test_body_limit_holds_for_pieces() -> None:
    app = App(max_body=3)

    @app.post("/")
    async def size(request: Request) -> str:
        return str(len(await request.body()))

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x"

    async with client_of(app) as client:
        assert (await client.post("/", content=pieces(3))).text == "3"
        assert (await client.post("/", content=pieces(4))).status_code == 413


async def test_state_of_app_and_request() -> None:
    app = App()
    app.state.greeting = "hi"

    @app.middleware
    async def know(request: Request, call_next: Handler) -> Response:
        assert not hasattr(request.state, "user")
        request.state.user = request.query["user"]
        return await call_next(request)

    @app.get("/")
    async def show(request: Request) -> str:
        return f"{request.app.state.greeting} {request.state.user}"

    async with client_of(app) as client:
        assert (await client.get("/?user=a")).text == "hi a"
        assert (await client.get("/?user=b")).text == "hi b"


# --- names of other frameworks --------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("add_url_rule", "app.route(path)(endpoint)"),
        ("register_blueprint", "app.include(router)"),
        ("add_middleware", "app.use(middleware)"),
        ("exception_handler", "@app.errorhandler(ExceptionType)"),
        ("on_event", "@app.on_startup or @app.on_shutdown"),
        ("url_path_for", "app.url_for(name)"),
        ("config", "app.state"),
    ],
)
def test_name_of_another_framework_says_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(App(), name)
    assert str(caught.value).endswith(
        f"'App' object has no attribute {name!r}: in microweb it is `{ours}`"
    )


def test_unknown_name_is_a_plain_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^'App' object has no attribute 'nonsense'$"):
        _ = App().nonsense  # type: ignore[attr-defined]


def names_said(owner: type) -> Iterable[str]:
    return {**suggestions.NAMES, WebSocket: socket_suggestions.NAMES}[owner]  # type: ignore[index]


@pytest.mark.parametrize("owner", [App, Request, Response])
def test_names_elsewhere_are_not_ours(owner: type) -> None:
    assert [name for name in names_said(owner) if hasattr(owner, name)] == []


@pytest.mark.parametrize("made", [App(), Response(), Response.stream([])], ids="abc")
def test_dir_lists_no_names_of_other_frameworks(made: object) -> None:
    names = dir(made)
    assert "__init__" in names
    assert {"url_for", "status"} & set(names)
    assert not set(names) & {*names_said(App), *names_said(Request), *names_said(Response)}


@pytest.mark.parametrize("owner", [App, Request, Response, WebSocket])
def test_dir_and_help_of_a_class_list_no_names_of_other_frameworks(owner: type) -> None:
    class Derived(owner):  # type: ignore[misc]
        pass

    for each in (owner, Derived):
        names = set(dir(each))
        assert {"__init__", "__repr__"} < names
        assert not names & set(names_said(owner))
        told = pydoc.plain(pydoc.render_doc(each))
        assert not [name for name in names_said(owner) if re.search(rf"(?m)^ \|  {name}\b", told)]


def test_dir_lists_a_name_of_another_framework_that_a_subclass_has() -> None:
    class Page(Response):
        content = "ours"

    assert "content" in dir(Page) and "content" in dir(Page())
    assert "content" not in dir(Response)


def test_class_that_is_asked_for_a_name_of_another_framework_says_ours() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = Request.args  # type: ignore[attr-defined]
    assert str(caught.value) == (
        "type object 'Request' has no attribute 'args': in microweb it is `request.query`"
    )


@pytest.mark.parametrize(
    "change", [lambda app: setattr(app, "config", 1), lambda app: delattr(app, "config")]
)
def test_setting_or_deleting_a_name_of_another_framework_says_ours(
    change: Callable[[App], object],
) -> None:
    with pytest.raises(AttributeError, match=r"in microweb it is `app\.state`"):
        change(App())


async def test_dir_of_a_request_lists_no_names_of_other_frameworks() -> None:
    app = App()

    @app.get("/")
    async def show(request: Request) -> list[str]:
        return dir(request)

    async with client_of(app) as client:
        names = (await client.get("/")).json()
    assert {"query", "json", "session"} <= set(names)
    assert not set(names) & set(names_said(Request))
