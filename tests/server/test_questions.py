"""Questions to a worker over a socket pair: frames, both ends, and ends that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, Iterator

import pytest
from support.processes import DEADLINE_S

from microweb.server.questions import MAX_FRAME, Answering, Asking, Frame, Question

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(DEADLINE_S)
    with ours, theirs:
        yield ours, theirs


def question(number: int, *, lasts_s: float = 600.0) -> Question:
    return Question(number, 10, time.monotonic() + lasts_s)


async def received(asking: Asking, count: int) -> list[tuple[int, Frame]]:
    frames: list[tuple[int, Frame]] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(frames) < count and not asking.is_over:
            await asyncio.sleep(0)
            frames += asking.receive()
    return frames


async def numbered(question: Question) -> AsyncGenerator[Frame, None]:
    for each in range(3):
        yield {"frame": each}


async def test_each_question_gets_its_frames(pair: tuple[socket.socket, socket.socket]) -> None:
    asking, answering = Asking(pair[0]), Answering(pair[1], numbered)
    answering.open()
    asking.ask(question(7))
    asking.ask(question(8))
    expected = [(number, {"frame": each}) for number in (7, 8) for each in range(3)]
    assert sorted(await received(asking, 6), key=str) == expected
    answering.close()
    assert await received(asking, 1) == [] and asking.is_over
    asking.close()


async def test_question_whose_time_is_over_is_not_answered(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    asking, answering = Asking(pair[0]), Answering(pair[1], numbered)
    answering.open()
    asking.ask(question(1, lasts_s=0.0))
    asking.ask(question(2))
    assert {number for number, _ in await received(asking, 3)} == {2}
    answering.close()
    asking.close()


async def test_supervisor_that_does_not_read_holds_the_answer_back(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    made = 0

    async def endless(question: Question) -> AsyncGenerator[Frame, None]:
        nonlocal made
        while True:
            made += 1
            yield {"text": "x" * 10_000}

    asking, answering = Asking(pair[0]), Answering(pair[1], endless)
    answering.open()
    asking.ask(question(1))
    before = -1
    async with asyncio.timeout(DEADLINE_S):
        while made != before or not made:
            before = made
            for _ in range(10):
                await asyncio.sleep(0)
    assert made < 1000
    more = made + 1
    assert len(await received(asking, more)) >= more  # it goes on as it is read
    answering.close()
    asking.close()


async def test_end_of_the_supervisor_ends_the_answers(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    asking, answering = Asking(pair[0]), Answering(pair[1], numbered)
    answering.open()
    asking.ask(question(1))
    asking.close()
    async with asyncio.timeout(DEADLINE_S):
        while pair[1].fileno() >= 0:
            await asyncio.sleep(0)
    answering.close()


def test_worker_that_reads_nothing_blocks_nobody(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    asking = Asking(pair[0])
    for number in range(100_000):
        asking.ask(question(number))
    assert not asking.is_over and asking.receive() == []


@pytest.mark.parametrize(
    "data",
    [b"x\n", b"[1]\n", b'["1", {}]\n', b"[1, 2]\n", b"{}\n", b"\xff\n", b"[" * 9000 + b"\n"],
)
def test_worker_that_answers_anything_else_is_not_asked_again(
    pair: tuple[socket.socket, socket.socket], data: bytes
) -> None:
    asking = Asking(pair[0])
    pair[1].sendall(data)
    assert asking.receive() == [] and asking.is_over and asking.is_garbled


def test_frame_without_an_end_is_bounded(pair: tuple[socket.socket, socket.socket]) -> None:
    asking = Asking(pair[0])
    pair[1].setblocking(False)
    while not asking.is_over:
        try:
            pair[1].send(b"x" * 10_000)
        except BrokenPipeError:
            break
        except BlockingIOError:
            pass
        assert asking.receive() == []
        assert len(asking._received) <= MAX_FRAME + (1 << 16)


def test_end_of_the_worker_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    asking = Asking(pair[0])
    pair[1].sendall(json.dumps([1, {"rows": []}]).encode() + b"\n")
    pair[1].close()
    assert asking.receive() == [(1, {"rows": []})]
    assert asking.receive() == [] and asking.is_over
    asking.ask(question(1))


async def test_long_answer_does_not_hold_up_the_next_question(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    async def answer(question: Question) -> AsyncGenerator[Frame, None]:
        while question.number == 1:
            yield {"text": "x" * 10_000}
        yield {}

    asking, answering = Asking(pair[0]), Answering(pair[1], answer)
    answering.open()
    asking.ask(question(1))
    frames = await received(asking, 1)
    asking.ask(question(2))
    async with asyncio.timeout(DEADLINE_S):
        while (2, {}) not in frames:
            frames = await received(asking, 1)
    answering.close()
    asking.close()
