from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from microweb import (
    App,
    ConfigurationError,
    Handler,
    HTTPError,
    Request,
    Response,
    Router,
    WebSocket,
    abort,
)
from microweb.errors import NotFound
from microweb.middleware.compression import Compression
from microweb.middleware.cors import CORS
from microweb.middleware.timeout import Timeout
from microweb.remedies import (
    Suggesting,
    add_remedy,
    names_keywords,
    point_to_ours,
    remedy_for,
    unknown_keyword,
)
from microweb.typed import Meta


async def failure_of(slip: Callable[[Any], Awaitable[object]]) -> tuple[BaseException, App]:
    """Return the error of a request to an endpoint with that mistake."""
    app = App()
    app.post("/")(slip)
    async with app.test_client() as client:
        with pytest.raises((TypeError, AttributeError)) as caught:
            await client.post("/", data={"a": "b"})
    return caught.value, app


async def subscripts(request: Request) -> object:
    return request.json["a"]  # type: ignore[index]


async def gets(request: Request) -> object:
    return request.form.get("a")  # type: ignore[attr-defined]


async def iterates(request: Request) -> object:
    return [each for each in request.json]  # type: ignore[attr-defined]


async def looks_in(request: Request) -> object:
    return "a" in request.json  # type: ignore[operator]


async def measures(request: Request) -> object:
    return len(request.body)  # type: ignore[arg-type]


async def measures_by_another_name(request: Request) -> object:
    req = request
    return len(req.text)  # type: ignore[arg-type]


async def builds(request: Request) -> object:
    return request.url_for["a"]  # type: ignore[index]


async def answers(request: Request) -> object:
    return Response.json({}, status_code=201)  # type: ignore[call-arg]


async def redirects(request: Request) -> object:
    return Response.redirect("/", code=301)  # type: ignore[call-arg]


async def raises(request: Request) -> object:
    raise HTTPError(status_code=404, detail="x")  # type: ignore[call-arg]


async def aborts(request: Request) -> object:
    abort(code=404)  # type: ignore[call-arg]


async def forces(request: Request) -> object:
    return await request.json(force=True)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("slip", "remedy"),
    [
        (subscripts, 'request.json is a method: did you mean `(await request.json())["a"]`?'),
        (gets, "request.form is a method: did you mean `(await request.form()).get`?"),
        (iterates, "request.json is a method: did you mean `await request.json()`?"),
        (looks_in, "request.json is a method: did you mean `await request.json()`?"),
        (measures, "request.body is a method: did you mean `await request.body()`?"),
        (measures_by_another_name, "req.text is a method: did you mean `await req.text()`?"),
        (builds, 'request.url_for is a method: did you mean `request.url_for()["a"]`?'),
        (answers, "in microweb it is `Response.json(value, status)`"),
        (redirects, "in microweb it is `Response.redirect(url, status)`"),
        (raises, "in microweb it is `HTTPError(status, detail)`"),
        (aborts, "in microweb it is `abort(status, detail)`"),
        (forces, "leave it out"),
    ],
)
async def test_slip_of_an_endpoint_is_logged_with_its_remedy(
    slip: Callable[[Any], Awaitable[object]], remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "microweb"):
        error, app = await failure_of(slip)
    assert error.__notes__ == [remedy]
    assert remedy in caplog.text
    app = App(debug=True)
    app.post("/")(slip)
    async with app.test_client(raise_errors=False) as client:
        page = (await client.post("/", data={"a": "b"})).text
    assert page.count(remedy.partition("[")[0].partition("`")[0]) >= 1


async def test_coroutine_that_was_not_awaited_is_told_in_the_log_too() -> None:
    async def forgets(request: Request) -> object:
        waiting = request.json()
        try:
            return waiting["a"]  # type: ignore[index]
        finally:
            waiting.close()  # type: ignore[attr-defined]

    error, _ = await failure_of(forgets)
    assert error.__notes__ == ["did you forget await?"]


async def test_message_that_has_a_remedy_gets_no_other() -> None:
    async def work() -> None:
        """Not awaited."""

    async def calls(request: Request) -> None:
        request.after_response(work())  # type: ignore[arg-type]

    error, _ = await failure_of(calls)
    assert str(error).endswith("pass the function and its arguments, without calling it")
    assert not hasattr(error, "__notes__")


async def test_slip_of_a_websocket_endpoint_is_logged_with_its_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    @app.websocket("/")
    async def chat(socket: WebSocket) -> None:
        await socket.send("hi")
        _ = socket.receive["a"]  # type: ignore[index]

    async with app.test_client(raise_errors=False) as client, client.websocket("/") as socket:
        assert await socket.receive() == "hi"
        async for _ in socket:
            pass
    assert 'did you mean `(await socket.receive())["a"]`?' in caplog.text


async def test_slip_behind_the_answer_is_logged_with_its_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = App()

    async def work(request: Request) -> None:
        _ = request.json["a"]  # type: ignore[index]

    @app.get("/")
    async def show(request: Request) -> Response:
        async def pieces() -> AsyncIterator[str]:
            yield "first"
            await asyncio.sleep(0)
            yield request.text["b"]  # type: ignore[index]

        request.after_response(work, request)
        return Response.stream(pieces())

    async with app.test_client(raise_errors=False) as client:
        with pytest.raises(httpx.HTTPError):
            await client.get("/")
    assert 'did you mean `(await request.text())["b"]`?' in caplog.text
    assert 'did you mean `(await request.json())["a"]`?' in caplog.text


def test_slips_with_methods_that_are_not_ours_have_no_remedy() -> None:
    text = "a"
    with pytest.raises(TypeError) as caught:
        _ = text.upper["a"]  # type: ignore[index]
    assert remedy_for(caught.value) is None
    with pytest.raises(AttributeError) as other:
        _ = failure_of.nonsense  # type: ignore[attr-defined]
    assert remedy_for(other.value) is None


def test_exception_of_the_application_keeps_its_own_text() -> None:
    class Loud:
        def __str__(self) -> str:
            raise ValueError

    assert remedy_for(TypeError(Loud())) is None
    assert remedy_for(TypeError()) is None
    assert remedy_for(ValueError("a coroutine")) is None
    assert remedy_for(TypeError("'method' object is not subscriptable")) is None


def test_remedy_is_added_once() -> None:
    error = TypeError("Response.json() got an unexpected keyword argument 'code'")
    for _ in range(3):
        add_remedy(error)
    assert error.__notes__ == ["in microweb it is `Response.json(value, status)`"]


# --- names and keywords of other frameworks -------------------------------------------


def test_other_wrong_calls_are_told_by_python() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        Compression(nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'origins'"):
        CORS()  # type: ignore[call-arg]


async def middleware(request: Request, call_next: Handler) -> Response:
    return await call_next(request)


async def events() -> AsyncIterator[str]:
    yield "a"


@pytest.mark.parametrize(
    ("slip", "remedy"),
    [
        (
            lambda: Meta(minlength=1),
            "Meta() has no keyword 'minlength': did you mean `min_length`?",
        ),
        (lambda: CORS("*", method=[]), "CORS() has no keyword 'method': did you mean `methods`?"),
        (lambda: App(debg=True), "App() has no keyword 'debg': did you mean `debug`?"),
        (lambda: Router(tag=["a"]), "Router() has no keyword 'tag': did you mean `tags`?"),
        (lambda: App().get("/", tag=["a"]), "get() has no keyword 'tag': did you mean `tags`?"),
        (
            lambda: App().route("/", method="POST"),
            "route() has no keyword 'method': did you mean `methods`?",
        ),
        (
            lambda: App().websocket("/", origin="*"),
            "websocket() has no keyword 'origin': did you mean `origins`?",
        ),
        (
            lambda: App().get("/", use=middleware),
            "use: write use=[middleware], a list of middleware",
        ),
        (lambda: Router(use=Timeout(1)), "use: write use=[Timeout], a list of middleware"),
        (lambda: App().get("/", raises=NotFound), "raises: write raises=[NotFound], a list"),
        (
            lambda: App().middleware(),
            "middleware(): write @app.middleware, without parentheses",
        ),
        (lambda: App().serve(prot=1), "unknown option 'prot': did you mean 'port'?"),
        (
            lambda: App().serve(nonsense=1),
            "unknown option 'nonsense': `microweb run --help` lists the options",
        ),
        (
            lambda: Response.events(events),
            "expected an async iterator of events, or a subscription, got function: call it, "
            "events()",
        ),
        (
            lambda: Response.stream(events),
            "expected an iterable of pieces, got function: call it, events()",
        ),
    ],
)
def test_slip_in_a_call_of_ours_names_the_remedy(slip: Any, remedy: str) -> None:
    with pytest.raises((TypeError, ConfigurationError)) as caught:
        slip()
    assert str(caught.value) == remedy


def test_fault_within_a_call_is_not_taken_for_a_wrong_call() -> None:
    def fail(status: int, **extra: object) -> None:
        raise TypeError("within")

    fail.__qualname__ = "Timeout"
    with pytest.raises(TypeError, match=r"^within$"):
        names_keywords(fail)(1, timeout=2)


def test_keyword_of_another_framework_is_told_ours() -> None:
    with pytest.raises(TypeError, match=r"^CORS\(\) has no keyword .* `CORS\(origins\)`$"):
        CORS(allow_origins=["*"])  # type: ignore[call-arg]
    names = {"a": "b", "c": "leave it out"}
    assert (
        unknown_keyword("f", ["c", "a"], names) == "f() has no keyword 'a': in microweb it is `b`"
    )
    assert unknown_keyword("f", ["c"], names) == "f() has no keyword 'c': leave it out"
    assert unknown_keyword("f", ["d"]) == "f() has no keyword 'd'"


def test_name_of_another_framework_is_told_ours_and_listed_nowhere() -> None:
    class Thing(metaclass=Suggesting):
        ours = 1

    class Own(Thing):
        theirs = 2

    point_to_ours(Thing, {"theirs": "thing.ours", "others": "thing.ours"})
    thing: Any = Thing()
    text = "'Thing' object has no attribute 'theirs': in microweb it is `thing.ours`"
    for look in (
        lambda: thing.theirs,
        lambda: setattr(thing, "theirs", 1),
        lambda: delattr(thing, "theirs"),
    ):
        with pytest.raises(AttributeError, match=f"^{text}$"):
            look()
    with pytest.raises(AttributeError, match=r"^type object 'Thing' has no attribute 'others'"):
        _ = Thing.others  # type: ignore[attr-defined]
    assert {"theirs", "others"}.isdisjoint((*dir(Thing), *dir(thing)))
    assert "ours" in dir(Thing) and "theirs" in dir(Own) and Own().theirs == 2
