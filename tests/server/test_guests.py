"""Requests of another server: the sweep checks them, and a stop waits for them."""

from __future__ import annotations

import asyncio

import pytest
from support.answering import FakePeer
from support.serving import DEADLINE_S

from microweb.http.request_head import PlainSection, parse_request_line
from microweb.request import Request, make_request
from microweb.response import Response
from microweb.server.config import ServerConfig
from microweb.server.server import Server


async def never(request: Request) -> Response:
    raise AssertionError("this server reads no request itself")


class Visitor:
    """A guest whose request ends when its server stops, or never."""

    def __init__(self, *, is_stubborn: bool) -> None:
        self.request: Request | None = make_request(
            parse_request_line("GET", "/a"), PlainSection(), FakePeer()
        )
        self.is_ending = False
        self.has_checked = asyncio.Event()
        self._stopped = asyncio.Event()
        self._is_stubborn = is_stubborn
        self.task: asyncio.Task[None] | None = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._stopped.wait()

    def check(self, now: float) -> None:
        self.has_checked.set()

    def stop(self) -> None:
        if not self._is_stubborn:
            self._stopped.set()


async def test_the_sweep_checks_guests() -> None:
    server = Server(never)
    guest = Visitor(is_stubborn=False)
    server.guests.add(guest)
    await server.open()
    async with asyncio.timeout(DEADLINE_S):
        await guest.has_checked.wait()
    assert server.awaited() == "1 request (GET /a (route none))"
    await server.stop()
    assert guest.task is not None and guest.task.done() and not guest.task.cancelled()


async def test_a_guest_that_does_not_end_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(never, ServerConfig(grace_s=0.01))
    await server.open()
    guest = Visitor(is_stubborn=True)
    server.guests.add(guest)
    await server.stop()
    assert guest.task is not None and guest.task.cancelled()
    assert caplog.messages == ["GET /a (route none) did not end within grace_s=0.01: cut"]
