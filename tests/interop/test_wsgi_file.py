"""`wsgi.file_wrapper`: files that the kernel sends, and others."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support import over_tls
from support.serving import DEADLINE_S, QUICK_S, peer_of
from support.wsgi import TEXT, Environ, ask, body_of, get, serving

from microweb.interop.wsgi_answer import StartResponse, WSGIApplication
from microweb.interop.wsgi_file import FileWrapper
from microweb.server import answering as answering_module

LARGE = os.urandom(1024) * 3000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


def sending(file: Any, *fields: tuple[str, str]) -> WSGIApplication:
    """Return an application that answers with a file."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT, *fields])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 4096)
        return wrapped

    return app


async def sent(file: Any, *fields: tuple[str, str], method: str = "GET") -> bytes:
    async with serving(sending(file, *fields), is_checked=False) as server:
        return await ask(server, get(method=method))


@pytest.mark.skipif(over_tls.IS_ON, reason="the kernel does not encrypt")
async def test_the_kernel_sends_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    send_file = answering_module.AnswerStream.send_file

    async def count(self: Any, file: Any, offset: int, size: int) -> int:
        counts.append(await send_file(self, file, offset, size))
        return counts[-1]

    monkeypatch.setattr(answering_module.AnswerStream, "send_file", count)
    answer = await sent(path.open("rb"))
    assert f"\r\nContent-Length: {len(LARGE)}\r\n".encode() in answer
    assert body_of(answer) == LARGE
    assert sum(counts) == len(LARGE)


async def test_the_fields_are_those_of_the_application(path: Path) -> None:
    """No ETag, no ranges: the framework does that."""
    answer = await sent(path.open("rb"))
    head = answer.partition(b"\r\n\r\n")[0].decode()
    names = {line.partition(":")[0] for line in head.split("\r\n")[1:]}
    assert names == {"Date", "Content-Type", "Content-Length", "Connection"}


async def test_a_file_is_sent_from_its_position(path: Path) -> None:
    file = path.open("rb")
    file.seek(1000)
    assert body_of(await sent(file)) == LARGE[1000:]
    file = path.open("rb")
    file.read(10)  # the descriptor is further: the file reads ahead
    assert body_of(await sent(file)) == LARGE[10:]
    file = path.open("rb")
    file.seek(len(LARGE) + 5)
    assert body_of(await sent(file)) == b""


@pytest.mark.parametrize("length", [0, 100, 70_000, 2_000_000])
async def test_a_content_length_ends_the_file_earlier(path: Path, length: int) -> None:
    answer = await sent(path.open("rb"), ("Content-Length", str(length)))
    assert body_of(answer) == LARGE[:length]


async def test_head_sends_no_content(path: Path) -> None:
    file = path.open("rb")
    answer = await sent(file, method="HEAD")
    assert f"\r\nContent-Length: {len(LARGE)}\r\n".encode() in answer
    assert body_of(answer) == b""
    assert file.closed


@pytest.mark.parametrize("content", [b"", b"small", LARGE], ids=len)
async def test_other_files_are_read(content: bytes, tmp_path: Path) -> None:
    assert body_of(await sent(io.BytesIO(content))) == content
    compressed = tmp_path / "a.gz"
    compressed.write_bytes(gzip.compress(content))
    with gzip.open(compressed) as file:  # its descriptor has other bytes
        assert body_of(await sent(file)) == content
    reading, writing = os.pipe()
    writer = threading.Thread(target=lambda: write(writing, content))
    writer.start()
    with open(reading, "rb") as pipe:
        assert body_of(await sent(pipe)) == content
    writer.join()


def write(descriptor: int, content: bytes) -> None:
    with open(descriptor, "wb") as file:
        file.write(content)


def test_a_temporary_file_is_sent_by_the_kernel() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"abc")
        file.seek(1)
        opened = FileWrapper(file).opened()
        assert opened is not None
        assert (opened[0].size, opened[1]) == (3, 1)


def test_the_kernel_sends_no_file_that_is_decoded(path: Path) -> None:
    class Decoding(io.FileIO):
        pass

    with gzip.open(path) as packed, Decoding(path) as decoding:
        for file in (packed, decoding, io.BytesIO()):
            assert FileWrapper(file).opened() is None  # type: ignore[arg-type]


def test_the_wrapper_has_the_close_of_its_file(path: Path) -> None:
    class Source:
        def read(self, size: int, /) -> bytes:
            return b""

    assert not hasattr(FileWrapper(Source()), "close")
    file = path.open("rb")
    wrapper = FileWrapper(file, 4096)
    assert b"".join(wrapper) == LARGE
    wrapper.close()
    assert file.closed


async def test_the_file_is_closed_while_the_client_is_still_reading(path: Path) -> None:
    """So a slow client occupies no thread."""
    path.write_bytes(LARGE * 5)
    file = path.open("rb")
    async with serving(sending(file), is_checked=False) as server, peer_of(server) as slow:
        await slow.send(get())
        async with asyncio.timeout(DEADLINE_S):
            while not file.closed:
                await asyncio.sleep(QUICK_S)
        assert body_of(await slow.read_all()) == LARGE * 5
