from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import over_tls
from support.serving import DEADLINE_S, get, on_loopback, peer_of

import microweb
from microweb import App
from microweb.server.delivery import take_buffered
from microweb.server.inflow import READ_BYTES, Inflow
from microweb.testing.network import ClientEnd, connect

LIMIT = 16 * 1024
PACKAGE = Path(microweb.__file__).parent


class Connected:
    """A connection in memory, with an `Inflow` in front of its streams."""

    def __init__(self) -> None:
        address = ("127.0.0.1", 80)
        self.end: ClientEnd = connect(self._accept, limit=LIMIT, client=address, server=address)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.inflow = Inflow(asyncio.get_running_loop(), reader, writer.transport)

    async def begin(self) -> asyncio.Task[bytes | None]:
        """Return a task that waits in `receive`."""
        task = asyncio.create_task(self._receive())
        await asyncio.sleep(0)
        return task

    async def _receive(self) -> bytes | None:
        async with asyncio.timeout(DEADLINE_S):
            return await self.inflow.receive()


@asynccontextmanager
async def connected() -> AsyncIterator[Connected]:
    connection = Connected()
    try:
        yield connection
    finally:
        connection.end.close()
        connection.writer.close()


async def test_bytes_go_to_the_task_that_waits_and_not_through_the_buffer() -> None:
    async with connected() as connection:
        task, sent = await connection.begin(), b"GET /"
        connection.inflow.data_received(sent)
        assert take_buffered(connection.reader, 10) == b""
        assert await task is sent


async def test_bytes_before_the_first_wait_are_received() -> None:
    async with connected() as connection:
        await connection.end.write(b"one")
        await connection.end.write(b"two")
        assert await (await connection.begin()) == b"one"
        assert await (await connection.begin()) == b"two"
        task = await connection.begin()
        await connection.end.write(b"three")
        assert await task == b"three"


async def test_bytes_behind_those_of_the_task_are_buffered() -> None:
    """Two pieces may arrive before the task runs."""
    async with connected() as connection:
        task = await connection.begin()
        await connection.end.write(b"one")
        await connection.end.write(b"two")
        assert await task == b"one"
        assert await connection.reader.read(10) == b"two"
        task = await connection.begin()
        await connection.end.write(b"three")
        assert await task == b"three"


async def test_large_piece_is_cut_and_its_rest_pauses_the_transport() -> None:
    async with connected() as connection:
        task = await connection.begin()
        connection.inflow.data_received(b"a" * READ_BYTES + b"b" * (2 * LIMIT + 1))
        assert await task == b"a" * READ_BYTES
        transport = connection.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        assert not transport.is_reading()
        assert await (await connection.begin()) == b"b" * (2 * LIMIT + 1)
        assert transport.is_reading()


async def test_end_of_input_wakes_the_task() -> None:
    async with connected() as connection:
        task = await connection.begin()
        connection.end.write_eof()
        assert not await task
        assert not await (await connection.begin())


@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
async def test_connection_that_is_lost_before_its_task_begins(
    error: ConnectionResetError | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected() as connection:
        connection.inflow.connection_lost(error)
        if error is None:
            assert not await (await connection.begin())
        else:
            with pytest.raises(ConnectionResetError, match="reset"):
                await (await connection.begin())
    async with connected() as connection:  # its task does not begin
        connection.inflow.connection_lost(error)
        del connection
    gc.collect()
    assert not caplog.records  # no exception that was never retrieved


async def test_bytes_before_the_end_of_input_come_first() -> None:
    async with connected() as connection:
        await connection.end.write(b"last")
        connection.end.write_eof()
        assert await (await connection.begin()) == b"last"
        assert not await (await connection.begin())


async def test_end_behind_bytes_that_the_task_has_not_seen() -> None:
    async with connected() as connection:
        task = await connection.begin()
        await connection.end.write(b"last")
        connection.end.write_eof()
        assert await task == b"last"
        assert not await (await connection.begin())


async def test_input_is_ended_by_the_server() -> None:
    async with connected() as connection:
        task = await connection.begin()
        connection.inflow.end()
        assert not await task
        assert connection.reader.at_eof()


async def test_error_is_raised_in_the_task_and_at_each_later_read() -> None:
    async with connected() as connection:
        task = await connection.begin()
        connection.inflow.fail(TimeoutError("slow"))
        with pytest.raises(TimeoutError, match="slow"):
            await task
        with pytest.raises(TimeoutError, match="slow"):
            await (await connection.begin())
        with pytest.raises(TimeoutError, match="slow"):
            await connection.reader.read(10)


async def test_lost_connection_wakes_the_task() -> None:
    async with connected() as connection:
        task = await connection.begin()
        connection.inflow.connection_lost(ConnectionResetError("reset"))
        with pytest.raises(ConnectionResetError, match="reset"):
            await task


@pytest.mark.parametrize("end", ["data", "eof", "error"])
async def test_cancelled_task_takes_nothing(end: str) -> None:
    async with connected() as connection:
        task = await connection.begin()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if end == "data":
            await connection.end.write(b"kept")
            assert await connection.reader.read(10) == b"kept"
        elif end == "eof":
            connection.end.write_eof()
            assert await connection.reader.read(10) == b""
        else:
            connection.inflow.fail(TimeoutError())
            with pytest.raises(TimeoutError):
                await connection.reader.read(10)


async def test_body_is_read_from_the_reader_and_the_next_request_is_received() -> None:
    async with connected() as connection:
        task = await connection.begin()
        await connection.end.write(b"head")
        assert await task == b"head"
        body = asyncio.create_task(connection.reader.read(10))
        await asyncio.sleep(0)
        await connection.end.write(b"body")
        assert await body == b"body"
        task = await connection.begin()
        await connection.end.write(b"next")
        assert await task == b"next"


async def test_waits_for_the_peer_to_read_reach_the_writer() -> None:
    async with connected() as connection:
        connection.inflow.pause_writing()
        draining = asyncio.create_task(connection.writer.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        connection.inflow.resume_writing()
        async with asyncio.timeout(DEADLINE_S):
            await draining


@pytest.mark.skipif(over_tls.IS_ON, reason="TLS makes calls of its own")
async def test_kept_get_makes_few_calls_and_none_in_streams() -> None:
    app = App()

    @app.get("/")
    async def text() -> str:
        return "text"

    calls: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(PACKAGE) or file == Path(asyncio.streams.__file__):
                calls.append(f"{file.name} {frame.f_code.co_name}")

    async with on_loopback(app, tick_s=3600) as server, peer_of(server) as peer:
        for _ in range(3):
            await peer.send(get("/"))
            await peer.read_until(b"text")
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            await peer.send(get("/"))
            await peer.read_until(b"text")
        finally:
            sys.setprofile(before)
    ours = [call for call in calls if not call.startswith("misbehaving.py")]
    assert not [call for call in ours if call.startswith("streams.py")]
    assert len(ours) <= 16, ours  # and the endpoint


STEPS = st.lists(st.sampled_from(["send", "large", "receive", "read", "turn"]), max_size=30)


@given(STEPS)
def test_all_bytes_arrive_once_and_in_order_in_whatever_way_they_are_read(
    steps: list[str],
) -> None:
    async def run() -> None:
        async with connected() as connection:
            sent, received = b"", b""
            task: asyncio.Task[bytes | None] | None = await connection.begin()
            for number, step in enumerate(steps):
                if step in ("send", "large"):
                    data = bytes([number]) * (3 if step == "send" else READ_BYTES + 3)
                    connection.inflow.data_received(data)
                    sent += data
                elif step == "turn":
                    await asyncio.sleep(0)
                elif step == "read" and task is None:
                    received += take_buffered(connection.reader, READ_BYTES)
                elif step == "receive" and task is None:
                    task = await connection.begin()
                if task is not None and task.done():
                    received, task = received + (task.result() or b""), None
            connection.inflow.eof_received()
            while task is not None or len(received) < len(sent):
                task = task or await connection.begin()
                received, task = received + (await task or b""), None
            assert received == sent

    asyncio.run(run())
