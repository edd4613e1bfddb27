"""The work that a stop waits for: the wait, and words."""

from __future__ import annotations

import asyncio

import pytest
from support.serving import DEADLINE_S, get, in_memory, settle

from microweb.request import Request
from microweb.response import Response
from microweb.server.unfinished import log_unfinished, unfinished, work_under_way


async def test_requests_under_way_are_named_up_to_three(caplog: pytest.LogCaptureFixture) -> None:
    is_open = asyncio.Event()

    async def wait(request: Request) -> Response:
        await is_open.wait()
        return Response("x")

    async with in_memory(wait) as house:
        connections, guests = house.server.connections, house.server.guests
        assert work_under_way(connections, guests, 0) == ""
        ends = [house.connect() for _ in range(4)]
        await settle()
        assert work_under_way(connections, guests, 0) == ""  # no request has arrived
        await ends[0].write(get("/a"))
        await settle()
        assert work_under_way(connections, guests, 1) == (
            "1 request (GET /a (route none)) and 1 background task"
        )
        for end in ends[1:]:
            await end.write(get("/a"))
        await settle()
        named = ", ".join(["GET /a (route none)"] * 3)
        assert (
            work_under_way(connections, guests, 2)
            == f"4 requests ({named}, ...) and 2 background tasks"
        )
        log_unfinished(connections, guests, 0.5)
        expected = ["GET /a (route none) did not end within grace_s=0.5: cut"] * 4
        assert caplog.messages == expected
        is_open.set()
        for end in ends:
            end.close()


async def test_tasks_that_have_ended_are_not_returned() -> None:
    loop = asyncio.get_running_loop()
    opened, never = loop.create_future(), loop.create_future()

    async def wait_for(future: asyncio.Future[None]) -> None:
        await future

    ending = {asyncio.create_task(wait_for(opened)) for _ in range(10)}
    staying = {asyncio.create_task(wait_for(never)) for _ in range(3)}
    loop.call_soon(opened.set_result, None)
    async with asyncio.timeout(DEADLINE_S):
        assert await unfinished(ending, DEADLINE_S) == set()  # before the time is over
        assert await unfinished(ending | staying, 0.05) == staying
        assert await unfinished(staying, -1.0) == staying
        assert await unfinished(set(), DEADLINE_S) == set()
    never.set_result(None)
    await asyncio.wait(staying)
