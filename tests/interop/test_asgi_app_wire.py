"""Messages of one request: who waits for them, and for how long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.asgi import Exchanged, body_of, http_scope
from support.serving import DEADLINE_S

from microweb import App, Request, Response
from microweb.errors import BodyTimeout, ClientDisconnected
from microweb.interop.asgi_app_wire import Wire
from microweb.server.config import ServerConfig
from microweb.server.state import ServerState

GONE = {"type": "http.disconnect"}


async def never(request: Request) -> Response:
    raise AssertionError("no request is answered here")


class Ends:
    """A wire, the queue of its messages, and a gate in front of `send`."""

    def __init__(self, **options: Any) -> None:
        self.state = ServerState(never, ServerConfig(**options))
        self.state.open()
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.wire = Wire(self.state, self.queue.get, self._send)

    async def _send(self, message: Any) -> None:
        await self.gate.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_look_keeps_the_last_message_of_the_body() -> None:
    ends = Ends()
    ends.wire.look()
    (message,) = body_of(b"a")
    ends.queue.put_nowait(message)
    ends.queue.put_nowait(GONE)
    await settle()
    assert ends.wire.is_gone()
    assert await ends.wire.receive() == message
    assert await ends.wire.receive() == await ends.wire.receive() == GONE


async def test_a_look_leaves_the_rest_of_a_body_to_its_reader() -> None:
    ends = Ends()
    first, second = body_of(b"a", b"b")
    for message in (first, second, GONE):
        ends.queue.put_nowait(message)
    ends.wire.look()
    await settle()
    ends.wire.look()
    await settle()
    assert ends.queue.qsize() == 2 and not ends.wire.is_gone()
    assert [await ends.wire.receive() for _ in range(3)] == [first, second, GONE]


async def test_a_reader_waits_for_the_look_under_way() -> None:
    ends = Ends()
    ends.wire.look()
    await settle()
    reading = asyncio.create_task(ends.wire.receive())
    await settle()
    (message,) = body_of(b"a")
    ends.queue.put_nowait(message)
    assert await asyncio.wait_for(reading, DEADLINE_S) == message
    await ends.wire.close()


async def test_a_read_ends_at_its_deadline() -> None:
    ends = Ends()
    reading = asyncio.create_task(ends.wire.receive(1.0))
    await settle()
    ends.wire.check(ends.state.clock())
    await settle()
    assert not reading.done()
    ends.wire.check(ends.state.clock() + 2)
    with pytest.raises(BodyTimeout):
        await reading
    assert reading.cancelling() == 0


async def test_a_read_that_waits_for_the_look_ends_at_its_deadline() -> None:
    ends = Ends()
    ends.wire.look()
    await settle()
    reading = asyncio.create_task(ends.wire.receive(1.0))
    await settle()
    ends.wire.check(ends.state.clock() + 2)
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(BodyTimeout):
            await reading
    await ends.wire.close()


async def test_a_cancelled_read_is_cancelled() -> None:
    ends = Ends()
    reading = asyncio.create_task(ends.wire.receive(1.0))
    await settle()
    ends.wire.check(ends.state.clock() + 2)
    reading.cancel()  # both at the same time
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_client_that_takes_nothing_is_cut_off() -> None:
    ends = Ends(write_timeout_s=3)
    left = asyncio.Event()
    ends.wire.on_left = left.set
    sending = asyncio.create_task(ends.wire.send({"type": "http.response.body"}))
    await settle()
    ends.wire.check(ends.state.clock() + 2)
    await settle()
    assert ends.wire._sending is not None and not sending.done()
    ends.wire.check(ends.state.clock() + 4)
    with pytest.raises(ClientDisconnected):
        await sending
    assert left.is_set() and ends.wire.is_gone()
    with pytest.raises(ClientDisconnected):
        await ends.wire.send({"type": "http.response.body"})


async def test_no_task_waits_for_the_client_of_a_short_request() -> None:
    app, names = App(), []

    @app.get("/")
    async def index() -> str:
        names.extend(task.get_name() for task in asyncio.all_tasks())
        return "x"

    exchanged = Exchanged(app, http_scope())
    assert len(await exchanged.end()) == 2
    assert "asgi look" not in names and exchanged.to_app.empty()
