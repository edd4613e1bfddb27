from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any

import httpx
import pytest
from support.apps import answering, get, named, raising

from microweb import (
    App,
    ClientDisconnected,
    ConfigurationError,
    HTTPError,
    Request,
    Response,
    abort,
)
from microweb.dispatch.boundary import bare_not_found
from microweb.endpoints.error_handler import ErrorKey
from microweb.errorpages import preferred_form
from microweb.errors import (
    BadRequest,
    MethodNotAllowed,
    MicrowebError,
    NotFound,
    ProtocolError,
    UnsupportedVersion,
)

BROKEN = b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"


async def both(request: Request, error: NotFound) -> str:
    return f"{request.path} {error.detail}"


# --- which handler --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "answers"),
    [
        ((404, NotFound, HTTPError, Exception), "NotFound"),
        ((404, HTTPError, Exception), "HTTPError"),
        ((404, Exception), "404"),
        ((404, MicrowebError), "404"),
        ((Exception,), "Exception"),
        ((405, BadRequest), "Not Found\n"),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
async def test_most_specific_class_then_the_status_then_what_is_wider(
    keys: tuple[ErrorKey, ...], answers: str, backwards: bool
) -> None:
    app = answering(App(), *(reversed(keys) if backwards else keys))
    response = await get(app)
    assert (response.status_code, response.text) == (404, answers)


@pytest.mark.parametrize(
    ("keys", "answers"),
    [
        ((500, ZeroDivisionError, ArithmeticError, Exception), "ZeroDivisionError"),
        ((500, ArithmeticError, Exception), "ArithmeticError"),
        ((500, Exception), "Exception"),
        ((500, ValueError), "500"),
    ],
)
async def test_other_exceptions_have_the_status_500(
    keys: tuple[ErrorKey, ...], answers: str
) -> None:
    response = await get(answering(raising(ZeroDivisionError()), *keys))
    assert (response.status_code, response.text) == (500, answers)


async def test_status_handler_answers_any_error_of_that_status() -> None:
    response = await get(answering(raising(HTTPError(418)), 418))
    assert (response.status_code, response.text) == (418, "418")


async def test_returned_status_is_no_error() -> None:
    app = answering(App(), 404, Exception)

    @app.get("/")
    async def index() -> object:
        return "mine", 404

    response = await get(app)
    assert (response.status_code, response.text) == (404, "mine")


async def test_mounted_apps_handlers_come_first_then_the_parents() -> None:
    app, inner = App(), App()

    @inner.get("/")
    async def index(kind: str) -> str:
        raise {"value": ValueError(), "key": KeyError(), "none": NotFound()}[kind]

    app.mount("/m", inner)
    answering(app, ValueError, LookupError, 404)

    @inner.errorhandler(500)
    async def inner_fault(error: Exception) -> str:
        return f"inner {type(error).__name__}"

    @inner.errorhandler(KeyError)
    async def inner_key() -> str:
        return "inner key"

    assert (await get(app, "/m/?kind=value")).text == "inner ValueError"
    assert (await get(app, "/m/?kind=key")).text == "inner key"
    assert (await get(app, "/m/?kind=none")).text == "404"
    assert (await get(app, "/m/nowhere")).text == "404"


async def test_mounted_apps_404_is_its_own() -> None:
    app, inner = App(), App()
    answering(app, 404)

    @inner.errorhandler(404)
    async def lost(request: Request) -> str:
        return f"inner {request.prefix} {request.path}"

    app.mount("/m", inner)
    assert (await get(app, "/m/x")).text == "inner /m /x"
    assert (await get(app, "/x")).text == "404"


async def test_fault_of_the_parents_middleware_is_the_parents() -> None:
    app, inner = App(), App()
    answering(inner, ValueError)

    @app.middleware
    async def fail(request: Request, call_next: object) -> Response:
        raise ValueError

    @app.errorhandler(ValueError)
    async def parents() -> str:
        return "parent"

    app.mount("/m", inner)
    assert (await get(app, "/m/x")).text == "parent"


@pytest.mark.parametrize("key", [200, 399, 600, "404", KeyboardInterrupt, str, None])
def test_key_that_is_no_error(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected errorhandler"):
        App().errorhandler(key)(named(404))


# --- faults ---------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [ValueError("secret"), NotFound("secret")])
async def test_handler_that_fails_is_a_plain_500(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.errorhandler(404)
    async def missing() -> str:
        raise failure

    answering(app, 500, Exception)
    response = await get(app)
    assert (response.status_code, response.text) == (500, "Internal Server Error\n")
    assert "missing at test_boundary.py" in caplog.text


async def test_unanswered_exception_is_logged_once_and_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = raising(ValueError("secret"), debug=False)
    response = await get(app, "/?token=hidden")
    assert (response.status_code, response.text) == (500, "Internal Server Error\n")
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert (record.name, record.getMessage()) == ("microweb.error", "GET / failed")
    assert record.exc_info is not None and isinstance(record.exc_info[1], ValueError)


async def test_page_for_500_does_not_hide_the_fault(caplog: pytest.LogCaptureFixture) -> None:
    assert (await get(answering(raising(ValueError()), 500))).text == "500"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("keys", [(ValueError,), (Exception,)])
async def test_answered_exception_is_not_logged(
    keys: tuple[ErrorKey, ...], caplog: pytest.LogCaptureFixture
) -> None:
    await get(answering(raising(ValueError()), *keys))
    assert caplog.records == []


@pytest.mark.parametrize("error", [NotFound(), HTTPError(503, "busy")])
async def test_http_error_is_not_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    await get(raising(error))
    assert caplog.records == []


async def test_client_that_left_is_nobodys_error(caplog: pytest.LogCaptureFixture) -> None:
    app = answering(raising(ClientDisconnected()), Exception, 500)
    async with app.test_client(raise_errors=False) as client:
        answer = await client.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer == b""
    assert caplog.records == []


async def test_test_client_raises_what_nobody_answered() -> None:
    async with raising(ValueError("mine")).test_client() as client:
        with pytest.raises(ValueError, match="mine"):
            await client.get("/")


# --- bytes that broke HTTP ------------------------------------------------------------


async def refused(app: App, data: bytes = BROKEN) -> bytes:
    async with app.test_client() as client:
        return await client.raw(data)


async def test_protocol_error_is_answered_by_its_handler() -> None:
    app = App()

    @app.errorhandler(ProtocolError)
    async def styled(error: ProtocolError) -> object:
        return f"<{error.status}>", {"X-A": "1"}

    answer = await refused(app)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nX-A: 1\r\n" in answer and answer.endswith(b"\r\n\r\n<400>")
    assert b"\r\nConnection: close\r\n" in answer


async def test_protocol_errors_leaf_is_more_specific() -> None:
    app = answering(App(), ProtocolError, UnsupportedVersion)
    assert (await refused(app)).endswith(b"\r\n\r\nProtocolError")
    answer = await refused(app, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nUnsupportedVersion")


async def test_connection_closes_whatever_the_handler_says() -> None:
    app = App()

    @app.errorhandler(ProtocolError)
    async def styled() -> object:
        return "x", 200, {"Connection": "keep-alive"}

    answer = await refused(app, BROKEN + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer and b"keep-alive" not in answer


@pytest.mark.parametrize("kind", [ProtocolError, UnsupportedVersion])
def test_protocol_errors_handler_has_no_request(kind: type[Exception]) -> None:
    with pytest.raises(ConfigurationError, match="has no request: take only 'error'"):
        App().errorhandler(kind)(both)


async def test_handler_that_wants_a_request_is_passed_over() -> None:
    app = App()
    app.errorhandler(400)(both)
    app.errorhandler(Exception)(both)
    assert (await refused(app)).endswith(b"\r\n\r\nBad Request\n")
    answering(app := App(), Exception)
    app.errorhandler(400)(both)
    assert (await refused(app)).endswith(b"\r\n\r\nException")


async def test_protocol_errors_handler_that_fails_is_a_plain_500() -> None:
    app = App()

    @app.errorhandler(ProtocolError)
    async def styled() -> str:
        raise ValueError

    answer = await refused(app)
    assert answer.startswith(b"HTTP/1.1 500 ") and b"Connection: close" in answer


async def test_reason_is_told_in_debug_alone() -> None:
    assert (await refused(App())).endswith(b"\r\n\r\nBad Request\n")
    answer = await refused(App(debug=True))
    assert len(answer.partition(b"\r\n\r\n")[2]) > len("Bad Request\n")


# --- the default answer ---------------------------------------------------------------


async def test_detail_is_for_the_client() -> None:
    response = await get(raising(NotFound("no such user")))
    assert (response.status_code, response.text) == (404, "Not Found\nno such user\n")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


async def test_abort_is_problem_details_for_who_prefers_json() -> None:
    app = App()

    @app.get("/")
    async def index() -> str:
        abort(409, "taken", headers={"Retry-After": "5"}, name="bob")

    response = await get(app, headers={"Accept": "application/json"})
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "5"
    assert response.json() == {
        "status": 409,
        "title": "Conflict",
        "detail": "taken",
        "name": "bob",
    }


async def test_type_and_title_of_problem_details_are_the_applications() -> None:
    app = raising(NotFound(type="/errors/user", title="No such user"))
    response = await get(app, headers={"Accept": "application/json"})
    assert response.json() == {"status": 404, "title": "No such user", "type": "/errors/user"}


async def test_problem_details_of_a_fault_say_nothing() -> None:
    response = await get(raising(ValueError("secret")), headers={"Accept": "application/json"})
    assert response.json() == {"status": 500, "title": "Internal Server Error"}


@pytest.mark.parametrize("is_handled", [False, True])
@pytest.mark.parametrize("is_mounted", [False, True])
async def test_405_raised_by_hand_allows_what_other_routes_do(
    is_mounted: bool, is_handled: bool
) -> None:
    app = inner = App()
    if is_mounted:
        app.mount("/inner", inner := App())

    @inner.post("/{x}")
    async def change(x: str) -> None:
        abort(405, "read only")

    @inner.route("/fixed", ("GET", "PUT"))
    async def show(request: Request) -> None:
        raise HTTPError(405, headers={"allow": "POST"} if request.query else None)

    @inner.delete("/other")
    async def other() -> None: ...

    if is_handled:

        @app.errorhandler(405)
        async def refused() -> str:
            return "read only\n"

    async with app.test_client(base_url="http://a" + "/inner" * is_mounted) as client:
        answers = [
            await client.post("/fixed"),
            await client.get("/fixed"),
            await client.head("/fixed"),
            await client.put("/fixed"),
            await client.put("/fixed?own=1"),
        ]
    assert [answer.status_code for answer in answers] == [405] * 5
    assert "read only" in answers[0].text
    assert [answer.headers["allow"] for answer in answers] == [
        "GET, HEAD, OPTIONS, PUT",
        "OPTIONS, POST, PUT",
        "OPTIONS, POST, PUT",
        "GET, HEAD, OPTIONS, POST",
        "POST",
    ]


# --- paths and methods without a route, which raise nothing ---------------------------


async def test_error_of_a_missing_route_is_new_for_each_request() -> None:
    app, errors = App(), list[Any]()

    @app.middleware
    async def note(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        errors.append(request.error)
        vars(request.error)["note"] = request.error.headers["X-Mine"] = request.path  # type: ignore[union-attr]
        return response

    app.get("/")(lambda: "x")
    async with app.test_client() as client:
        missing = [await client.get(path) for path in ("/a", "/b")]
        wrong = [await client.put("/") for _ in range(2)]
    assert [type(error) for error in errors] == [NotFound] * 2 + [MethodNotAllowed] * 2
    assert [error.headers.get("X-Mine") for error in errors] == ["/a", "/b", "/", "/"]
    assert [error.note for error in errors] == ["/a", "/b", "/", "/"]
    assert len(set(map(id, errors))) == 4
    for answer in missing + wrong:
        assert "x-mine" not in answer.headers
    assert [answer.headers["allow"] for answer in wrong] == ["GET, HEAD, OPTIONS"] * 2


def test_bare_not_found_is_a_not_found() -> None:
    bare, error = bare_not_found(), NotFound()
    assert (type(bare), bare.args, vars(bare)) == (type(error), error.args, vars(error))
    assert bare_not_found().headers is not bare.headers
    assert bare_not_found().extra is not bare.extra
    assert str(pickle.loads(pickle.dumps(bare))) == "404"


@pytest.mark.parametrize("key", [404, NotFound, HTTPError, MicrowebError, Exception])
async def test_handler_of_an_outer_app_gets_the_error_as_it_was_raised(key: ErrorKey) -> None:
    app, seen = App(), list[Any]()
    app.mount("/inner", App())

    @app.errorhandler(key)
    async def answer(request: Request, error: Exception) -> tuple[str, int]:
        seen.append((error, request.error, error.__traceback__ is not None))
        return "mine", 404

    response = await get(app, "/inner/x")
    ((error, of_the_request, was_raised),) = seen
    assert (response.status_code, response.text) == (404, "mine")
    assert type(error) is NotFound and error is of_the_request and was_raised


@pytest.mark.parametrize("key", [404, NotFound, HTTPError])
async def test_inner_app_asks_the_handlers_of_the_outer_one_each_time(key: ErrorKey) -> None:
    app, inner = App(), App()
    app.mount("/inner", inner)
    app.errorhandler(key)(lambda error: "mine")
    async with app.test_client() as client:
        answers = [await client.get("/inner/x") for _ in range(3)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(404, "mine")] * 3


async def test_middleware_around_a_mount_sees_each_404() -> None:
    app, seen = App(), list[str]()

    async def note(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["X-Seen"] = str(len(seen))
        seen.append(request.raw_path)
        return response

    app.mount("/inner", App(), use=[note])
    async with app.test_client() as client:
        inside = [await client.get("/inner/x") for _ in range(3)]
        outside = [await client.get("/x") for _ in range(3)]
    assert seen == ["/inner/x"] * 3
    assert [answer.headers["x-seen"] for answer in inside] == ["0", "1", "2"]
    assert not any("x-seen" in answer.headers for answer in outside)


async def test_error_of_a_404_without_middleware_is_new_for_each_request() -> None:
    app, outer, errors = App(), App(), list[Any]()

    async def call(request: Request, path: str) -> Response:
        response: Response = await app(request)
        errors.append(request.error)
        return response

    outer.get("/{path:path}")(call)
    async with outer.test_client() as client:
        for _ in range(3):
            assert (await client.get("/x")).status_code == 404
    assert [type(error) for error in errors] == [NotFound] * 3
    assert len({id(error) for error in errors}) == 3


async def test_form_that_middleware_has_read_is_closed_on_a_404() -> None:
    app, forms = App(max_body=4_000_000), list[Any]()

    @app.middleware
    async def read(request: Request, call_next: Any) -> Response:
        forms.append(await request.form())
        response: Response = await call_next(request)
        return response

    async with app.test_client() as client:
        answer = await client.post("/x", files={"file": ("a.txt", b"x" * 2_000_000)})
    assert answer.status_code == 404
    with pytest.raises(ValueError, match="closed"):
        await forms[0].files["file"].read()


async def test_missing_route_in_debug_mode_is_a_page_of_debug() -> None:
    async with App(debug=True).test_client(base_url="http://localhost") as client:
        answer = await client.get("/x", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "NotFound" in answer.text


async def test_405_where_nothing_else_is_allowed_says_so() -> None:
    response = await get(raising(HTTPError(405)))
    assert response.headers["allow"] == "OPTIONS"


async def test_405_says_allow() -> None:
    response = await get(raising(MethodNotAllowed(["PUT", "GET"])))
    assert response.headers["allow"] == "GET, PUT"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html", False),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/html, application/json", False),
        ("text/html;q=0.5, application/json;q=0.9", True),
        ("application/json;q=0", False),
        ("application/json;q=x", False),
        ("application/json, text/plain, */*", True),
        (";,;q=1,/", False),
    ],
)
def test_who_prefers_json(accept: str, wanted: bool) -> None:
    assert (preferred_form(accept) == "json") is wanted


async def test_a_group_that_says_but_that_the_client_has_left_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.get("/left")
    async def left() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())

    @app.get("/failed")
    async def failed() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())
            group.create_task(fail())

    async def leave() -> None:
        raise ClientDisconnected("the peer left")

    async def fail() -> None:
        raise ValueError("a bug")

    async with app.test_client(raise_errors=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/left")
        assert not caplog.records
        assert (await client.get("/failed")).status_code == 500
    assert [record.getMessage() for record in caplog.records] == ["GET /failed failed"]


def left() -> Exception:
    return ClientDisconnected("the peer left")


@pytest.mark.parametrize(
    ("leaves", "status"),
    [
        ([HTTPError(418, "tea")], 418),
        ([left(), HTTPError(418, "tea"), left()], 418),
        ([ExceptionGroup("inner", [left(), ExceptionGroup("one", [HTTPError(418, "tea")])])], 418),
        ([HTTPError(418, "tea"), HTTPError(404)], 500),
        ([HTTPError(418, "tea"), HTTPError(418, "tea")], 500),
        ([HTTPError(418, "tea"), ExceptionGroup("inner", [ValueError(1)])], 500),
        ([ValueError(1)], 500),
    ],
)
async def test_a_group_with_one_http_error_is_that_answer(
    leaves: list[Exception], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = App()

    @app.get("/")
    async def fail() -> None:
        raise ExceptionGroup("group", leaves)

    @app.errorhandler(418)
    async def tea(error: HTTPError) -> str:
        return f"handled: {error.detail}"

    async with app.test_client(raise_errors=False) as client:
        answer = await client.get("/")
    assert answer.status_code == status
    assert (answer.text == "handled: tea") is (status == 418)
    assert len(caplog.records) == (status == 500)
