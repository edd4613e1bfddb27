from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from microweb.errors import ConfigurationError
from microweb.router import Route, Router

# --- routes ---------------------------------------------------------------------------


def show_user() -> None: ...


async def log(request: object, call_next: object) -> None: ...


async def auth(request: object, call_next: object) -> None: ...


async def limit(request: object, call_next: object) -> None: ...


def line_of(function: Callable[..., object]) -> int:
    return function.__code__.co_firstlineno


def test_route_tells_where_its_endpoint_is() -> None:
    route = Route("/users/{id}", ("GET", "PUT"), show_user, "show")
    place = f"show_user at test_router.py:{line_of(show_user)}"
    assert str(route) == f"GET,PUT /users/{{id}} ({place})"


def test_route_tells_where_a_wrapped_endpoint_is() -> None:
    @functools.wraps(show_user)
    def wrapper() -> None: ...

    route = Route("/", ("GET",), wrapper, "show")
    assert str(route) == f"GET / (show_user at test_router.py:{line_of(show_user)})"


def test_route_names_an_endpoint_without_code() -> None:
    class Endpoint:
        def __call__(self) -> None: ...

    assert str(Route("/", ("GET",), Endpoint(), "x")) == "GET / (Endpoint)"
    assert str(Route("/", ("GET",), len, "x")) == "GET / (len)"
    assert str(Route("/", ("GET",), functools.partial(len), "x")) == "GET / (len)"


def test_route_names_an_endpoint_that_wraps_itself() -> None:
    def endless() -> None: ...

    endless.__wrapped__ = endless  # type: ignore[attr-defined]
    assert str(Route("/", ("GET",), endless, "x")).startswith("GET / (endless at ")


@pytest.mark.parametrize(
    ("methods", "remedy"),
    [
        ((), "give it a method, such as methods=('GET',)"),
        (("get",), "'get' is not a method: write 'GET', methods are case-sensitive"),
        (("A B",), "'A B' is not a method: name it in visible ASCII, as in 'PURGE'"),
        (("",), "'' is not a method: name it in visible ASCII, as in 'PURGE'"),
        (("CAFÉ",), "'CAFÉ' is not a method: name it in visible ASCII, as in 'PURGE'"),
        (("CONNECT",), "leave CONNECT out, it asks for a proxy"),
        (("GET", "GET"), "name each method once"),
    ],
)
def test_wrong_methods_name_route_and_remedy(methods: tuple[str, ...], remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Router().route("/u", methods)(show_user)
    place = f"show_user at test_router.py:{line_of(show_user)}"
    assert str(caught.value) == f"{','.join(methods)} /u ({place}): {remedy}"


def test_one_string_is_no_sequence_of_methods() -> None:
    with pytest.raises(ConfigurationError, match=r"route path '/u': write methods=\('GET',\)"):
        Router().route("/u", "GET")


# --- Router ---------------------------------------------------------------------------


def test_decorator_returns_the_function_untouched() -> None:
    router = Router()
    assert router.get("/")(router.route("/x")(show_user)) is show_user
    assert [route.path for route in router.routes] == ["/x", "/"]


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_shortcut_is_a_route_for_its_method(method: str) -> None:
    router = Router()
    options = {"name": "n", "use": [log], "max_body": 5, "on_disconnect": "finish"}
    getattr(router, method)("/x", **options)(show_user)
    (route,) = router.routes
    assert (route.path, route.methods, route.endpoint) == ("/x", (method.upper(),), show_user)
    assert (route.name, route.use, route.max_body) == ("n", (log,), 5)
    assert route.on_disconnect == "finish"


def test_route_is_get_and_named_like_its_function() -> None:
    router = Router()
    router.route("/x")(show_user)
    (route,) = router.routes
    assert (route.methods, route.name, route.use) == (("GET",), "show_user", ())
    assert (route.max_body, route.on_disconnect) == (None, None)


def test_callable_object_is_named_like_its_class() -> None:
    class Endpoint:
        def __call__(self) -> None: ...

    router = Router()
    router.get("/")(Endpoint())
    assert router.routes[0].name == "Endpoint"


def test_prefix_stands_before_each_path() -> None:
    router = Router("/users")
    for path in ("", "/", "/{id}"):
        router.get(path)(show_user)
    assert [route.path for route in router.routes] == ["/users", "/users/", "/users/{id}"]


@pytest.mark.parametrize("prefix", ["users", "/", "/users/"])
def test_wrong_prefix_names_itself_and_the_remedy(prefix: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Router(prefix)
    assert str(caught.value) == (
        f"prefix {prefix!r}: begin it with '/' and do not end it with '/', as in '/users'"
    )


@pytest.mark.parametrize(
    ("prefix", "path", "message"),
    [
        ("", "", "route path '': write '/'; '' is for a Router with a prefix"),
        ("", "users", "route path 'users': begin it with '/'"),
        ("/users", "{id}", "route path '{id}': begin it with '/'"),
    ],
)
def test_wrong_path_is_refused_at_once(prefix: str, path: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Router(prefix).get(path)
    assert str(caught.value) == message


def test_decorator_without_a_path_is_told_the_form() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a path as in route\('/'\), got <func"):
        Router().get(show_user)  # type: ignore[arg-type]


def test_name_of_the_router_stands_before_names_of_routes() -> None:
    router = Router(name="users")
    router.get("/a")(show_user)
    router.get("/b", name="list")(show_user)
    assert [route.name for route in router.routes] == ["users.show_user", "users.list"]


def test_use_of_the_router_stands_before_that_of_the_route_whenever_it_is_given() -> None:
    router = Router(use=[log])
    router.get("/", use=[limit])(show_user)
    router.use(auth)
    assert router.routes[0].use == (log, auth, limit)


def test_middleware_as_a_decorator_is_returned_untouched() -> None:
    router = Router()
    router.get("/")(show_user)
    assert router.middleware(log) is log
    assert router.routes[0].use == (log,)


def test_included_router_is_below_prefix_name_and_use() -> None:
    parent, child = (
        Router("/api", use=[log], name="api"),
        Router("/users", use=[auth], name="users"),
    )
    parent.get("/first")(show_user)
    parent.include(child)
    parent.get("/last")(show_user)
    child.get("", use=[limit])(show_user)
    first, middle, last = parent.routes
    assert (first.path, last.path) == ("/api/first", "/api/last")
    assert (middle.path, middle.name) == ("/api/users", "api.users.show_user")
    assert middle.use == (log, auth, limit)
    assert [route.path for route in child.routes] == ["/users"]


def test_what_other_frameworks_pass_to_a_router_is_answered_with_ours() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Router(url_prefix="/x")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Router() has no keyword 'url_prefix': in microweb it is `Router(prefix)`"
    )
    with pytest.raises(ConfigurationError, match=r"^include\(\) has no keyword 'prefix': in micro"):
        Router().include(Router(), prefix="/x")  # type: ignore[arg-type]


def test_router_does_not_include_itself() -> None:
    outer, inner = Router("/a"), Router("/b")
    outer.include(inner)
    for router, included in ((outer, outer), (inner, outer)):
        with pytest.raises(ConfigurationError, match="don't include it in itself"):
            router.include(included)


def test_frozen_router_registers_nothing() -> None:
    outer, inner = Router(), Router("/b")
    pending = inner.get("/late")
    outer.include(inner)
    outer.freeze()
    for register, what in (
        (lambda: pending(show_user), "route path '/late'"),
        (lambda: outer.get("/x")(show_user), "route path '/x'"),
        (lambda: inner.use(log), "middleware"),
        (lambda: outer.include(Router("/c")), "router '/c'"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            register()
        assert str(caught.value) == f"{what}: register it before the application starts"
    assert outer.routes == []
