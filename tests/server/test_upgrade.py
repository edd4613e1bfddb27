"""A connection that uses another protocol after its 101."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any

import pytest
from support.serving import (
    get,
    in_memory,
    post,
    read_all,
    read_until,
    settle,
    statuses,
)

from microweb import App, Handler
from microweb.errors import ClientDisconnected
from microweb.http.bytestream import UpgradedStream
from microweb.request import Request
from microweb.response import Response
from microweb.testing.network import ClientEnd
from microweb.typed import Depends
from microweb.websocket.upgrade import UpgradeResponse

CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"


def upgrading(
    run: Callable[[UpgradedStream], Coroutine[Any, Any, None]],
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def handler(request: Request) -> Response:
        return UpgradeResponse({"Upgrade": "echo"}, run)

    return handler


UPGRADE = get("/", "Upgrade: echo", "Connection: Upgrade")


async def test_upgrade_keeps_the_bytes_that_came_behind() -> None:
    async def run(stream: UpgradedStream) -> None:
        while data := await stream.read():
            stream.write(data.upper())

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE + b"early ")
        head = await read_until(end, b"EARLY ")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert head.endswith(b"\r\n\r\nEARLY ")
        await end.write(b"late")
        assert await read_until(end, b"LATE") == b"LATE"
        end.write_eof()
        assert await read_all(end) == b""


async def say_back(stream: UpgradedStream) -> None:
    while data := await stream.read():
        stream.write(b"<%b>" % data)


@pytest.mark.parametrize(
    ("body", "framing"), [(b"hello", "Content-Length: 5"), (b"5\r\nhello\r\n0\r\n\r\n", CHUNKED)]
)
async def test_upgrade_begins_behind_the_content(body: bytes, framing: str) -> None:
    raw = post("/", body, framing, "Connection: upgrade", "Upgrade: echo") + b"other"
    for cut in range(len(raw) - len(body) - 5, len(raw)):
        async with in_memory(upgrading(say_back)) as house:
            end = house.connect()
            await end.write(raw[:cut])
            await settle()
            await end.write(raw[cut:])
            end.write_eof()
            answer = await read_all(end)
        assert statuses(answer) == [101]
        assert b"".join(answer.partition(b"\r\n\r\n")[2].split(b"><")) == b"<other>"


async def test_upgrade_that_expects_100_gets_it_before_101() -> None:
    async with in_memory(upgrading(say_back)) as house:
        end = house.connect()
        await end.write(
            post(
                "/",
                b"",
                "Content-Length: 5",
                "Expect: 100-continue",
                "Connection: upgrade",
                "Upgrade: echo",
            )
        )
        assert statuses(await read_until(end, b"\r\n\r\n")) == [100]
        await end.write(b"helloother")
        end.write_eof()
        answer = await read_all(end)
    assert statuses(answer) == [101] and answer.endswith(b"\r\n\r\n<other>")


async def test_upgrade_with_content_over_the_limit_is_refused() -> None:
    async with in_memory(upgrading(say_back), max_body=4) as house:
        end = house.connect()
        await end.write(
            post("/", b"hello", "Content-Length: 5", "Connection: upgrade", "Upgrade: echo")
        )
        end.write_eof()
        assert statuses(await read_all(end)) == [413]


async def test_upgrade_writes_behind_its_head() -> None:
    async def run(stream: UpgradedStream) -> None:
        stream.write(b"welcome")

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        end.write_eof()
        answer = await read_all(end)
        assert answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\r\n\r\nwelcome")


async def test_what_is_written_soon_goes_out_at_the_end_of_the_turn() -> None:
    async def run(stream: UpgradedStream) -> None:
        stream.write_soon(b"a")
        stream.write_soon(b"b")
        assert not ends[0].is_readable or b"ab" not in ends[0].transport.arrived
        await stream.read()
        assert stream.write_soon(b"c" * 300_000)  # more than one iteration may collect
        house.connection.network.transport.abort()
        with pytest.raises(ClientDisconnected):
            stream.write_soon(b"d")
        ended.append(True)

    ends: list[ClientEnd] = []
    ended: list[bool] = []
    async with in_memory(upgrading(run)) as house:
        ends.append(house.connect())
        await ends[0].write(UPGRADE)
        assert (await read_until(ends[0], b"ab")).endswith(b"\r\n\r\nab")
        await ends[0].write(b"go on")
        await settle()
    assert ended


class Taken:
    """A receiver that records each piece and answers it."""

    def __init__(self, stream: UpgradedStream) -> None:
        self.stream = stream
        self.pieces: list[bytes] = []
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.stream.write(data.upper())

    def end_received(self) -> None:
        self.ended.set()


async def test_an_upgrade_is_handed_what_comes() -> None:
    async def run(stream: UpgradedStream) -> None:
        taken = Taken(stream)
        stream.hand_over(taken)
        await taken.ended.wait()
        assert b"".join(taken.pieces) == b"early late"

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE + b"early ")
        assert (await read_until(end, b"EARLY ")).endswith(b"\r\n\r\nEARLY ")
        await end.write(b"late")
        assert await read_until(end, b"LATE") == b"LATE"
        end.write_eof()
        assert await read_all(end) == b""


async def test_an_upgrade_may_read_again() -> None:
    async def run(stream: UpgradedStream) -> None:
        taken = Taken(stream)
        stream.hand_over(taken)
        while not taken.pieces:
            await asyncio.sleep(0)
        stream.pause_reading()
        stream.hand_over(None)
        stream.write(b" to be read")
        stream.write(await stream.read())

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await read_until(end, b"\r\n\r\n")
        await end.write(b"a")
        assert await read_until(end, b"read") == b"A to be read"
        await end.write(b"b")
        assert await read_all(end) == b"b"


async def test_an_upgrade_that_pauses_has_its_peer_wait() -> None:
    async def run(stream: UpgradedStream) -> None:
        taken = Taken(stream)
        stream.hand_over(taken)
        stream.pause_reading()
        await going_on.wait()
        assert not taken.pieces
        stream.resume_reading()
        await taken.ended.wait()
        stream.pause_reading()  # too late, and no error
        stream.resume_reading()

    going_on = asyncio.Event()
    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await read_until(end, b"\r\n\r\n")
        writing = asyncio.create_task(end.write(b"x"))
        await settle()
        assert not writing.done()
        going_on.set()
        await writing
        assert await read_until(end, b"X") == b"X"
        house.connection.network.transport.abort()
        assert await read_all(end) == b""


@pytest.mark.parametrize("leave", ["end", "abort"])
async def test_an_upgrade_of_a_peer_that_left_before_is_told(leave: str) -> None:
    async def run(stream: UpgradedStream) -> None:
        await going_on.wait()
        taken = Taken(stream)
        stream.hand_over(taken)
        await taken.ended.wait()
        told.append(True)

    told: list[bool] = []
    going_on = asyncio.Event()
    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await read_until(end, b"\r\n\r\n")
        if leave == "end":
            end.write_eof()
        else:
            house.connection.network.transport.abort()
        await settle()
        going_on.set()
        await settle()
    assert told


async def test_upgrade_is_not_for_http_1_0(caplog: pytest.LogCaptureFixture) -> None:
    ran = []

    async def run(stream: UpgradedStream) -> None:
        ran.append(stream)

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert statuses(await read_all(end)) == [400]
    assert not ran and not caplog.records


async def test_upgrade_that_fails_is_cut_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def run(stream: UpgradedStream) -> None:
        raise ValueError("of this protocol")

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await read_all(end)
    assert [record.getMessage() for record in caplog.records] == ["GET / failed"]


async def test_upgrade_of_a_peer_that_was_reset_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def run(stream: UpgradedStream) -> None:
        while await stream.read():
            pass

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await read_until(end, b"\r\n\r\n")
        end.transport._lose(ConnectionResetError())
        await settle()
        assert not house.server.connections
    assert not caplog.records


# --- answers that last


class Ticker:
    """An answer that writes what it is told."""

    def __init__(self) -> None:
        self.told: list[float | str] = []
        self.is_over = asyncio.Event()

    def tick(self, now: float) -> None:
        self.told.append(now)

    def stop(self, *, is_restart: bool) -> None:
        self.told.append("stop")
        self.is_over.set()

    async def run(self, stream: UpgradedStream) -> None:
        stream.set_long_lived(self)
        await self.is_over.wait()
        stream.write(b"told")
        stream.set_long_lived(None)


async def test_lasting_answer_is_told_of_seconds_and_of_the_stop() -> None:
    ticker = Ticker()
    async with in_memory(upgrading(ticker.run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await house.pass_time(1)
        await house.pass_time(1)
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        assert (await read_all(end)).endswith(b"told")
        await stopping
        assert ticker.told == [house.now - 1, house.now, "stop"]


async def test_lasting_answer_that_begins_while_the_server_stops_is_told_so() -> None:
    ticker, entered, is_open = Ticker(), asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        entered.set()
        await is_open.wait()
        return UpgradeResponse({"Upgrade": "echo"}, ticker.run)

    async with in_memory(slow) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await entered.wait()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        await settle()
        is_open.set()
        assert (await read_all(end)).endswith(b"told")
        await stopping
        assert ticker.told == ["stop"]


async def test_what_lasts_no_more_is_told_nothing() -> None:
    ticker, is_open = Ticker(), asyncio.Event()

    async def run(stream: UpgradedStream) -> None:
        stream.set_long_lived(ticker)
        stream.set_long_lived(None)
        await is_open.wait()

    async with in_memory(upgrading(run)) as house:
        end = house.connect()
        await end.write(UPGRADE)
        await house.pass_time(1)
        is_open.set()
        end.write_eof()
        await read_all(end)
    assert ticker.told == []


# --- an endpoint with dependencies ------------------------------------------------------


def app_with_dependency(run: Callable[[UpgradedStream], Coroutine[Any, Any, None]]) -> App:
    app = App()
    app.state.steps = []

    async def session(request: Request) -> AsyncIterator[str]:
        steps = request.app.state.steps
        try:
            yield "session"
        except BaseException as error:
            steps.append(type(error).__name__)
            raise
        finally:
            await asyncio.sleep(0)
            steps.append("left")

    @app.get("/")
    async def upgrade(session: Annotated[str, Depends(session)]) -> Response:
        return UpgradeResponse({"Upgrade": "echo"}, run)

    @app.get("/replaced", use=[replace])
    async def replaced(session: Annotated[str, Depends(session)]) -> Response:
        return UpgradeResponse({"Upgrade": "echo"}, run)

    return app


async def replace(request: Request, call_next: Handler) -> Response:
    await call_next(request)
    return Response(f"{request.app.state.steps}")


async def test_dependencies_are_left_after_the_other_protocol() -> None:
    async def run(stream: UpgradedStream) -> None:
        app.state.steps.append("begins")
        assert await stream.read() == b"data"
        app.state.steps.append("ends")
        stream.write(b"bye")

    app = app_with_dependency(run)
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(UPGRADE)
        assert (await read_until(end, b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert app.state.steps == ["begins"]
        await end.write(b"data")
        assert await read_all(end) == b"bye"
    assert app.state.steps == ["begins", "ends", "left"]


async def test_an_error_of_the_other_protocol_is_thrown_into_dependencies(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run(stream: UpgradedStream) -> None:
        raise LookupError("broken")

    app = app_with_dependency(run)
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(UPGRADE)
        assert (await read_all(end)).startswith(b"HTTP/1.1 101 ")
    assert app.state.steps == ["LookupError", "left"]
    assert "broken" in caplog.text


async def test_dependencies_of_an_upgrade_that_is_not_sent_are_left() -> None:
    async def run(stream: UpgradedStream) -> None:
        """Not called."""

    app = app_with_dependency(run)
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(get("/replaced", "Upgrade: echo", "Connection: Upgrade, close"))
        assert (await read_all(end)).endswith(b"[]")
        assert app.state.steps == ["left"]


async def test_dependencies_are_left_if_the_client_does_not_ask_for_the_protocol() -> None:
    async def run(stream: UpgradedStream) -> None:
        """Not called."""

    app = app_with_dependency(run)
    async with in_memory(app) as house:
        end = house.connect()
        await end.write(get("/", "Connection: close"))
        assert (await read_all(end)).startswith(b"HTTP/1.1 426 ")
    assert app.state.steps == ["HTTPError", "left"]
