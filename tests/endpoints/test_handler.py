from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from uuid import UUID

import httpx
import pytest

from microweb import App, ConfigurationError, Handler, Request, Response, from_thread, html

if TYPE_CHECKING:
    from collections.abc import Hashable as OnlyForCheckers

ID = "6f1c3d1e-5b1a-4f61-9c55-1d2f3a4b5c6d"

Endpoint = Callable[..., Any]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Note:
    title: str
    day: date


def app_with(endpoint: Endpoint, path: str = "/", **options: Any) -> App:
    app = App(**options)
    app.get(path)(endpoint)
    return app


async def get(endpoint: Endpoint, url: str = "/", path: str = "/") -> httpx.Response:
    async with app_with(endpoint, path).test_client() as client:
        return await client.get(url)


async def refusal(endpoint: Endpoint, path: str = "/") -> str:
    with pytest.raises(ConfigurationError) as caught:
        app_with(endpoint, path).freeze()
    return str(caught.value)


# --- the request ----------------------------------------------------------------------


async def test_request_by_name() -> None:
    async def show(request):  # type: ignore[no-untyped-def]
        return request.method

    assert (await get(show)).text == "GET"


async def test_request_by_annotation() -> None:
    async def show(whatever: Request) -> str:
        return whatever.method

    assert (await get(show)).text == "GET"


async def test_request_by_an_annotation_for_checkers_alone() -> None:
    async def show(whatever: object) -> str:
        return str(isinstance(whatever, Request))

    show.__annotations__["whatever"] = "web.Request"
    assert (await get(show)).text == "True"


async def test_endpoint_without_parameters() -> None:
    async def show() -> str:
        return "hi"

    assert (await get(show)).text == "hi"


async def test_request_may_stand_behind_other_parameters() -> None:
    async def show(id: int, request: Request, page: int = 1) -> str:
        return f"{id} {request.method} {page}"

    assert (await get(show, "/5?page=2", "/{id}")).text == "5 GET 2"


async def test_positional_only_and_keyword_only_parameters() -> None:
    async def show(request: Request, id: int, /, page: int, *, q: str = "-") -> str:
        return f"{request.method} {id} {page} {q}"

    assert (await get(show, "/5?page=2&q=x", "/{id}")).text == "GET 5 2 x"


# --- the path -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sent", "shown"),
    [(int, "5", "5"), (float, "1.5", "1.5"), (UUID, ID, f"UUID('{ID}')"), (str, "5", "'5'")],
)
async def test_path_parameter_by_annotation(kind: type, sent: str, shown: str) -> None:
    async def show(id: object) -> str:
        return repr(id)

    show.__annotations__["id"] = kind
    assert (await get(show, f"/u/{sent}", "/u/{id}")).text == shown


async def test_path_parameter_that_does_not_fit_its_annotation_is_404() -> None:
    async def show(id: int) -> str:
        return str(id)

    assert (await get(show, "/u/x", "/u/{id}")).status_code == 404


async def test_path_parameter_without_annotation_is_a_str() -> None:
    async def show(id):  # type: ignore[no-untyped-def]
        return repr(id)

    assert (await get(show, "/u/5", "/u/{id}")).text == "'5'"


async def test_rest_of_the_path() -> None:
    async def show(rest: str) -> str:
        return rest

    assert (await get(show, "/f/a/b%2Fc", "/f/{rest:path}")).text == "a/b/c"


async def test_one_unknown_annotation_does_not_hide_the_others() -> None:
    async def show(id: int) -> OnlyForCheckers:
        return repr(id)

    assert (await get(show, "/5", "/{id}")).text == "5"


async def test_path_and_annotation_that_disagree() -> None:
    async def show(id: str) -> str:
        return id

    text = await refusal(show, "/u/{id:int}")
    assert "show at test_handler.py:" in text
    assert "'id' is str by its annotation and int by the path: make them agree" in text


@pytest.mark.parametrize("kind", [bool, date, list[int], Color])
async def test_annotation_that_no_path_parameter_has(kind: object) -> None:
    async def show(id: object) -> str:
        return repr(id)

    show.__annotations__["id"] = kind
    assert "annotate it with str, int, float or UUID" in await refusal(show, "/{id}")


async def test_own_converter_has_any_annotation() -> None:
    async def show(day: date) -> str:
        return repr(day)

    app = App()
    app.converter("date", r"\d{4}-\d\d-\d\d", date.fromisoformat, date.isoformat)
    app.get("/{day:date}")(show)
    async with app.test_client() as client:
        assert (await client.get("/2026-02-03")).text == "datetime.date(2026, 2, 3)"
        assert (await client.get("/2026-99-03")).status_code == 404


async def test_path_parameter_that_the_endpoint_lacks() -> None:
    async def show() -> str:
        return ""

    assert "the path has {id}, add a parameter 'id'" in await refusal(show, "/u/{id}")


# --- the query ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "query", "shown"),
    [
        (str, "x=a%20b", "'a b'"),
        (int, "x=-5", "-5"),
        (float, "x=1e3", "1000.0"),
        (bool, "x=yes", "True"),
        (bool, "x=false", "False"),
        (UUID, f"x={ID}", f"UUID('{ID}')"),
        (Color, "x=red", "<Color.RED: 'red'>"),
        (list[int], "x=1&y=0&x=2", "[1, 2]"),
        (list[Color], "x=red", "[<Color.RED: 'red'>]"),
        (list, "x=1", "['1']"),
        (int | None, "x=1", "1"),
        (int | None, "", "None"),
        (list[int] | None, "x=1", "[1]"),
        (list[int] | None, "", "None"),
        (Annotated[int, "said"], "x=1", "1"),
        (Annotated[int | None, "said"], "", "None"),
        (str, "x=", "''"),
        (int, "x=1&x=2", "1"),
    ],
)
async def test_query_parameter(kind: object, query: str, shown: str) -> None:
    async def show(x: object) -> str:
        return repr(x)

    show.__annotations__["x"] = kind
    assert (await get(show, f"/?{query}")).text == shown


@pytest.mark.parametrize(
    ("kind", "query", "said"),
    [
        (int, "", "missing query parameter 'x'"),
        (list[int], "", "missing query parameter 'x'"),
        (int, "x=", "query parameter 'x': expected an integer, got ''"),
        (int, "x=1.0", "query parameter 'x': expected an integer, got '1.0'"),
        (int, "x=1_0", "query parameter 'x': expected an integer, got '1_0'"),
        (int, "x=" + "9" * 5000, "query parameter 'x': expected an integer, got '9999"),
        (int, f"x={2**63}", f"query parameter 'x': expected an integer of 64 bits, got '{2**63}'"),
        (float, "x=nan", "query parameter 'x': expected a number, got 'nan'"),
        (float, "x=a", "query parameter 'x': expected a number, got 'a'"),
        (bool, "x=maybe", "query parameter 'x': expected true or false, got 'maybe'"),
        (UUID, "x=1", "query parameter 'x': expected a UUID, got '1'"),
        (Color, "x=RED", "query parameter 'x': expected one of red, blue, got 'RED'"),
        (list[int], "x=1&x=b", "query parameter 'x': expected an integer, got 'b'"),
        (int | None, "x=b", "query parameter 'x': expected an integer, got 'b'"),
    ],
)
async def test_bad_query_parameter_is_a_400_that_names_it(
    kind: object, query: str, said: str
) -> None:
    async def show(x: object) -> str:
        return repr(x)

    show.__annotations__["x"] = kind
    response = await get(show, f"/?{query}")
    assert response.status_code == 400
    assert said in response.text


async def test_default_of_a_query_parameter() -> None:
    async def show(page: int = 1, tags: list[str] = []) -> str:  # noqa: B006
        tags.append("seen")
        return f"{page} {tags}"

    async with app_with(show).test_client() as client:
        assert (await client.get("/")).text == "1 ['seen']"
        assert (await client.get("/")).text == "1 ['seen']"


@pytest.mark.parametrize("kind", [date, dict, int | str, object, list[list[int]]])
async def test_parameter_that_fits_nothing(kind: object) -> None:
    async def show(when: object) -> str:
        return repr(when)

    show.__annotations__["when"] = kind
    text = await refusal(show)
    assert "show at test_handler.py:" in text
    assert "parameter 'when' fits nothing: name it as a path parameter or 'request'" in text


async def test_parameter_without_annotation_fits_nothing() -> None:
    async def show(page=1):  # type: ignore[no-untyped-def]
        return str(page)

    assert "parameter 'page' fits nothing" in await refusal(show)


async def test_annotation_that_can_not_be_resolved_is_named() -> None:
    async def show(key: OnlyForCheckers) -> str:
        return ""

    assert "(its annotation 'OnlyForCheckers' can't be resolved)" in await refusal(show)


def test_what_fits_nothing_is_refused_at_registration() -> None:
    app = App()
    with pytest.raises(ConfigurationError, match="'unknown' fits nothing"):

        @app.get("/")
        async def show(unknown: dict[str, str]) -> str:
            return ""

    assert app.routes == []


@pytest.mark.parametrize("endpoint", [5, Color, None, "show"])
def test_endpoint_that_is_no_function(endpoint: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a function as endpoint, got"):
        App().get("/")(endpoint)


# --- kinds of functions ---------------------------------------------------------------


class Users:
    async def show(self, id: int) -> str:
        return f"user {id}"

    async def __call__(self, request: Request, id: int) -> str:
        return f"{request.method} {id}"


async def test_bound_method() -> None:
    assert (await get(Users().show, "/5", "/{id}")).text == "user 5"


async def test_callable_object() -> None:
    assert (await get(Users(), "/5", "/{id}")).text == "GET 5"


async def test_partial_keeps_what_it_gives() -> None:
    async def show(request: Request, greeting: str, id: int, limit: int = 1) -> str:
        return f"{greeting} {id} {limit} {request.method}"

    given = functools.partial(show, greeting="hi", limit=7)
    assert (await get(given, "/5?greeting=no&limit=9", "/{id}")).text == "hi 5 7 GET"


async def test_partial_of_a_positional_argument() -> None:
    async def show(store: dict[str, str], id: str) -> str:
        return store[id]

    assert (await get(functools.partial(show, {"a": "b"}), "/a", "/{id}")).text == "b"


async def test_plain_def_runs_beside_the_loop() -> None:
    import threading

    main = threading.get_ident()

    def show(id: int) -> str:
        return f"{id} {threading.get_ident() != main}"

    assert (await get(show, "/5", "/{id}")).text == "5 True"


async def test_plain_def_awaits_by_from_thread() -> None:
    app = App()

    @app.post("/")
    def echo(request: Request) -> Any:
        return {"got": from_thread(request.json())}

    async with app.test_client() as client:
        assert (await client.post("/", json=[1])).json() == {"got": [1]}


async def test_args_and_kwargs_get_request_and_path_parameters() -> None:
    async def show(*args: Any, **kwargs: Any) -> str:
        (request,) = args
        return f"{request.method} {kwargs}"

    assert (await get(show, "/5?x=1", "/{id:int}")).text == "GET {'id': 5}"


async def test_named_request_is_not_in_args_again() -> None:
    async def show(request: Request, id: int, *args: Any, **kwargs: Any) -> str:
        return f"{request.method} {id} {args} {kwargs}"

    assert (await get(show, "/5/a", "/{id}/{rest}")).text == "GET 5 () {'rest': 'a'}"


# --- decorators -----------------------------------------------------------------------


def opaque(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def opaque_def(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def login_required(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(request: Request, *args: Any, **kwargs: Any) -> Any:
        if request.query.get("user") is None:
            return "log in", 401
        return await function(request, *args, **kwargs)

    return wrapper


def unannotated(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(req, *args, **kwargs):  # type: ignore[no-untyped-def]
        assert isinstance(req, Request)
        return await function(req, *args, **kwargs)

    return wrapper


def first_of_args(function: Endpoint) -> Endpoint:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        assert isinstance(args[0], Request)
        return await function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "decorate", [opaque, opaque_def, login_required, unannotated, first_of_args]
)
async def test_decorator_around_request_path_and_query(
    decorate: Callable[[Endpoint], Endpoint],
) -> None:
    @decorate
    async def show(request: Request, id: int, user: str, page: int = 1) -> str:
        return f"{request.method} {id!r} {user} {page}"

    assert (await get(show, "/5?user=bob&page=2", "/{id}")).text == "GET 5 bob 2"


@pytest.mark.parametrize("decorate", [opaque, opaque_def])
async def test_decorator_around_an_endpoint_without_request(
    decorate: Callable[[Endpoint], Endpoint],
) -> None:
    @decorate
    async def show(id: int, page: int = 1) -> str:
        return f"{id!r} {page}"

    assert (await get(show, "/5?page=2", "/{id}")).text == "5 2"


async def test_decorators_stack() -> None:
    @opaque
    @login_required
    @opaque_def
    async def show(request: Request, id: int) -> str:
        return f"{request.method} {id}"

    async with app_with(show, "/{id}").test_client() as client:
        assert (await client.get("/5")).status_code == 401
        assert (await client.get("/5?user=bob")).text == "GET 5"


async def test_decorator_inside_another_wants_the_request_that_the_endpoint_does_not() -> None:
    def logged(function: Endpoint) -> Endpoint:
        @functools.wraps(function)
        async def wrapper(request: Request, *args: Any, **kwargs: Any) -> Any:
            return f"{request.method} {await function(*args, **kwargs)}"

        return wrapper

    @opaque
    @logged
    async def show(id: int) -> str:
        return str(id)

    assert (await get(show, "/5", "/{id}")).text == "GET 5"


async def test_request_that_is_not_first_goes_by_name() -> None:
    @opaque
    async def show(id: int, *, request: Request) -> str:
        return f"{id} {request.method}"

    assert (await get(show, "/5", "/{id}")).text == "5 GET"


async def test_positional_only_parameters_inside_a_decorator() -> None:
    @opaque
    async def show(request: Request, id: int, /) -> str:
        return f"{id} {request.method}"

    assert (await get(show, "/5", "/{id}")).text == "5 GET"


async def test_decorator_with_args_alone() -> None:
    def decorate(function: Endpoint) -> Endpoint:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    @decorate
    async def show(request: Request, id: int) -> str:
        return f"{id} {request.method}"

    assert (await get(show, "/5", "/{id}")).text == "5 GET"


async def test_decorator_takes_a_path_parameter_and_gives_something_else() -> None:
    def with_user(function: Endpoint) -> Endpoint:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, user={"id": kwargs.pop("id")}, **kwargs)

        return wrapper

    @with_user
    async def show(request: Request, user: dict[str, int]) -> object:
        return user

    assert (await get(show, "/5", "/{id:int}")).json() == {"id": 5}


async def test_decorator_with_a_parameter_of_its_own() -> None:
    def paged(function: Endpoint) -> Endpoint:
        async def wrapper(*args: Any, page: int = 1, **kwargs: Any) -> Any:
            return f"{page} {await function(*args, **kwargs)}"

        wrapper.__wrapped__ = function  # type: ignore[attr-defined]
        return wrapper

    @paged
    async def show(request: Request) -> str:
        return request.method

    assert (await get(show, "/?page=3")).text == "3 GET"


async def test_decorator_around_a_plain_def_runs_in_a_thread() -> None:
    import threading

    main = threading.get_ident()

    @opaque_def
    def show(id: int) -> str:
        return f"{id} {threading.get_ident() != main}"

    assert (await get(show, "/5", "/{id}")).text == "5 True"


async def test_decorator_keeps_the_name_of_the_route() -> None:
    @opaque
    async def show(request: Request) -> str:
        return ""

    assert app_with(show).routes[0].name == "show"


class Opaque:
    pass


def of_own_types(value: object) -> object:
    if isinstance(value, Opaque):
        return {"opaque": [True]}
    raise TypeError(f"not {value!r}")


async def test_json_default_is_asked_about_the_returned_value() -> None:
    app = App()
    app.json_default = of_own_types

    @app.get("/{kind}")
    async def show(kind: str) -> Any:
        return {
            "itself": Opaque(),
            "inside": [Opaque()],
            "status": (Opaque(), 201),
            "number": 5,
            "set": {1},
        }[kind]

    async with app.test_client() as client:
        for kind, status, value in (
            ("itself", 200, {"opaque": [True]}),
            ("inside", 200, [{"opaque": [True]}]),
            ("status", 201, {"opaque": [True]}),
        ):
            response = await client.get(f"/{kind}")
            assert (response.status_code, response.json()) == (status, value)
            assert response.headers["content-type"] == "application/json"
        for kind in ("number", "set"):
            with pytest.raises(TypeError, match=r"^show at .* returned (int|set)"):
                await client.get(f"/{kind}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((404, "x"), "(value, status)"),
        ((404, {"a": 1}), "(value, status)"),
        ((HTTPStatus.NOT_FOUND, {"a": 1}, {"X-A": "b"}), "(value, status, headers)"),
        ((404, {"X-A": "b"}, "x"), "(value, status, headers)"),
        (({"X-A": "b"}, "x"), "(value, headers)"),
    ],
)
async def test_a_value_that_does_not_come_first_is_told(value: Any, expected: str) -> None:
    app = App()

    @app.get("/")
    async def show() -> Any:
        return value

    async with app.test_client() as client:
        with pytest.raises(TypeError) as caught:
            await client.get("/")
    assert str(caught.value).startswith("show at test_handler.py:")
    assert str(caught.value).endswith(f": the value comes first, expected {expected}")


def test_decorators_of_the_app_return_the_function_untouched() -> None:
    async def show(request: Request) -> str:
        return ""

    async def around(request: Request, call_next: Handler) -> Response:
        return await call_next(request)

    app = App()
    assert app.get("/a", name="a")(app.post("/a")(show)) is show
    assert app.middleware(around) is around
    assert app.before_request(show) is show
    assert app.errorhandler(404)(show) is show
    assert app.on_startup(show) is show


# --- returned values ------------------------------------------------------------------

OCTETS, TEXT = "application/octet-stream", "text/plain; charset=utf-8"
HTML, JSON = "text/html; charset=utf-8", "application/json"


class Markup:
    def __html__(self) -> str:
        return "<i>é</i>"


class Text(str):
    pass


class Table(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("value", "content_type", "body"),
    [
        ("é", TEXT, "é".encode()),
        (Text("a"), TEXT, b"a"),
        (html("<b>{}</b>", "<x>"), HTML, b"<b>&lt;x&gt;</b>"),
        (Markup(), HTML, "<i>é</i>".encode()),
        (b"\xff", OCTETS, b"\xff"),
        (bytearray(b"a"), OCTETS, b"a"),
        (memoryview(b"a"), OCTETS, b"a"),
        ({"a": 1}, JSON, b'{"a":1}'),
        (Table(a=1), JSON, b'{"a":1}'),
        ([1, None], JSON, b"[1,null]"),
        (Note("t", date(2026, 1, 2)), JSON, b'{"title":"t","day":"2026-01-02"}'),
        (
            [datetime(2026, 1, 2, tzinfo=UTC), UUID(ID), Decimal("1.10"), Color.RED],
            JSON,
            b'["2026-01-02T00:00:00+00:00","%b","1.10","red"]' % ID.encode(),
        ),
    ],
)
async def test_returned_value(value: object, content_type: str, body: bytes) -> None:
    async def show() -> object:
        return value

    response = await get(show)
    assert response.status_code == 200
    assert response.headers["content-type"] == content_type
    assert response.content == body


async def test_none_is_204() -> None:
    async def show() -> None:
        return None

    response = await get(show)
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers


async def test_async_generator_is_a_stream() -> None:
    async def show(request: Request) -> AsyncIterator[str]:
        yield "a"
        yield request.method

    response = await get(show)
    assert response.headers["transfer-encoding"] == "chunked"
    assert (response.text, response.headers["content-type"]) == ("aGET", TEXT)


async def test_plain_generator_is_a_stream_made_in_a_thread() -> None:
    import threading

    main = threading.get_ident()

    def show(n: int) -> Iterator[bytes]:
        for _ in range(n):
            yield str(threading.get_ident() != main).encode()

    response = await get(show, "/?n=2")
    assert (response.text, response.headers["content-type"]) == ("TrueTrue", OCTETS)


async def test_returned_generator_is_a_stream() -> None:
    async def show() -> object:
        return (piece for piece in ("a", "b"))

    assert (await get(show)).text == "ab"


@pytest.mark.parametrize(
    ("value", "status", "header", "body"),
    [
        (("a", 201), 201, None, b"a"),
        (({"a": 1}, 201), 201, None, b'{"a":1}'),
        (("a", {"X-A": "1"}), 200, "1", b"a"),
        (("a", [("X-A", "1"), ("X-A", "2")]), 200, "1, 2", b"a"),
        (("a", 202, {"X-A": "1"}), 202, "1", b"a"),
        ((None, 404), 404, None, b""),
        ((None, {"X-A": "1"}), 204, "1", b""),
        (([1], 200, [("X-A", "1")]), 200, "1", b"[1]"),
    ],
)
async def test_returned_tuple(value: object, status: int, header: str | None, body: bytes) -> None:
    async def show() -> object:
        return value

    response = await get(show)
    assert (response.status_code, response.content) == (status, body)
    assert response.headers.get("x-a") == header


async def test_header_of_a_tuple_replaces_that_of_its_response() -> None:
    async def show() -> object:
        return Response("a", headers={"X-A": "1"}), 203, {"X-A": "2", "content-type": "text/css"}

    response = await get(show)
    assert (response.status_code, response.headers["x-a"]) == (203, "2")
    assert response.headers["content-type"] == "text/css"


async def test_response_is_sent_as_it_is() -> None:
    async def show() -> Response:
        return Response.json({"a": 1}, 202, {"X-A": "1"})

    response = await get(show)
    assert (response.status_code, response.json()) == (202, {"a": 1})


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (5, "int"),
        (True, "bool"),
        ({1, 2}, "set"),
        (object(), "object"),
        (("a", "b"), "tuple"),
        ((), "tuple"),
        (("a", 200, {}, 1), "tuple"),
        (Pair(1, 200), "Pair"),
        (Note, "type"),
        (range(2), "range"),
        (NotImplemented, "NotImplementedType"),
    ],
)
async def test_value_of_another_kind_is_a_type_error_that_names_the_endpoint(
    value: object, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def show() -> object:
        return value

    async with app_with(show).test_client(raise_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (500, "Internal Server Error\n")
    assert "show at test_handler.py:" in caplog.text
    assert f"returned {kind}: expected str, bytes" in caplog.text


async def test_forgotten_await_is_told() -> None:
    async def load() -> str:
        return ""

    async def show() -> object:
        return load()

    with pytest.raises(TypeError, match=r"show at .* returned a coroutine: did you forget await\?"):
        await get(show)


async def test_json_that_can_not_be_written_names_the_endpoint() -> None:
    async def show() -> object:
        return {"a": object()}

    with pytest.raises(TypeError, match=r"show at .*: JSON can't hold 'object'"):
        await get(show)


async def test_json_default_of_the_app() -> None:
    app = App()
    app.json_default = lambda value: sorted(value)  # type: ignore[call-overload]

    @app.get("/value")
    async def value() -> object:
        return {"a": {2, 1}}

    @app.get("/response")
    async def response() -> object:
        return Response.json({2, 1})

    async with app.test_client() as client:
        assert (await client.get("/value")).json() == {"a": [1, 2]}
        assert (await client.get("/response")).json() == [1, 2]


async def test_json_default_may_be_set_at_startup() -> None:
    app = App()

    @app.on_startup
    def configure() -> None:
        app.json_default = str

    @app.get("/")
    async def value() -> object:
        return [SimpleNamespace()]

    async with app.test_client() as client:
        assert (await client.get("/")).json() == ["namespace()"]
