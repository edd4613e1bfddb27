"""Sweeps: how many connections one turn of the event loop checks, and that all are checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from support.serving import DEADLINE_S, GET, on_loopback, until_none

from microweb import App, Response
from microweb.server.sweep import SLICE, Sweep

COUNT = 10_000


class Checks:
    """The checks of numbers, which count as connections."""

    def __init__(self) -> None:
        self.checked: list[tuple[int, float]] = []
        self.now = 0.0
        self.sweep = Sweep(self.check, lambda: self.now)

    def check(self, number: int, now: float) -> None:
        self.checked.append((number, now))

    async def run(self) -> list[int]:
        """Return how many were checked after each turn, until a turn checks none."""
        counts = [0, len(self.checked)]
        while counts[-1] > counts[-2]:
            self.now += 1
            await asyncio.sleep(0)
            counts.append(len(self.checked))
        return counts


@pytest.mark.parametrize("count", [0, 1, SLICE])
async def test_few_connections_are_checked_at_once(count: int) -> None:
    checks = Checks()
    checks.sweep.begin(range(count))
    assert sorted(checks.checked) == [(number, 0.0) for number in range(count)]
    assert (await checks.run())[-1] == count


async def test_many_connections_are_checked_once_each_a_slice_in_a_turn() -> None:
    checks = Checks()
    checks.sweep.begin(range(COUNT - 1), [COUNT - 1])
    counts = await checks.run()
    assert {b - a for a, b in pairwise(counts)} == {SLICE, COUNT % SLICE, 0}
    assert sorted(number for number, _ in checks.checked) == [*range(COUNT)]


async def test_each_slice_gets_the_present_time() -> None:
    checks = Checks()
    checks.sweep.begin(range(3 * SLICE))
    await checks.run()
    assert [now for _, now in checks.checked] == [0.0] * SLICE + [1.0] * SLICE + [2.0] * SLICE


async def test_tick_during_a_sweep_does_not_begin_it_anew() -> None:
    checks = Checks()
    checks.sweep.begin(range(2 * SLICE))
    checks.sweep.begin(range(2 * SLICE))
    await checks.run()
    assert sorted(number for number, _ in checks.checked) == [*range(2 * SLICE)]
    checks.sweep.begin([7])
    assert checks.checked[-1][0] == 7


async def test_cancelled_sweep_checks_no_more() -> None:
    checks = Checks()
    checks.sweep.begin(range(2 * SLICE))
    checks.sweep.cancel()
    assert (await checks.run())[-1] == SLICE
    checks.sweep.begin(range(SLICE))
    assert len(checks.checked) == 2 * SLICE


async def test_end_of_a_sweep_comes_after_all_checks() -> None:
    checks = Checks()
    await checks.sweep.end()
    checks.sweep.begin(range(3 * SLICE))
    await checks.sweep.end()
    assert len(checks.checked) == 3 * SLICE


async def test_stop_ends_more_event_streams_than_a_slice_before_it_cancels() -> None:
    app = App()

    @app.get("/")
    async def stream() -> Response:
        async def events() -> AsyncIterator[str]:
            yield "first"
            await asyncio.get_running_loop().create_future()

        return Response.events(events())

    async with on_loopback(app, grace_s=0) as server, asyncio.timeout(DEADLINE_S):
        address = server.sockets[0].getsockname()[:2]
        clients = [await asyncio.open_connection(*address) for _ in range(5 * SLICE + 1)]
        for reader, writer in clients:
            writer.write(GET)
            await reader.readuntil(b"first")
        await server.stop()
        for reader, writer in clients:
            assert (await reader.read()).endswith(b"\r\n0\r\n\r\n")
            writer.close()


async def test_check_that_fails_does_not_end_the_sweep() -> None:
    checked: list[int] = []

    def check(number: int, now: float) -> None:
        checked.append(number)
        if number == 2 * SLICE:  # the first one of the first slice
            raise ValueError("a fault")

    sweep = Sweep(check, lambda: 0.0)
    with pytest.raises(ValueError, match="a fault"):
        sweep.begin(range(3 * SLICE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(checked) == 2 * SLICE + 1


async def test_deadlines_apply_to_more_connections_than_a_slice() -> None:
    async with on_loopback(App(), head_timeout_s=0.5) as server, asyncio.timeout(DEADLINE_S):
        address = server.sockets[0].getsockname()[:2]
        clients = [await asyncio.open_connection(*address) for _ in range(SLICE + 50)]
        for number, (_, writer) in enumerate(clients):
            writer.write(b"GET / HTTP/1.1\r\n" if number % 2 else b"")  # the rest never comes
        for reader, writer in clients:
            assert (await reader.read())[:12] in (b"", b"HTTP/1.1 408")
            writer.transport.abort()
        await until_none(server.connections)
