"""A silent peer gets a ping, then its connection ends."""

from __future__ import annotations

import asyncio

from support.websocketing import PINGED, PONG, echo, handshake, masked, serving, text, wait_for_ever

from microweb import WebSocket
from microweb.websocket.heartbeat import Heartbeat


def test_a_ping_is_due_after_the_interval_and_overdue_after_the_timeout() -> None:
    heartbeat = Heartbeat(5, 3)
    heartbeat.reset(100)
    assert not heartbeat.is_ping_due(104)
    assert heartbeat.is_ping_due(105)
    assert not heartbeat.is_ping_due(110)  # a ping waits for its pong
    assert not heartbeat.is_ping_overdue(107)
    assert heartbeat.is_ping_overdue(108)
    heartbeat.reset(108)
    assert not heartbeat.is_ping_overdue(200)
    assert heartbeat.is_ping_due(113)


def test_a_peer_that_is_not_read_from_is_silent_from_the_last_look() -> None:
    heartbeat = Heartbeat(5, 3)
    heartbeat.reset(100)
    heartbeat.postpone(103)
    assert not heartbeat.is_silent(107)
    assert heartbeat.is_silent(108)


def test_a_close_has_5_seconds_from_the_first_look() -> None:
    heartbeat = Heartbeat(0, 3)
    assert not heartbeat.is_close_overdue(100)
    assert not heartbeat.is_close_overdue(104)
    assert heartbeat.is_close_overdue(105)


async def test_a_silent_peer_is_pinged_and_then_dropped() -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        async for message in socket:
            seen.append(message)
        seen.append(socket.close_code)

    async with serving(endpoint, ping_interval_s=5, ping_timeout_s=3) as (house, peer):
        await peer.shake_hands(handshake())
        await house.pass_time(1)
        await house.pass_time(4)
        assert not peer.end.is_readable
        await house.pass_time(1)
        assert await peer.frame() == PINGED
        await peer.send(masked(b"", PONG))
        for _ in range(6):
            await house.pass_time(1)
        assert await peer.frame() == PINGED
        await peer.send(masked("any sign of life"))
        for _ in range(6):
            await house.pass_time(1)
        assert await peer.frame() == PINGED
        await house.pass_time(2)
        assert seen == ["any sign of life"]
        await house.pass_time(1)
        assert seen == ["any sign of life", 1006]
        assert await peer.frame() is None
        assert not house.server.connections


async def test_pings_may_be_off() -> None:
    async with serving(echo, ping_interval_s=0) as (house, peer):
        await peer.shake_hands(handshake())
        for _ in range(100):
            await house.pass_time(10)
        assert not peer.end.is_readable
        await peer.send(masked("there"))
        assert await peer.frame() == text("there")


async def test_a_peer_that_is_not_read_from_is_not_held_to_be_silent() -> None:
    async with serving(wait_for_ever, ping_interval_s=5, ping_timeout_s=3, grace_s=0.01) as (
        house,
        peer,
    ):
        await peer.shake_hands(handshake())
        sending = asyncio.create_task(peer.send(*([masked("x" * 4096)] * 200)))
        pings = 0
        for _ in range(50):
            await house.pass_time(1)
            if peer.end.is_readable:
                assert await peer.frame() == PINGED  # it tests whether the peer reads: see `probe`
                pings += 1
        assert 8 <= pings <= 10
        assert house.server.connections
        assert not sending.done()
        sending.cancel()
