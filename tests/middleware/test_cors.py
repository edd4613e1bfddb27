"""Fetch Standard, CORS protocol: the fields that let a script read a response."""

from __future__ import annotations

import functools
from typing import Any

import httpx
import pytest

from microweb import App, ConfigurationError, Handler, Request, Response, Router, abort
from microweb.middleware.authentication import BearerAuth
from microweb.middleware.cors import CORS

SHOP, OTHER = "https://shop.example", "https://other.example"


def app_with(*middleware: Any) -> App:
    app = App()
    for each in middleware:
        app.use(each)

    @app.get("/")
    async def index() -> str:
        return "hello"

    @app.route("/notes/{id}", methods=("PUT", "DELETE"))
    async def note(id: int) -> str:
        return f"note {id}"

    @app.get("/teapot")
    async def teapot() -> None:
        abort(418)

    @app.get("/broken")
    async def broken() -> None:
        raise ZeroDivisionError

    return app


async def ask(app: App, method: str, path: str, origin: str | None = None) -> httpx.Response:
    async with app.test_client(raise_errors=False) as client:
        return await client.request(method, path, headers={"Origin": origin} if origin else {})


async def preflight(app: App, path: str, method: str, origin: str = SHOP) -> httpx.Response:
    async with app.test_client(raise_errors=False) as client:
        fields = {"Origin": origin, "Access-Control-Request-Method": method}
        return await client.options(path, headers=fields)


def cors_fields(response: httpx.Response) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): value
        for name, value in response.headers.items()
        if name.startswith("access-control-")
    }


# --- responses ------------------------------------------------------------------------


async def test_star_goes_to_everyone_without_vary() -> None:
    for origin in (None, SHOP):
        response = await ask(app_with(CORS("*")), "GET", "/", origin)
        assert cors_fields(response) == {"allow-origin": "*"}
        assert "vary" not in response.headers


async def test_only_origin_goes_to_everyone_without_vary() -> None:
    """The standard advises this: a cache then has one response for all clients."""
    for origin in (None, SHOP, OTHER):
        response = await ask(app_with(CORS(SHOP)), "GET", "/", origin)
        assert cors_fields(response) == {"allow-origin": SHOP}
        assert "vary" not in response.headers


@pytest.mark.parametrize(
    "origins", [[SHOP, "http://localhost:5173"], lambda o: o.startswith("https://shop.")]
)
@pytest.mark.parametrize(("origin", "allowed"), [(SHOP, SHOP), (OTHER, None), (None, None)])
async def test_one_of_several_origins_is_named_with_vary(
    origins: Any, origin: str | None, allowed: str | None
) -> None:
    response = await ask(app_with(CORS(origins)), "GET", "/", origin)
    assert response.headers.get("access-control-allow-origin") == allowed
    assert response.headers["vary"] == "Origin"
    assert response.text == "hello"


@pytest.mark.parametrize("path", ["/teapot", "/broken", "/nowhere", "/notes/1"])
async def test_errors_can_be_read_too(path: str) -> None:
    response = await ask(app_with(CORS([SHOP, OTHER])), "GET", path, OTHER)
    assert response.status_code in (418, 500, 404, 405)
    assert response.headers["access-control-allow-origin"] == OTHER


async def test_credentials_and_exposed_fields() -> None:
    app = app_with(CORS([SHOP, OTHER], credentials=True, expose=("ETag", "X-Total")))
    assert cors_fields(await ask(app, "GET", "/", SHOP)) == {
        "allow-origin": SHOP,
        "allow-credentials": "true",
        "expose-headers": "ETag, X-Total",
    }


async def test_an_origin_that_is_not_allowed_learns_nothing_more() -> None:
    app = app_with(CORS(["https://a.example", "https://b.example"], credentials=True))
    assert cors_fields(await ask(app, "GET", "/", SHOP)) == {}


async def test_vary_of_the_endpoint_is_kept() -> None:
    app = App()
    app.use(CORS([SHOP, OTHER]))

    @app.get("/")
    async def index(vary: str) -> Response:
        return Response("x", headers={"Vary": vary})

    async with app.test_client() as client:
        for vary, sent in {"Accept": "Accept, Origin", "origin": "origin", "*": "*"}.items():
            response = await client.get("/", params={"vary": vary})
            assert response.headers["vary"] == sent


async def test_what_the_endpoint_says_of_origins_is_left() -> None:
    app = App()
    app.use(CORS(SHOP, credentials=True))

    @app.get("/", use=[CORS("*")])
    async def index() -> str:
        return "for all"

    assert cors_fields(await ask(app, "GET", "/", OTHER)) == {"allow-origin": "*"}


# --- preflights -----------------------------------------------------------------------


async def test_preflight_allows_the_methods_that_the_path_has() -> None:
    response = await preflight(app_with(CORS([SHOP, OTHER])), "/notes/1", "PUT")
    assert (response.status_code, response.content) == (204, b"")
    assert cors_fields(response) == {
        "allow-origin": SHOP,
        "allow-methods": "DELETE, OPTIONS, PUT",
        "allow-headers": "Authorization, Content-Type",
        "max-age": "600",
    }
    assert response.headers["vary"] == "Origin"


async def test_preflight_says_what_it_is_told_to() -> None:
    cors = CORS(SHOP, methods=("PUT", "PATCH"), headers="X-Key", credentials=True, max_age=60)
    assert cors_fields(await preflight(app_with(cors), "/notes/1", "DELETE")) == {
        "allow-origin": SHOP,
        "allow-credentials": "true",
        "allow-methods": "PUT",
        "allow-headers": "X-Key",
        "max-age": "60",
    }


async def test_preflight_of_another_origin_is_allowed_nothing() -> None:
    response = await preflight(app_with(CORS([SHOP, SHOP + ":8443"])), "/notes/1", "PUT", OTHER)
    assert cors_fields(response) == {}
    assert response.headers["vary"] == "Origin"


async def test_preflight_of_a_path_that_is_not_there_is_a_404() -> None:
    assert (await preflight(app_with(CORS("*")), "/nowhere", "PUT")).status_code == 404


async def test_options_that_is_no_preflight_is_answered_as_ever() -> None:
    response = await ask(app_with(CORS("*")), "OPTIONS", "/notes/1", SHOP)
    assert response.headers["allow"] == "DELETE, OPTIONS, PUT"
    assert cors_fields(response) == {"allow-origin": "*"}


async def test_preflight_needs_no_credentials_where_cors_is_outside() -> None:
    app = app_with(CORS("*"), BearerAuth(["secret"]))
    assert (await preflight(app, "/notes/1", "PUT")).status_code == 204
    response = await ask(app, "PUT", "/notes/1", SHOP)
    assert (response.status_code, cors_fields(response)) == (401, {"allow-origin": "*"})


async def test_preflight_where_the_app_answers_options_itself() -> None:
    app = app_with(CORS(SHOP, methods=("GET", "PUT")))

    @app.route("/own", methods=("GET", "OPTIONS"))
    async def own() -> str:
        return "mine"

    for method, allowed in {"PUT": "PUT", "DELETE": "", "PURGE": "", "NO SUCH": None}.items():
        response = await preflight(app, "/own", method)
        assert cors_fields(response).get("allow-methods") == allowed
    assert (await ask(app, "OPTIONS", "/own", SHOP)).text == "mine"


async def test_preflight_in_a_mounted_app() -> None:
    app, inner = App(), App()
    app.use(CORS("*"))

    @inner.put("/things/{id}")
    async def thing(id: int) -> str:
        return "thing"

    app.mount("/inner", inner)
    response = await preflight(app, "/inner/things/1", "PUT")
    assert cors_fields(response)["allow-methods"] == "OPTIONS, PUT"


# --- on one route ---------------------------------------------------------------------


async def test_preflight_reaches_the_route_that_it_asks_about() -> None:
    app = App()

    @app.get("/notes/{id}", use=[CORS("*")], name="get")
    @app.put("/notes/{id}", use=[CORS(SHOP, credentials=True)], name="put")
    async def note(id: int) -> str:
        return "note"

    @app.delete("/notes/{id}")
    async def remove(id: int) -> str:
        return "gone"

    assert cors_fields(await preflight(app, "/notes/1", "GET"))["allow-origin"] == "*"
    put = cors_fields(await preflight(app, "/notes/1", "PUT"))
    assert (put["allow-origin"], put["allow-credentials"]) == (SHOP, "true")
    delete = await preflight(app, "/notes/1", "DELETE")
    assert (delete.status_code, cors_fields(delete)) == (204, {})
    assert delete.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"


async def test_preflight_reaches_the_middleware_of_routers_and_mounts() -> None:
    app, inner, router = App(), App(), Router("/api", use=[CORS("*")])

    @router.put("/x")
    @inner.put("/y")
    async def put() -> str:
        return "put"

    app.include(router)
    app.mount("/inner", inner, use=[CORS(SHOP)])
    assert cors_fields(await preflight(app, "/api/x", "PUT"))["allow-origin"] == "*"
    assert cors_fields(await preflight(app, "/inner/y", "PUT"))["allow-origin"] == SHOP


async def test_middleware_of_a_route_sees_its_parameters_in_a_preflight() -> None:
    app, seen = App(), []

    async def look(request: Request, call_next: Handler) -> Response:
        assert request.route is not None
        seen.append((request.method, request.route.path, request.path_params))
        return await call_next(request)

    @app.put("/notes/{id}", use=[look])
    async def note(id: int) -> str:
        return "note"

    response = await preflight(app, "/notes/7", "PUT")
    assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, PUT")
    assert (await ask(app, "OPTIONS", "/notes/7")).status_code == 204
    assert seen == [("OPTIONS", "/notes/{id}", {"id": 7})]


async def test_app_wide_middleware_runs_once_for_a_preflight() -> None:
    app, calls = App(), []

    @app.middleware
    async def count(request: Request, call_next: Handler) -> Response:
        calls.append(request.method)
        return await call_next(request)

    @app.put("/", use=[CORS("*")])
    async def index() -> str:
        return "x"

    assert cors_fields(await preflight(app, "/", "PUT"))["allow-origin"] == "*"
    assert calls == ["OPTIONS"]


# --- invalid arguments ----------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"origins": "*"},
        {"origins": SHOP, "headers": ("*",)},
        {"origins": SHOP, "expose": "*"},
        {"origins": lambda origin: True, "headers": "*"},
    ],
)
def test_star_never_goes_with_credentials(options: Any) -> None:
    CORS(**options)
    with pytest.raises(ConfigurationError, match=r"'\*' together with credentials"):
        CORS(**options, credentials=True)


@pytest.mark.parametrize(
    "origin",
    [
        "shop.example",
        "https://shop.example/",
        "https://Shop.example",
        "https://*.shop.example",
        "https://shop.example:443",
        "http://shop.example:80",
        "https://shop.example\r\nX: y",
        "Null",
        "file:///",
        "file://host/",
        "",
        "https://",
        "https://a b",
    ],
)
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="browsers"):
        CORS([origin, OTHER])


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:5173", "http://[::1]:8080", "app://x", "capacitor://app", "file://", "null"],
)
async def test_what_browsers_and_apps_send_is_an_origin(origin: str) -> None:
    app = app_with(CORS([origin, OTHER]))
    assert cors_fields(await ask(app, "GET", "/", origin))["allow-origin"] == origin
    assert "allow-origin" not in cors_fields(await ask(app, "GET", "/", "https://evil.example"))


async def test_null_never_goes_with_credentials() -> None:
    for origins in ("null", ["null"], [SHOP, "null"]):
        CORS(origins)
        with pytest.raises(ConfigurationError, match="'null'"):
            CORS(origins, credentials=True)
    app = app_with(CORS(lambda origin: True, credentials=True))
    assert cors_fields(await ask(app, "GET", "/", SHOP))["allow-origin"] == SHOP
    assert "allow-origin" not in cors_fields(await ask(app, "GET", "/", "null"))


@pytest.mark.parametrize("sent", ["", "*", "shop.example", f"{SHOP}/", f"{SHOP} {OTHER}", "a b"])
async def test_a_function_is_asked_about_origins_only(sent: str) -> None:
    asked: list[str] = []

    def allows(origin: str) -> bool:
        asked.append(origin)
        return True

    app = app_with(CORS(allows))
    assert "allow-origin" not in cors_fields(await ask(app, "GET", "/", sent))
    assert not asked
    assert cors_fields(await ask(app, "GET", "/", "null"))["allow-origin"] == "null"
    assert asked == ["null"]


def test_star_among_others_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="leave the others out"):
        CORS(["*", SHOP])


async def look_up(origin: str) -> bool:
    return False


def test_an_async_function_of_origins_is_refused() -> None:
    """A coroutine is true, so it would allow every origin."""
    for function in (look_up, functools.partial(look_up)):
        with pytest.raises(ConfigurationError, match=r"look_up at .*expected a plain def"):
            CORS(function, credentials=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"takes \(origin\), this takes"):
        CORS(lambda request, origin: True)  # type: ignore[arg-type,misc]


async def test_a_function_of_origins_that_returns_a_coroutine_lets_none_in() -> None:
    app = app_with(CORS(lambda origin: look_up(origin), credentials=True))  # type: ignore[arg-type,return-value]
    response = await ask(app, "GET", "/", SHOP)
    assert response.status_code == 500
    assert "allow-origin" not in cors_fields(response)


@pytest.mark.parametrize("methods", ["*", ["*"], ["GET", "*"]])
def test_star_for_the_methods_names_the_remedy(methods: Any) -> None:
    with pytest.raises(ConfigurationError, match="leave `methods` out"):
        CORS("*", methods=methods)


@pytest.mark.parametrize("options", [{"methods": "put"}, {"headers": ["a b"]}, {"expose": "x:"}])
def test_names_are_checked(options: Any) -> None:
    with pytest.raises(ConfigurationError, match="CORS: "):
        CORS("*", **options)
