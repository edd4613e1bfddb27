"""Plain functions as dependencies: in which thread, and who leaves them."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import pytest
from support.serving import DEADLINE_S, in_memory, post, read_until
from support.waiting import until

from microweb import App, HTTPError, Request, Response, from_thread
from microweb.typed import Depends, Json

log: list[object] = []
threads: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()
    threads.clear()


def session() -> Iterator[str]:
    threads.append(threading.current_thread().name)
    log.append("open")
    try:
        yield "session"
        log.append("commit")
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    finally:
        threads.append(threading.current_thread().name)


Session = Annotated[str, Depends(session)]


async def outer() -> AsyncIterator[str]:
    log.append("open outer")
    try:
        yield "outer"
    except BaseException as error:
        log.append(f"outer {type(error).__name__}")
        raise
    finally:
        log.append("close outer")


Outer = Annotated[str, Depends(outer)]


def app_of(endpoint: Callable[..., Any], *middleware: Any) -> App:
    app = App()
    for each in middleware:
        app.use(each)
    app.route("/", ("GET",))(endpoint)
    return app


async def get(endpoint: Callable[..., Any], *middleware: Any) -> Any:
    async with app_of(endpoint, *middleware).test_client(raise_errors=False) as client:
        return await client.get("/")


def giving_up(is_true: Callable[[], object]) -> Callable[..., Any]:
    """Return middleware that cancels the request, as `Timeout` does, when `is_true()`."""

    async def middleware(request: Request, call_next: Any) -> Any:
        task = asyncio.ensure_future(call_next(request))
        await until(is_true)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return Response.text("given up", 503)

    return middleware


# --- a plain endpoint -----------------------------------------------------------------


async def test_all_is_in_one_thread() -> None:
    def name() -> str:
        threads.append(threading.current_thread().name)
        return "name"

    def show(session: Session, outer: Outer, name: Annotated[str, Depends(name)]) -> Any:
        threads.append(threading.current_thread().name)
        log.append("endpoint")
        return {"session": session, "outer": outer, "name": name}

    response = await get(show)
    assert response.json() == {"session": "session", "outer": "outer", "name": "name"}
    assert log == ["open outer", "open", "endpoint", "commit", "close outer"]
    assert len(threads) == 4
    assert len(set(threads)) == 1
    assert threads[0] != threading.current_thread().name


async def test_the_value_is_encoded_in_the_thread() -> None:
    rows: list[int] = []

    def numbers() -> Iterator[list[int]]:
        rows.append(1)
        yield rows
        rows.clear()

    def show(rows: Annotated[list[int], Depends(numbers)]) -> list[int]:
        return rows

    def wrapped(rows: Annotated[list[int], Depends(numbers)]) -> Response:
        return Response.json(rows)

    assert (await get(show)).json() == [1]
    assert (await get(wrapped)).json() == [1]


async def test_an_error_is_thrown_in_from_the_inside_out() -> None:
    def missing(outer: Outer, session: Session) -> None:
        raise HTTPError(404)

    assert (await get(missing)).status_code == 404
    assert log == ["open outer", "open", "HTTPError", "outer HTTPError", "close outer"]


async def test_an_error_of_leaving_is_the_answer() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise HTTPError(409)

    def show(outer: Outer, number: Annotated[int, Depends(failing)]) -> str:
        return "ok"

    assert (await get(show)).status_code == 409
    assert log == ["open outer", "outer HTTPError", "close outer"]


async def test_a_plain_function_may_await() -> None:
    def body(request: Request) -> str:
        return from_thread(request.text())

    def show(body: Annotated[str, Depends(body)]) -> str:
        return f"{body!r}"

    assert (await get(show)).text == "''"


async def test_a_stream_of_a_plain_endpoint_keeps_its_dependencies() -> None:
    def rows(outer: Outer, session: Session) -> Iterator[str]:
        for row in "ab":
            log.append(row)
            yield row

    assert (await get(rows)).text == "ab"
    assert log == ["open outer", "open", "a", "b", "commit", "close outer"]


async def test_the_body_is_read_before_the_thread_is_taken() -> None:
    def show(session: Session, numbers: Json[list[int]]) -> str:
        return f"{session} {numbers}"

    app = App()
    app.post("/")(show)
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(post("/", b"[1, 2]")[:-2])
        assert log == []
        await end.write(b"2]")
        async with asyncio.timeout(DEADLINE_S):
            assert await read_until(end, b"session [1, 2]")
    assert log == ["open", "commit"]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_thread_that_the_timeout_gave_up_leaves_at_its_end(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    goes_on = threading.Event()

    def slow(outer: Outer, session: Session) -> str:
        goes_on.wait(DEADLINE_S)
        if fails:
            raise ValueError("too late")
        return "late"

    app = app_of(slow, giving_up(lambda: "open" in log))
    async with app.test_client(raise_errors=False) as client:
        assert (await client.get("/")).status_code == 503
        assert log == ["open outer", "open", "outer CancelledError", "close outer"]
        goes_on.set()
        await until(lambda: len(threads) == 2)
        assert log[4:] == ["ValueError" if fails else "CancelledError"]
    assert len(set(threads)) == 1
    assert ("failed after its end" in caplog.text) is fails


# --- an async endpoint ----------------------------------------------------------------


async def test_a_plain_generator_of_an_async_endpoint_runs_in_threads() -> None:
    async def show(session: Session) -> str:
        log.append("endpoint")
        return session

    assert (await get(show)).text == "session"
    assert log == ["open", "endpoint", "commit"]
    assert threading.current_thread().name not in threads


async def test_its_error_is_thrown_in() -> None:
    async def missing(outer: Outer, session: Session) -> None:
        raise HTTPError(404)

    assert (await get(missing)).status_code == 404
    assert log == ["open outer", "open", "HTTPError", "outer HTTPError", "close outer"]


async def test_an_enter_that_the_timeout_gave_up_is_left_at_its_end() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        begun.set()
        goes_on.wait(DEADLINE_S)
        try:
            yield 1
        except BaseException as error:
            log.append(type(error).__name__)
            raise

    async def show(number: Annotated[int, Depends(slow)]) -> str:
        return "ok"

    async with app_of(show, giving_up(begun.is_set)).test_client() as client:
        assert (await client.get("/")).status_code == 503
        assert log == []
        goes_on.set()
        await until(lambda: log)
    assert log == ["CancelledError"]


async def test_a_leave_goes_to_its_end_before_the_outer_ones() -> None:
    goes_on = threading.Event()

    def slow(outer: Outer) -> Iterator[int]:
        yield 1
        log.append("leaving")
        goes_on.wait(DEADLINE_S)
        log.append("left")

    async def show(number: Annotated[int, Depends(slow)]) -> str:
        return "ok"

    def is_leaving() -> bool:
        if is_left_soon := "leaving" in log:
            asyncio.get_running_loop().call_soon(goes_on.set)  # after the cancellation
        return is_left_soon

    assert (await get(show, giving_up(is_leaving))).status_code == 503
    assert log == ["open outer", "leaving", "left", "outer CancelledError", "close outer"]


async def test_a_plain_function_that_returns_an_awaitable_is_awaited() -> None:
    async def number() -> int:
        return 5

    async def show(number: Annotated[int, Depends(lambda: number())]) -> str:
        return str(number)

    def plain(number: Annotated[int, Depends(lambda: number())]) -> str:
        return str(number)

    assert (await get(show)).text == "5"
    assert (await get(plain)).text == "5"


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_context_manager_and_a_generator_without_a_value(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def silent() -> Iterator[int]:
        if log:
            yield 1

    def show(number: Annotated[int, Depends(silent)]) -> str:
        return str(number)

    async def show_async(number: Annotated[int, Depends(silent)]) -> str:
        return str(number)

    endpoint = show_async if is_async else show
    with caplog.at_level(logging.ERROR, "microweb.error"):
        assert (await get(endpoint)).status_code == 500
    assert "silent at test_threaded.py" in caplog.text
    log.append("now it yields")
    assert (await get(endpoint)).text == "1"
