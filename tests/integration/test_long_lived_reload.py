"""WebSockets and event streams of two workers at a reload and at a stop."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.processes import DEADLINE_S, Program
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from microweb.testing.eventsource import EventParser

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")

SOURCE = """
import asyncio, os
from collections.abc import AsyncIterator
from microweb import App, Request, Response, WebSocket
from microweb.sse import ServerEvent

app = App()

@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    await socket.send(str(os.getpid()))
    async for message in socket:
        await socket.send(message)

@app.get("/events")
async def events(request: Request) -> Response:
    return Response.events(own_events(request.last_event_id))

async def own_events(last_id: str | None) -> AsyncIterator[ServerEvent]:
    yield ServerEvent(f"{os.getpid()} after {last_id}", id=str(os.getpid()))
    await asyncio.Event().wait()

if __name__ == "__main__":
    app.run(port=0, workers=2)
"""
CLIENTS = 6


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    script = tmp_path / "app.py"
    script.write_text(SOURCE)
    with Program(script) as program:
        yield program


async def listening(program: Program) -> tuple[str, set[str]]:
    """Return the URL of the server and the processes of its workers."""
    line = await asyncio.to_thread(program.out.wait_for, "listening on")
    return re.findall(r"http://([\w.:\[\]]+:\d+)", line)[0], pids_in(line)


async def reload(program: Program) -> set[str]:
    """Reload, and return the processes of the new workers."""
    program.process.send_signal(signal.SIGHUP)
    return pids_in(await asyncio.to_thread(program.err.wait_for, "reload complete"))


def pids_in(line: str) -> set[str]:
    return set(re.findall(r"\b\d+\b", line.partition("workers ")[2]))


async def code_of(socket: ClientConnection) -> int | None:
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ConnectionClosed) as caught:
            await socket.recv()
    received = caught.value.rcvd
    return None if received is None else received.code


async def test_sockets_are_told_of_a_reload_and_of_a_stop(program: Program) -> None:
    address, old = await listening(program)
    url = f"ws://{address}/ws"
    sockets = [await connect(url) for _ in range(CLIENTS)]
    assert {await socket.recv() for socket in sockets} == old

    new = await reload(program)
    assert not new & old
    assert [await code_of(socket) for socket in sockets] == [1012] * CLIENTS

    sockets = [await connect(url) for _ in range(CLIENTS)]
    assert {await socket.recv() for socket in sockets} == new
    await sockets[0].send("still served")
    assert await sockets[0].recv() == "still served"
    program.process.send_signal(signal.SIGTERM)
    assert [await code_of(socket) for socket in sockets] == [1001] * CLIENTS
    await asyncio.to_thread(program.ends, 0)


class EventSource:
    """A client that reconnects as a browser does, with the id of the last event."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self.received: list[str] = []
        self.has_received = asyncio.Event()

    async def run(self, count: int) -> None:
        """Receive `count` streams to their ends. Raises: httpx.HTTPError if one is cut."""
        last_id = ""
        for _ in range(count):
            parser = EventParser(last_id)
            headers = {"Last-Event-ID": last_id} if last_id else {}
            async with self._client.stream("GET", self._url, headers=headers) as response:
                assert response.status_code == 200
                async for data in response.aiter_bytes():
                    self.received += [event.data for event in parser.feed(data)]
                    self.has_received.set()
            last_id = parser.last_event_id


async def test_event_streams_end_at_a_reload_and_continue_at_a_new_worker(
    program: Program,
) -> None:
    address, old = await listening(program)
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        sources = [EventSource(client, f"http://{address}/events") for _ in range(CLIENTS)]
        running = [asyncio.create_task(source.run(100)) for source in sources]
        async with asyncio.timeout(DEADLINE_S):
            for source in sources:
                await source.has_received.wait()
        assert {source.received[0].split()[0] for source in sources} == old

        new = await reload(program)
        async with asyncio.timeout(DEADLINE_S):
            while any(source.received[-1].split()[0] not in new for source in sources):
                await asyncio.sleep(0.01)
        assert not any(task.done() for task in running)
        for source in sources:  # each stream continued after the one before
            pids = [text.split()[0] for text in source.received]
            expected = [
                f"{pid} after {last}" for pid, last in zip(pids, [None, *pids], strict=False)
            ]
            assert source.received == expected

        program.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(program.ends, 0)
        await asyncio.wait(running, timeout=DEADLINE_S)
        for task in running:  # the streams ended whole: only the next connection was refused
            assert isinstance(task.exception(), httpx.ConnectError)
