"""`wsgi.input`: in memory, or read from the client by a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from support.requesting import FakeBody, request_of
from support.serving import peer_of
from support.wsgi import TEXT, Environ, ask, body_of, chunked, get, post, serving, until

from microweb.errors import ContentTooLarge
from microweb.interop.wsgi_answer import StartResponse, WSGIApplication
from microweb.interop.wsgi_input import AHEAD_BYTES, read_ahead

LARGE = bytes(range(256)) * 5000  # 1.25 MiB


def reading(read: Callable[[Any], object]) -> WSGIApplication:
    """Return an application that answers with the value of `read(wsgi.input)`."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        value = read(environ["wsgi.input"])
        start_response("200 OK", TEXT)
        return [value if isinstance(value, bytes) else repr(value).encode()]

    return app


async def read_by(read: Callable[[Any], object], raw: bytes) -> bytes:
    async with serving(reading(read)) as server:
        return body_of(await ask(server, raw))


@pytest.mark.parametrize("make", [post, chunked])
@pytest.mark.parametrize("body", [b"", b"a\nbc\n\nd", LARGE], ids=len)
async def test_the_whole_body_is_read(body: bytes, make: Callable[[bytes], bytes]) -> None:
    assert await read_by(lambda file: file.read(2 * len(LARGE)), make(body)) == body


async def test_a_read_past_the_end_is_empty() -> None:
    for body in (b"abc", LARGE):
        told = await read_by(
            lambda file: [len(file.read(10**8)), file.read(1), file.readline()], chunked(body)
        )
        assert told == b"[%d, b'', b'']" % len(body)


async def test_lines_are_read() -> None:
    for start in (b"", LARGE):
        raw = chunked(start + b"\na\nbc\n\nd")
        told = await read_by(lambda file: [*file][-4:], raw)
        assert told == b"[b'a\\n', b'bc\\n', b'\\n', b'd']"


async def test_without_a_body_the_file_is_empty() -> None:
    assert await read_by(lambda file: file.read(10), get()) == b""


async def test_a_small_body_is_read_before_the_application() -> None:
    request = request_of("/", {"Host": "a"}, FakeBody([b"ab", b"c"]), "POST")
    source = await read_ahead(request)
    assert source.length == 3
    assert not source.waits_for_peer
    assert source.stream.read() == b"abc"


async def test_no_more_than_a_mebibyte_is_read_before_the_application() -> None:
    body = FakeBody([b"x" * AHEAD_BYTES, b"not read"])
    source = await read_ahead(request_of("/", {"Host": "a"}, body, "POST"))
    assert source.length is None
    assert source.waits_for_peer
    assert await body.read(None) == b"not read"


async def test_an_error_of_the_body_is_raised_before_the_application_is_called() -> None:
    body = FakeBody([b"x", ContentTooLarge("no")])
    with pytest.raises(ContentTooLarge):
        await read_ahead(request_of("/", {"Host": "a"}, body, "POST"))


# --- 100 Continue ---------------------------------------------------------------------

EXPECTING = get("/", "Content-Length: 5", "Expect: 100-continue", method="POST")


async def test_the_first_read_asks_for_the_body() -> None:
    async with serving(reading(lambda file: file.read(10))) as server, peer_of(server) as peer:
        await peer.send(EXPECTING)
        assert await peer.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(b"12345")
        assert body_of(await peer.read_all()) == b"12345"


async def test_an_application_that_does_not_read_asks_for_no_body() -> None:
    async with serving(reading(lambda file: b"no, thanks")) as server:
        answer = await ask(server, EXPECTING)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert body_of(answer) == b"no, thanks"


# --- clients that fail ----------------------------------------------------------------


async def test_a_body_past_the_limit_is_a_413_whatever_the_application_answers() -> None:
    begun = threading.Event()
    failed: list[BaseException] = []

    def read(file: Any) -> object:
        begun.set()
        try:
            return file.read(10**8)
        except OSError as error:
            failed.append(error)
            return "an answer to the wrong question"

    async with (
        serving(reading(read), max_body=len(LARGE)) as server,
        peer_of(server) as peer,
    ):
        start = b"%x\r\n%b\r\n" % (len(LARGE), LARGE)
        await peer.send(post(start, "Transfer-Encoding: chunked"))
        await until(begun)
        await peer.send(b"1\r\n!\r\n")
        assert (await peer.read_all()).startswith(b"HTTP/1.1 413 ")
    assert "can't be read" in str(failed[0])


async def test_a_declared_length_past_the_limit_calls_no_application() -> None:
    called: list[object] = []
    async with serving(reading(called.append), max_body=10) as server:
        answer = await ask(server, post(b"x" * 11))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert not called


async def test_a_client_that_leaves_in_the_body_ends_the_read() -> None:
    begun, ended = threading.Event(), threading.Event()

    def read(file: Any) -> object:
        begun.set()
        try:
            return file.read(10**8)
        except OSError:
            ended.set()
            raise

    async with serving(reading(read)) as server:
        async with peer_of(server) as peer:
            await peer.send(post(LARGE, f"Content-Length: {len(LARGE) + 1}"))
            await until(begun)
            await peer.reset()
        await until(ended)


async def test_a_client_that_leaves_in_the_first_part_calls_no_application() -> None:
    called: list[object] = []
    async with serving(reading(called.append)) as server, peer_of(server) as peer:
        await peer.send(post(b"abc", "Content-Length: 10"))
        await peer.half_close()
        assert await peer.read_all() == b""
    assert not called


async def test_a_slow_body_ends_with_its_deadline() -> None:
    def read(file: Any) -> object:
        return file.read(10**8)

    async with serving(reading(read), body_timeout_s=0.2) as server, peer_of(server) as peer:
        await peer.send(post(LARGE, f"Content-Length: {len(LARGE) + 1}"))
        assert (await peer.read_all()).startswith(b"HTTP/1.1 408 ")


async def test_a_slow_upload_occupies_no_thread() -> None:
    """The only thread that may run answers the second client, while the first one waits."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        data = environ["wsgi.input"].read(10**8)
        start_response("200 OK", TEXT)
        return [b"%d" % len(data)]

    for sent in (b"abc", LARGE):
        async with (
            serving(app, threads=1) as server,
            peer_of(server) as slow,
        ):
            await slow.send(post(sent, f"Content-Length: {len(sent) + 1}"))
            assert body_of(await ask(server, post(b"12345"))) == b"5"
            await slow.send(b"d")
            assert body_of(await slow.read_all()) == b"%d" % (len(sent) + 1)


async def test_a_stop_during_a_body_logs_no_error(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended = threading.Event(), threading.Event()

    def read(file: Any) -> object:
        begun.set()
        try:
            return file.read(10**8)
        finally:
            ended.set()

    async with serving(reading(read), grace_s=0.1) as server, peer_of(server) as peer:
        await peer.send(post(LARGE, f"Content-Length: {len(LARGE) + 1}"))
        await until(begun)
        await server.stop(silence_s=0.0)
        await until(ended)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
