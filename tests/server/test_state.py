"""The state that the connections of one server share."""

from __future__ import annotations

import asyncio

from microweb.errors import MalformedRequest
from microweb.request import Request
from microweb.response import Response
from microweb.server.config import ServerConfig
from microweb.server.state import ServerState


async def hello(request: Request) -> Response:
    return Response("hello")


class Counting:
    """Counts its flushes. The first flush appends `again` to the queue."""

    def __init__(self, state: ServerState, again: Counting | None = None) -> None:
        self.state = state
        self.again = again
        self.flushes = 0

    def flush(self) -> None:
        self.flushes += 1
        if self.again is not None:
            self.state.unflushed.append(self.again)


async def test_the_end_of_a_turn_flushes_each_once() -> None:
    state = ServerState(hello, ServerConfig())
    state.open()
    one, other = Counting(state), Counting(state)
    state.flush_soon()
    state.unflushed += [one, other]
    assert one.flushes == other.flushes == 0
    await asyncio.sleep(0)
    assert one.flushes == other.flushes == 1
    assert state.unflushed == []


async def test_bytes_that_a_flush_adds_wait_for_the_next_turn() -> None:
    state = ServerState(hello, ServerConfig())
    state.open()
    late = Counting(state)
    state.flush_soon()
    state.unflushed.append(Counting(state, again=late))
    await asyncio.sleep(0)
    assert late.flushes == 0
    assert state.unflushed == [late]


async def test_the_clock_is_that_of_the_running_loop() -> None:
    state = ServerState(hello, ServerConfig())
    assert state.clock() == 0.0
    state.open()
    before = asyncio.get_running_loop().time()
    assert before <= state.clock() <= asyncio.get_running_loop().time()
    assert before <= state.budget.clock() <= asyncio.get_running_loop().time()


async def test_a_refusal_has_its_status_and_nothing_else() -> None:
    state = ServerState(hello, ServerConfig())
    response = await state.refuse(MalformedRequest("a bare CR"))
    assert (response.status, response.body) == (400, b"Bad Request\n")


def test_settings_are_those_of_the_configuration() -> None:
    config = ServerConfig(max_request_line=100, max_json=7, trusted_proxies=("10.0.0.0/8",))
    state = ServerState(hello, config)
    assert state.config is config
    assert state.head_limits.max_request_line == 100
    assert state.limits.max_json == 7
    assert state.proxies
