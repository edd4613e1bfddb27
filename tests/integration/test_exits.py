"""sys.exit(), KeyboardInterrupt and similar in an application: a 500, and the server continues."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from support.serving import DEADLINE_S, QUICK_S, get, on_loopback, peer_of, statuses

from microweb import App, Request, Response, WebSocket, from_thread
from microweb.middleware.timeout import Timeout
from microweb.testing.misbehaving import Misbehaving


class Stop(BaseException):
    """An exception of an application that is a BaseException but not an Exception."""


EXITS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Stop("now")]
NEXT = Callable[[Request], object]

exits = pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)


def app_of(error: BaseException) -> App:
    """Return an app that raises `error` in all its parts."""
    app = App()

    async def fail() -> None:
        raise error

    @app.get("/async")
    async def asynchronous() -> None:
        raise error

    @app.get("/waiting", use=[Timeout(DEADLINE_S)])
    async def waiting() -> None:
        await asyncio.sleep(0)
        raise error

    @app.get("/def")
    def plain() -> None:
        raise error

    @app.get("/from_thread")
    def awaiting() -> None:
        from_thread(fail())

    async def before(request: Request, call_next: NEXT) -> None:
        raise error

    async def behind(request: Request, call_next: NEXT) -> None:
        await call_next(request)  # type: ignore[misc]
        raise error

    app.get("/before", use=[before])(lambda: "unseen")
    app.get("/behind", use=[behind])(lambda: "unseen")

    @app.errorhandler(418)
    async def teapot() -> None:
        raise error

    @app.get("/teapot")
    async def pour() -> tuple[str, int]:
        from microweb import abort

        abort(418)

    @app.get("/json")
    async def unknown() -> Response:
        return Response.json({"a": object()})

    def default(value: object) -> object:
        raise error

    app.json_default = default

    @app.get("/stream")
    async def stream() -> AsyncIterator[str]:
        raise error
        yield ""

    @app.get("/iterable")
    def iterable() -> Response:
        def pieces() -> Iterator[str]:
            raise error
            yield ""

        return Response.stream(pieces())

    @app.get("/late")
    async def late() -> AsyncIterator[str]:
        yield "first"
        await asyncio.sleep(0)
        raise error

    @app.get("/spawn")
    async def spawn() -> str:
        app.spawn(fail())
        return "spawned"

    @app.get("/after")
    async def after(request: Request) -> str:
        request.after_response(fail)
        return "answered"

    @app.get("/after_in_thread")
    async def after_in_thread(request: Request) -> str:
        request.after_response(plain)
        return "answered"

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        raise error

    app.get("/alive")(lambda: "alive")
    return app


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def raised_in(record: logging.LogRecord) -> list[BaseException]:
    error = record.exc_info[1] if record.exc_info else None
    return [] if error is None else [error, *([error.__cause__] if error.__cause__ else [])]


async def until_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not records(caplog):
            await asyncio.sleep(QUICK_S)


HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@exits
@pytest.mark.parametrize(
    ("target", "status"),
    [
        *((f"/{part}", 500) for part in "async waiting def from_thread before behind".split()),
        *((f"/{part}", 500) for part in "teapot json stream iterable socket".split()),
        ("/late", None),
        *((f"/{part}", 200) for part in "spawn after after_in_thread".split()),
    ],
)
async def test_exit_in_an_application_ends_no_server(
    target: str, status: int | None, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async with on_loopback(app_of(error)) as server:
        async with peer_of(server) as peer:
            await peer.send(get(target, *(HANDSHAKE if target == "/socket" else ())))
            head = await peer.read_until(b"\r\n\r\n")
            if status is None:
                assert b"0\r\n\r\n" not in await peer.read_all()  # it is cut
            else:
                assert statuses(head) == [status]
        await until_logged(caplog)
        (record,) = records(caplog)
        assert error in raised_in(record)
        async with peer_of(server) as peer:
            await peer.send(get("/alive"))
            assert (await peer.read_until(b"alive")).endswith(b"alive")


async def test_error_handler_of_500_answers_an_exit(caplog: pytest.LogCaptureFixture) -> None:
    app = App()
    seen: list[BaseException | None] = []

    @app.use
    async def look(request: Request, call_next: Callable[[Request], object]) -> object:
        response = await call_next(request)  # type: ignore[misc]
        seen.append(request.error)
        return response

    @app.errorhandler(500)
    async def page() -> str:
        return "a page"

    @app.get("/")
    async def index() -> None:
        sys.exit(3)

    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(get("/"))
        answer = await peer.read_until(b"a page")
        assert statuses(answer) == [500] and answer.endswith(b"a page")
    assert [type(error) for error in seen] == [SystemExit]
    assert len(records(caplog)) == 1


# --- the test client


@exits
@pytest.mark.parametrize("raise_errors", [True, False])
@pytest.mark.parametrize("target", ["/async", "/def", "/before", "/stream", "/late", "/teapot"])
async def test_test_client_raises_an_exit(
    target: str, raise_errors: bool, error: BaseException
) -> None:
    if target == "/def" and isinstance(error, GeneratorExit):
        pytest.skip("from a thread it is a RuntimeError, which is an ordinary error")
    async with app_of(error).test_client(raise_errors=raise_errors) as client:
        with pytest.raises(type(error)) as raised:
            await client.get(target)
        assert raised.value is error
        assert (await client.get("/alive")).text == "alive"


@exits
async def test_test_client_raises_an_exit_of_background_work(error: BaseException) -> None:
    async with app_of(error).test_client() as client:
        with pytest.raises(type(error)):
            for _ in range(20):
                await client.get("/spawn")
    with pytest.raises(type(error)):
        async with app_of(error).test_client() as client:
            await client.get("/after")


async def test_failing_test_in_an_endpoint_fails_it() -> None:
    app = App()

    @app.get("/")
    async def index() -> None:
        pytest.fail("here")

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        async for _ in socket:
            pytest.fail("there")

    async with app.test_client() as client:
        with pytest.raises(pytest.fail.Exception, match="here"):
            await client.get("/")
        with pytest.raises(pytest.fail.Exception, match="there"):
            async with client.websocket("/socket") as connected:
                await connected.send("x")
                await connected.receive()


# --- lifespans may exit

LIFE = """
import sys
from microweb import App

app = App()

@app.lifespan
async def life(app):
    if sys.argv[1] == "start":
        sys.exit(3)
    yield
    sys.exit(4)

@app.get("/")
async def index():
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)

app.run(port=0)
"""


@pytest.mark.parametrize(("when", "code"), [("start", 3), ("end", 4)])
async def test_lifespan_may_exit(when: str, code: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LIFE, when, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        if when == "end":
            line = await process.stdout.readline()
            port = int(re.findall(rb":(\d+)", line)[0])
            async with Misbehaving("127.0.0.1", port) as peer:
                await peer.send(get("/"))
                assert statuses(await peer.read_until(b"\r\n\r\n")) == [204]
        assert await process.wait() == code
