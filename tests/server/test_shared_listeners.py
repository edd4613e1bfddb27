"""Sockets on which several processes accept."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from support.waiting import until

from microweb.server import shared_listeners
from microweb.server.shared_listeners import SharedListeners


class Accepted:
    """The connections of one worker."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


def bound_socket() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.setblocking(False)
    return bound


def listeners_on(
    bound: socket.socket,
    accepted: Accepted,
    is_ahead: Callable[[int], bool] = lambda uncounted: False,
) -> SharedListeners:
    return SharedListeners([bound], accepted, limit=1024, backlog=100, is_ahead=is_ahead)


def connected(address: tuple[str, int], count: int) -> list[socket.socket]:
    return [socket.create_connection(address) for _ in range(count)]


async def test_two_workers_share_the_connections() -> None:
    bound = bound_socket()
    address = bound.getsockname()
    first, second = Accepted(), Accepted()
    workers = [
        listeners_on(
            bound, first, lambda more: len(first.writers) + more > len(second.writers) + 1
        ),
        listeners_on(
            bound.dup(), second, lambda more: len(second.writers) + more > len(first.writers) + 1
        ),
    ]
    for each in workers:
        await each.open()
    peers = await asyncio.to_thread(connected, address, 64)
    await until(lambda: len(first.writers) + len(second.writers) == 64)
    assert min(len(first.writers), len(second.writers)) >= 64 // 3
    for each in workers:
        await each.close(leaves_queue=True)
    for peer in peers:
        peer.close()
    first.close()
    second.close()


async def test_worker_that_is_ahead_waits_once() -> None:
    bound, accepted = bound_socket(), Accepted()
    listeners = listeners_on(bound, accepted, lambda uncounted: True)
    await listeners.open()
    with socket.create_connection(bound.getsockname()):
        await until(lambda: len(accepted.writers) == 1)
    await listeners.close(leaves_queue=True)
    accepted.close()


async def test_queue_that_other_workers_leave_is_taken_in_larger_steps() -> None:
    """They are too busy, so waiting for them at each connection would let new clients starve."""
    bound, accepted = bound_socket(), Accepted()
    waits = 0

    def is_ahead(uncounted: int) -> bool:
        nonlocal waits
        waits += 1
        return True

    listeners = listeners_on(bound, accepted, is_ahead)
    await listeners.open()
    peers = connected(bound.getsockname(), 20)
    await until(lambda: len(accepted.writers) == 20)
    assert waits <= 8  # 1, 2, 4, 4, 4, 4, 1
    before = waits
    peers += connected(bound.getsockname(), 3)  # the queue was empty: 1, 2
    await until(lambda: len(accepted.writers) == 23)
    assert waits >= before + 2
    await listeners.close(leaves_queue=True)
    for peer in peers:
        peer.close()
    accepted.close()


async def test_several_connections_are_accepted_in_one_turn() -> None:
    bound, accepted = bound_socket(), Accepted()
    listeners = listeners_on(bound, accepted)
    await listeners.open()
    turns = 0

    def count() -> None:
        nonlocal turns
        if len(accepted.writers) < 32:
            turns += 1
            asyncio.get_running_loop().call_soon(count)

    peers = connected(bound.getsockname(), 32)  # all wait in the queue
    count()
    await until(lambda: len(accepted.writers) == 32)
    assert turns < 32
    await listeners.close(leaves_queue=True)
    for peer in peers:
        peer.close()
    accepted.close()


async def test_queue_is_left_to_the_other_workers() -> None:
    bound, accepted, others = bound_socket(), Accepted(), Accepted()
    address, copy = bound.getsockname(), bound.dup()
    listeners = listeners_on(bound, accepted)
    await listeners.open()
    peers = connected(address, 5)  # this loop has had no turn: they wait in the queue
    await listeners.close(leaves_queue=True)
    assert accepted.writers == []
    other = listeners_on(copy, others)
    await other.open()
    await until(lambda: len(others.writers) == 5)
    await other.close(leaves_queue=True)
    for peer in peers:
        peer.close()
    others.close()


async def test_queue_is_emptied_at_a_stop() -> None:
    bound, accepted = bound_socket(), Accepted()
    listeners = listeners_on(bound, accepted)
    await listeners.open()
    peers = connected(bound.getsockname(), 5)
    await listeners.close(leaves_queue=False)
    assert len(accepted.writers) == 5
    for peer in peers:
        peer.close()
    accepted.close()


async def test_accepting_pauses_while_descriptors_are_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bound, accepted = bound_socket(), Accepted()
    listeners = listeners_on(bound, accepted)
    await listeners.open()
    monkeypatch.setattr(shared_listeners, "spare_descriptors", lambda: (3, 0))
    listeners.check()
    with socket.create_connection(bound.getsockname()) as first:
        await until(lambda: len(accepted.writers) == 1)
        listeners.check_descriptor(accepted.writers[0].transport)
        assert listeners.is_paused and "nearly out of file descriptors (3 are" in caplog.text
        with socket.create_connection(bound.getsockname()):
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(accepted.writers) == 1
            monkeypatch.undo()
            listeners.check()
            await until(lambda: len(accepted.writers) == 2)
        assert first.fileno() > 0
    await listeners.close(leaves_queue=True)
    accepted.close()
