"""Dependencies of endpoints: their order, their life, and the faults that are thrown in.

The annotations of this module are no strings, because helpers register the local functions.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from support.serving import DEADLINE_S

from microweb import App, HTTPError, Request, Response
from microweb.middleware.timeout import Timeout
from microweb.typed import Depends, Header, Json, Query

log: list[object] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()


async def connection() -> AsyncIterator[str]:
    log.append("open connection")
    try:
        yield "connection"
        log.append("commit")
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    finally:
        await asyncio.sleep(0)
        log.append("close connection")


Connection = Annotated[str, Depends(connection)]


async def repository(db: Connection) -> AsyncIterator[str]:
    log.append("open repository")
    try:
        yield f"repository on {db}"
    except BaseException as error:
        log.append(f"repository {type(error).__name__}")
        raise
    else:
        log.append("close repository")


Repository = Annotated[str, Depends(repository)]

ENTERED = ["open connection", "open repository"]
LEFT = ["close repository", "commit", "close connection"]


def app_of(endpoint: Callable[..., Any], path: str = "/", *middleware: Any) -> App:
    app = App()
    for each in middleware:
        app.use(each)
    app.get(path)(endpoint)
    return app


async def get(
    endpoint: Callable[..., Any], url: str = "/", path: str = "/", *middleware: Any
) -> Any:
    app = app_of(endpoint, path, *middleware)
    async with app.test_client(raise_errors=False) as client:
        return await client.get(url)


async def test_dependencies_are_entered_in_order_and_left_in_reverse() -> None:
    async def show(repository: Repository, db: Connection) -> str:
        log.append("endpoint")
        return f"{repository}, {db}"

    response = await get(show)
    assert response.text == "repository on connection, connection"
    assert log == [*ENTERED, "endpoint", *LEFT]


async def test_a_function_is_called_once_for_a_request() -> None:
    async def number() -> int:
        log.append("number")
        return len(log)

    Number = Annotated[int, Depends(number)]

    async def double(number: Number) -> int:
        return 2 * number

    async def show(a: Number, b: Annotated[int, Depends(double)], c: Number) -> list[int]:
        return [a, b, c]

    async with app_of(show).test_client() as client:
        assert (await client.get("/")).json() == [1, 2, 1]
        assert (await client.get("/")).json() == [2, 4, 2]


async def test_the_value_is_encoded_before_dependencies_are_left() -> None:
    rows: list[int] = []

    async def session() -> AsyncIterator[list[int]]:
        rows.append(1)
        yield rows
        rows.clear()

    async def show(rows: Annotated[list[int], Depends(session)]) -> list[int]:
        return rows

    async def wrapped(rows: Annotated[list[int], Depends(session)]) -> Response:
        return Response.json(rows)

    assert (await get(show)).json() == [1]
    assert (await get(wrapped)).json() == [1]


async def test_an_error_of_leaving_is_the_answer() -> None:
    async def session() -> AsyncIterator[int]:
        yield 1
        raise OSError("commit failed")

    async def show(session: Annotated[int, Depends(session)]) -> tuple[str, int]:
        return "created", 201

    assert (await get(show)).status_code == 500


async def test_an_http_error_of_leaving_is_the_answer() -> None:
    async def session() -> AsyncIterator[int]:
        yield 1
        raise HTTPError(409, "taken")

    async def show(session: Annotated[int, Depends(session)]) -> tuple[str, int]:
        return "created", 201

    response = await get(show)
    assert (response.status_code, "taken" in response.text) == (409, True)


async def test_an_http_error_is_thrown_in_from_the_inside_out() -> None:
    async def missing(repository: Repository) -> None:
        raise HTTPError(404)

    assert (await get(missing)).status_code == 404
    assert log == [*ENTERED, "repository HTTPError", "HTTPError", "close connection"]


async def test_a_returned_status_is_no_fault() -> None:
    async def conflict(repository: Repository) -> tuple[str, int]:
        return "taken", 409

    assert (await get(conflict)).status_code == 409
    assert log == [*ENTERED, *LEFT]


async def test_a_value_that_has_no_answer_is_thrown_in() -> None:
    async def wrong(repository: Repository) -> object:
        return object()

    assert (await get(wrong)).status_code == 500
    assert log == [*ENTERED, "repository TypeError", "TypeError", "close connection"]


async def test_a_dependency_that_swallows_does_not_change_the_answer() -> None:
    async def swallowing(db: Connection) -> AsyncIterator[int]:
        try:
            yield 1
        except HTTPError:
            log.append("swallowed")

    async def missing(number: Annotated[int, Depends(swallowing)]) -> None:
        raise HTTPError(404)

    assert (await get(missing)).status_code == 404
    assert log == ["open connection", "swallowed", "HTTPError", "close connection"]


async def test_of_two_errors_of_leaving_the_outer_one_is_the_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def outer() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise HTTPError(503, "outer")

    async def inner(number: Annotated[int, Depends(outer)]) -> AsyncIterator[int]:
        yield 1
        raise OSError("inner")

    async def show(number: Annotated[int, Depends(inner)]) -> str:
        return "ok"

    assert (await get(show)).status_code == 503


async def test_a_group_of_errors_is_thrown_in() -> None:
    async def show(db: Connection) -> None:
        raise ExceptionGroup("two", [HTTPError(404), ValueError("b")])

    assert (await get(show)).status_code == 500
    assert log == ["open connection", "ExceptionGroup", "close connection"]


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
async def test_an_error_that_generators_turn_into_another_is_kept(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async def show(db: Connection) -> None:
        raise error("mine")

    assert (await get(show)).status_code == 500
    assert log[-1] == "close connection"
    [record] = [each for each in caplog.records if each.name == "microweb.error"]
    assert record.exc_info is not None
    assert "mine" in "".join(map(str, (record.exc_info[1], record.exc_info[1].__cause__)))  # type: ignore[union-attr]


async def test_a_dependency_that_fails_leaves_those_before_it() -> None:
    async def fails(db: Connection) -> AsyncIterator[int]:
        raise HTTPError(401)
        yield 1

    async def show(number: Annotated[int, Depends(fails)]) -> str:
        return "ok"

    assert (await get(show)).status_code == 401
    assert log == ["open connection", "HTTPError", "close connection"]


async def test_a_generator_without_a_value_is_an_error_with_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def silent() -> AsyncIterator[int]:
        if log:
            yield 1

    async def show(number: Annotated[int, Depends(silent)]) -> str:
        return "ok"

    assert (await get(show)).status_code == 500
    assert "silent at test_resolving.py" in caplog.text
    assert "expected one yield, got none" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
async def test_a_second_yield_is_an_error_with_the_name(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def twice() -> AsyncIterator[int]:
        try:
            yield 1
        except HTTPError:
            yield 2
        else:
            try:
                yield 3
            finally:
                log.append("closed")

    async def show(number: Annotated[int, Depends(twice)]) -> str:
        if fails:
            raise HTTPError(404)
        return "ok"

    assert (await get(show)).status_code == 500
    assert "twice at test_resolving.py" in caplog.text
    assert "expected one yield, got a second one" in caplog.text
    assert log == ([] if fails else ["closed"])


# --- parameters -----------------------------------------------------------------------


async def test_parameters_are_checked_together_before_the_first_call() -> None:
    async def page(limit: Query[int]) -> int:
        log.append("page")
        return limit

    async def show(page: Annotated[int, Depends(page)], offset: int, x_trace: Header[int]) -> str:
        return f"{page} {offset} {x_trace}"

    response = await get(show, "/?limit=a&offset=b")
    assert response.status_code == 400
    assert response.text.splitlines()[1:] == [
        "query parameter 'limit': expected an integer, got 'a'",
        "query parameter 'offset': expected an integer, got 'b'",
        "header parameter 'x-trace': missing",
    ]
    assert log == []


async def test_a_parameter_of_two_functions_is_one_fault() -> None:
    async def page(limit: Query[int]) -> int:
        return limit

    async def show(page: Annotated[int, Depends(page)], limit: int) -> str:
        return f"{page} {limit}"

    assert (await get(show, "/?limit=3")).text == "3 3"
    response = await get(show)
    assert response.text.splitlines()[1:] == ["query parameter 'limit': missing"]


async def test_an_unmarked_scalar_is_a_path_parameter() -> None:
    async def tenant(tenant_id: int) -> str:
        return f"tenant {tenant_id!r}"

    async def show(tenant: Annotated[str, Depends(tenant)]) -> str:
        return tenant

    assert (await get(show, "/7", "/{tenant_id}")).text == "tenant 7"
    assert (await get(show, "/x", "/{tenant_id}")).status_code == 404


async def test_a_dependency_takes_the_request() -> None:
    async def path(request: Request) -> str:
        return request.path

    async def by_type(path: Annotated[str, Depends(path)], *, it: Request) -> bool:
        return it.path == path

    async def by_position(it: Request, /) -> str:
        return it.method

    async def show(
        same: Annotated[bool, Depends(by_type)], method: Annotated[str, Depends(by_position)]
    ) -> str:
        return f"{same} {method}"

    assert (await get(show)).text == "True GET"


# --- bodies ---------------------------------------------------------------------------


async def post(endpoint: Callable[..., Any], **options: Any) -> Any:
    app = App()
    app.post("/")(endpoint)
    async with app.test_client(raise_errors=False) as client:
        return await client.post("/", **options)


async def test_a_body_and_dependencies_come_from_left_to_right() -> None:
    async def after(body: Json[list[int]], db: Connection) -> str:
        return f"{body}"

    async def before(db: Connection, body: Json[list[int]]) -> str:
        return f"{body}"

    assert (await post(after, content=b"[1]")).text == "[1]"
    log.clear()
    assert (await post(after, content=b'["x"]')).status_code == 422
    assert log == []
    assert (await post(before, content=b'["x"]')).status_code == 422
    assert log == ["open connection", "UnprocessableContent", "close connection"]


async def test_a_dependency_takes_the_body() -> None:
    async def total(numbers: Json[list[int]]) -> int:
        return sum(numbers)

    async def show(total: Annotated[int, Depends(total)], again: Json[list[int]]) -> str:
        return f"{total} {again}"

    assert (await post(show, content=b"[1, 2]")).text == "3 [1, 2]"


async def test_errors_of_a_route_are_json_if_a_dependency_takes_json() -> None:
    async def total(numbers: Json[list[int]]) -> int:
        return sum(numbers)

    async def show(total: Annotated[int, Depends(total)]) -> str:
        return f"{total}"

    response = await post(show, content=b"x", headers={"Accept": "*/*"})
    assert response.headers["content-type"] == "application/problem+json"


# --- streams --------------------------------------------------------------------------


async def test_a_stream_keeps_its_dependencies_until_its_end() -> None:
    async def rows(repository: Repository) -> AsyncIterator[str]:
        for row in "ab":
            await asyncio.sleep(0)
            log.append(row)
            yield row
        log.append("end")

    assert (await get(rows)).text == "ab"
    assert log == [*ENTERED, "a", "b", "end", *LEFT]


async def test_events_keep_their_dependencies() -> None:
    async def feed(repository: Repository) -> Response:
        async def events() -> AsyncIterator[str]:
            log.append("event")
            yield "one"

        return Response.events(events())

    assert "data: one" in (await get(feed)).text
    assert log == [*ENTERED, "event", *LEFT]


async def test_a_fault_of_the_first_piece_is_thrown_in_and_answered() -> None:
    async def rows(repository: Repository) -> AsyncIterator[str]:
        raise HTTPError(404)
        yield ""

    assert (await get(rows)).status_code == 404
    assert log == [*ENTERED, "repository HTTPError", "HTTPError", "close connection"]


async def test_the_source_of_a_stream_is_left_before_the_dependencies() -> None:
    @asynccontextmanager
    async def source() -> AsyncIterator[list[str]]:
        yield ["a"]
        log.append("source")

    async def rows(db: Connection) -> Response:
        return Response.stream(source())

    assert (await get(rows)).text == "a"
    assert log == ["open connection", "source", "commit", "close connection"]


async def test_a_head_of_a_stream_leaves_the_dependencies() -> None:
    async def rows(repository: Repository) -> AsyncIterator[str]:
        yield "a"

    async with app_of(rows).test_client() as client:
        assert (await client.head("/")).status_code == 200
    assert log == [*ENTERED, *LEFT]


async def test_a_stream_that_middleware_drops_leaves_the_dependencies() -> None:
    async def drop(request: Request, call_next: Any) -> Response:
        await call_next(request)
        log.append("dropped")
        return Response.text("other")

    async def rows(repository: Repository) -> AsyncIterator[str]:
        yield "a"

    assert (await get(rows, "/", "/", drop)).text == "other"
    assert log == [*ENTERED, "dropped", *LEFT]


async def test_middleware_gets_a_whole_answer_after_the_dependencies_are_left() -> None:
    async def note(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        log.append(response.status)
        return response

    async def show(repository: Repository) -> str:
        return "a"

    await get(show, "/", "/", note)
    assert log == [*ENTERED, *LEFT, 200]


async def test_a_file_is_closed_if_leaving_fails(tmp_path: Any) -> None:
    async def session() -> AsyncIterator[int]:
        yield 1
        raise HTTPError(409)

    async def send(session: Annotated[int, Depends(session)]) -> Response:
        (tmp_path / "file").write_bytes(b"x" * 1_000_000)
        return Response.file(tmp_path / "file")

    assert (await get(send)).status_code == 409  # a file that is still open is a warning


# --- cancellation ---------------------------------------------------------------------


async def test_a_timeout_is_thrown_in() -> None:
    async def slow(repository: Repository) -> None:
        await asyncio.sleep(DEADLINE_S)

    response = await get(slow, "/", "/", Timeout(0.01))
    assert response.status_code == 503
    assert log == [*ENTERED, "repository CancelledError", "CancelledError", "close connection"]


async def test_a_swallowed_cancellation_stays_one() -> None:
    async def swallowing() -> AsyncIterator[int]:
        try:
            yield 1
        except asyncio.CancelledError:
            log.append("swallowed")

    async def slow(number: Annotated[int, Depends(swallowing)]) -> None:
        await asyncio.sleep(DEADLINE_S)

    assert (await get(slow, "/", "/", Timeout(0.01))).status_code == 503
    assert log == ["swallowed"]


# --- kinds of functions ---------------------------------------------------------------


async def test_a_class_is_called_in_place() -> None:
    class Notes:
        def __init__(self, db: Connection, limit: Query[int] = 5) -> None:
            self.text = f"{db} {limit}"

    async def show(notes: Annotated[Notes, Depends(Notes)]) -> str:
        return notes.text

    assert (await get(show, "/?limit=2")).text == "connection 2"


async def test_an_async_context_manager_is_entered() -> None:
    @asynccontextmanager
    async def session(db: Connection) -> AsyncIterator[str]:
        log.append("enter")
        try:
            yield f"session on {db}"
        finally:
            log.append("exit")

    async def show(session: Annotated[str, Depends(session)]) -> str:
        return session

    assert (await get(show)).text == "session on connection"
    assert log == ["open connection", "enter", "exit", "commit", "close connection"]


async def test_debug_shows_the_fault_of_a_dependency() -> None:
    async def fails() -> int:
        raise ValueError("in the dependency")

    async def show(number: Annotated[int, Depends(fails)]) -> str:
        return "ok"

    app = App(debug=True)
    app.get("/")(show)
    async with app.test_client(raise_errors=False) as client:
        response = await client.get("/", headers={"Accept": "text/html"})
    assert response.status_code == 500
    assert "in the dependency" in response.text


async def test_debug_warns_of_a_forgotten_return(caplog: pytest.LogCaptureFixture) -> None:
    async def show(db: Connection):  # type: ignore[no-untyped-def]
        pass

    app = App(debug=True)
    app.get("/")(show)
    with caplog.at_level(logging.WARNING, "microweb.app"):
        async with app.test_client() as client:
            await client.get("/")
    assert "did you forget return" in caplog.text
