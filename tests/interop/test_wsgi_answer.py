"""The answer of a WSGI application: pieces, `write`, `exc_info`, `close`, slow clients."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from support.requesting import request_of
from support.serving import DEADLINE_S, QUICK_S, peer_of
from support.wsgi import TEXT, Environ, answer_of, answering, ask, body_of, get, serving, until

from microweb.concurrency.threads import running_pools
from microweb.interop.wsgi_answer import (
    AHEAD_BYTES,
    AHEAD_PIECES,
    Answer,
    AnswerDropped,
    StartResponse,
)
from microweb.testing.misbehaving import Misbehaving

PIECE = b"x" * 65536


class Pieces:
    """An iterable of pieces that records its threads and its close."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.threads: set[int] = set()
        self.closed = threading.Event()
        self.made = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.threads.add(threading.get_ident())
            yield piece
            self.made += len(piece)

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        assert not self.closed.is_set()
        self.closed.set()


# --- pieces ---------------------------------------------------------------------------


async def test_a_list_is_sent_whole() -> None:
    answer = await answer_of(answering([b"a", b"", b"bc"]), get())
    assert b"\r\nContent-Length: 3\r\n" in answer
    assert body_of(answer) == b"abc"


async def test_a_generator_is_sent_as_it_yields() -> None:
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        assert go_on.wait(20)
        yield b"second"

    async with serving(answering(pieces())) as server, peer_of(server) as peer:
        await peer.send(get())
        start = await peer.read_until(b"first\r\n")
        assert b"\r\nTransfer-Encoding: chunked\r\n" in start
        go_on.set()
        assert body_of(start + await peer.read_all()) == b"firstsecond"


async def test_an_answer_of_the_declared_length_does_not_wait_for_the_end() -> None:
    go_on = threading.Event()

    class Slow(Pieces):
        def close(self) -> None:
            assert go_on.wait(20)
            super().close()

    pieces = Slow([b"abc"])
    app = answering(pieces, headers=[*TEXT, ("Content-Length", "3")])
    async with serving(app) as server:
        assert (await ask(server, get())).endswith(
            b"\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
        )
        assert not pieces.closed.is_set()
        go_on.set()
        await until(pieces.closed)


async def test_head_has_the_fields_of_get_and_no_content() -> None:
    app = answering([b"abc"], headers=[*TEXT, ("Content-Length", "3")])
    answer = await answer_of(app, get(method="HEAD"))
    assert b"\r\nContent-Length: 3\r\n" in answer
    assert body_of(answer) == b""


async def test_head_does_not_claim_the_length_zero() -> None:
    """An application may leave the body of HEAD out. GET would have one."""
    answer = await answer_of(answering([]), get(method="HEAD"))
    assert b"Content-Length" not in answer
    assert b"Content-Length: 0" in await answer_of(answering([]), get())


async def test_head_closes_a_stream() -> None:
    pieces = Pieces(iter(lambda: PIECE, b""))  # endless
    async with serving(answering(pieces)) as server:
        answer = await ask(server, get(method="HEAD"))
        assert answer.endswith(b"\r\n\r\n")
        await until(pieces.closed)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_a_status_without_content_has_none(status: str) -> None:
    answer = await answer_of(answering([], status, [("Content-Length", "0")]), get())
    assert answer.startswith(f"HTTP/1.1 {status[:3]} ".encode())
    assert body_of(answer) == b""


async def test_http_1_0_gets_a_stream_up_to_the_close() -> None:
    answer = await answer_of(answering(iter([b"ab", b"c"])), get(version="1.0"))
    assert b"Transfer-Encoding" not in answer
    assert answer.endswith(b"\r\n\r\nabc")


async def test_an_answer_without_a_type_is_of_octets() -> None:
    for pieces in ([b"a"], iter([b"a"])):
        answer = await answer_of(answering(pieces, headers=[]), get())
        assert b"\r\nContent-Type: application/octet-stream\r\n" in answer


# --- write ----------------------------------------------------------------------------


async def test_write_sends_before_the_pieces() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"a")
        write(b"")
        write(b"b")
        return [b"c"]

    async with serving(app) as server:
        assert body_of(await ask(server, get())) == b"abc"


async def test_write_waits_for_a_slow_client() -> None:
    made: list[int] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        for _ in range(200):
            write(PIECE)
            made.append(len(PIECE))
        return []

    async with serving(app) as server, peer_of(server) as peer:
        await peer.send(get())
        await peer.read_until(b"\r\n\r\n")
        assert sum(made) < 200 * len(PIECE)
        rest = await peer.read_all()
    assert sum(made) == 200 * len(PIECE)
    assert rest.endswith(b"\r\n0\r\n\r\n")


# --- start_response -------------------------------------------------------------------

ExcInfo = Any


async def failing(app: Callable[..., Iterable[bytes]], caplog: pytest.LogCaptureFixture) -> str:
    """Return the logged error of an application whose answer is a 500."""
    answer = await answer_of(app, get())
    assert answer.startswith(b"HTTP/1.1 500 ")
    (record,) = (each for each in caplog.records if each.levelno >= logging.ERROR)
    assert record.exc_info is not None
    return str(record.exc_info[1])


async def test_a_second_call_without_exc_info_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        start_response("200 OK", TEXT)
        return []

    assert "got a second one" in await failing(app, caplog)


async def test_an_error_before_the_first_piece_replaces_the_head() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT, ("X-First", "1")])
        try:
            raise KeyError("a")
        except KeyError:
            start_response("503 Service Unavailable", TEXT, sys.exc_info())  # type: ignore[arg-type]
        return [b"sorry"]

    async with serving(app) as server:
        answer = await ask(server, get())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"X-First" not in answer
    assert body_of(answer) == b"sorry"


async def test_an_error_after_the_first_piece_is_raised_again_and_cuts_the_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    go_on = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"begun"
        assert go_on.wait(20)
        try:
            raise KeyError("the cause")
        except KeyError:
            start_response("500 Error", TEXT, sys.exc_info())  # type: ignore[arg-type]
        yield b"never"

    async with serving(app) as server, peer_of(server) as peer:
        await peer.send(get())
        await peer.read_until(b"begun")
        go_on.set()
        assert await rest_of(peer) == b"\r\n"  # no last chunk
    (record,) = (each for each in caplog.records if each.levelno >= logging.ERROR)
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "'the cause'"


def none(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return []


def late(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return [b"x"]


def text(environ: Environ, start_response: StartResponse) -> Iterable[Any]:
    start_response("200 OK", TEXT)
    return "text"


def forged(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("X-A", "1\r\nX-B: 2")])
    return [b"x"]


def longer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "1")])
    return [b"ab"]


def shorter(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ab"]


def signed(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "+2")])
    return [b"ab"]


def nothing(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", TEXT)


@pytest.mark.parametrize(
    ("app", "told"),
    [
        (none, "expected a call of start_response"),
        (late, "expected a call of start_response"),
        (text, "expected bytes as a piece"),
        (forged, "without control characters"),
        (longer, "got more"),
        (shorter, "Content-Length '3' does not fit"),
        (signed, "Content-Length"),
        (nothing, "iterable"),
    ],
)
async def test_a_wrong_answer_is_a_500_and_an_error_in_the_log(
    app: Callable[..., Iterable[bytes]], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert told in await failing(app, caplog)


async def test_a_stream_that_ends_early_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"begun"
        assert go_on.wait(20)

    app = answering(pieces(), headers=[*TEXT, ("Content-Length", "9")])
    async with serving(app) as server, peer_of(server) as peer:
        await peer.send(get())
        await peer.read_until(b"begun")
        go_on.set()
        assert await rest_of(peer) == b""
    assert "got 5" in caplog.text


async def rest_of(peer: Misbehaving) -> bytes:
    """Return the bytes up to the end, which may be a reset."""
    got = b""
    with suppress(ConnectionError):
        while piece := await peer.receive():
            got += piece
    return got


# --- close ----------------------------------------------------------------------------


async def test_one_thread_makes_an_answer_and_closes_it() -> None:
    seen: list[Pieces] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        seen.append(Pieces([PIECE] * 100))
        seen[-1].threads.add(threading.get_ident())
        return seen[-1]

    async with serving(app) as server:
        for _ in range(4):
            assert len(body_of(await ask(server, get()))) == 100 * len(PIECE)
            await until(seen[-1].closed)
    for each in seen:
        assert len(each.threads) == 1
        assert threading.get_ident() not in each.threads


async def test_the_answer_is_closed_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    def failing_pieces() -> Iterator[bytes]:
        raise KeyError("first")
        yield b""

    pieces = Pieces(failing_pieces())
    assert await failing(answering(pieces), caplog) == "'first'"
    assert pieces.closed.is_set()


async def test_an_error_of_close_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    closed = threading.Event()

    class Bad(Pieces):
        def close(self) -> None:
            closed.set()
            raise KeyError("in close")

    answer = await answer_of(answering(Bad([b"abc"])), get())
    assert body_of(answer) == b"abc"
    assert "GET / failed after its answer was over" in caplog.text
    assert "in close" in caplog.text


# --- slow clients, and those that leave -----------------------------------------------


async def test_an_answer_up_to_a_mebibyte_needs_no_thread_for_a_slow_client() -> None:
    pieces = Pieces([b"x" * 1000] * (AHEAD_BYTES // 1000))
    async with serving(answering(pieces), is_checked=False) as server, peer_of(server) as peer:
        await peer.send(get())
        await until(pieces.closed)
        assert len(body_of(await peer.read_all())) == pieces.made


async def test_the_number_of_pieces_ahead_is_bounded() -> None:
    pieces = Pieces([b"x"] * (3 * AHEAD_PIECES))
    app = answering(pieces)

    async def ahead() -> int:
        answer = Answer(asyncio.get_running_loop(), request_of("/"))
        job = running_pools().application.run("test", partial(answer.run, app, {}))
        job.add_done_callback(answer.end)
        await answer.begin()
        async with asyncio.timeout(DEADLINE_S):
            while pieces.made < AHEAD_PIECES - 1:
                await asyncio.sleep(QUICK_S)
        made = pieces.made
        assert len(b"".join([piece async for piece in answer])) == 3 * AHEAD_PIECES
        await job
        return made

    assert await ahead() == AHEAD_PIECES - 1
    assert pieces.closed.is_set()
    running_pools().close()


async def test_a_larger_answer_waits_for_its_client_and_gives_its_place_back() -> None:
    """The only thread that may run answers the second client, while the first one waits."""
    large = Pieces([PIECE] * 1000)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return large if environ["PATH_INFO"] == "/large" else [b"small"]

    async with serving(app, threads=1) as server, peer_of(server) as slow:
        await slow.send(get("/large"))
        await slow.read_until(b"\r\n\r\n")
        assert body_of(await ask(server, get())) == b"small"
        assert not large.closed.is_set()
        rest = await slow.read_all()
    assert rest.endswith(b"0\r\n\r\n")
    assert large.made == 1000 * len(PIECE)


async def test_a_client_that_leaves_closes_its_answer() -> None:
    pieces = Pieces(iter(lambda: PIECE, b""))  # endless
    async with serving(answering(pieces)) as server:
        async with peer_of(server) as peer:
            await peer.send(get())
            await peer.read_until(b"\r\n\r\n")
            await peer.reset()
        await until(pieces.closed)
    assert len(pieces.threads) == 1


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    pieces = Pieces(iter(lambda: PIECE, b""))  # endless
    async with (
        serving(answering(pieces), write_timeout_s=0.3) as server,
        peer_of(server) as peer,
    ):
        await peer.send(get())
        await until(pieces.closed)


async def test_write_fails_if_the_client_has_left(caplog: pytest.LogCaptureFixture) -> None:
    failed = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        try:
            while True:
                write(PIECE)
        except AnswerDropped as error:
            assert isinstance(error, OSError)
            failed.set()
            raise

    async with serving(app, is_checked=False) as server:
        async with peer_of(server) as peer:
            await peer.send(get())
            await peer.read_until(b"\r\n\r\n")
            await peer.reset()
        await until(failed)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
