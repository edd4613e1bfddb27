"""Files that the kernel sends, on a real socket."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.serving import GET, in_memory, on_loopback, peer_of, read_all, until_none

from microweb.app import App
from microweb.errors import ClientDisconnected
from microweb.request import Request
from microweb.response import Response
from microweb.server.connection import Connection
from microweb.server.sendfile import send_file

pytestmark = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="needs os.sendfile")

CONTENT = bytes(range(256)) * 32 * 1024  # 8 MiB: more than the socket buffers hold


class Sender:
    """An endpoint that sends a file by the kernel and stores the results in `results`."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.results: list[int | BaseException] = []

    async def __call__(self, request: Request) -> Response:
        connection = request.transport
        assert isinstance(connection, Connection)
        with self.path.open("rb") as file:
            try:
                sent = await send_file(connection.network, file, self.offset, len(CONTENT))
            except BaseException as error:
                self.results.append(error)
                raise
        self.results.append(sent)
        return Response("behind it")


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    (tmp_path / "file").write_bytes(CONTENT)
    return Sender(tmp_path / "file")


def app_of(sender: Sender) -> App:
    app = App()

    @app.get("/", on_disconnect="finish")
    async def send(request: Request) -> Response:
        return await sender(request)

    return app


@pytest.mark.parametrize("offset", [0, 100_001])
async def test_kernel_sends_up_to_the_end_of_the_file(sender: Sender, offset: int) -> None:
    sender.offset = offset
    async with on_loopback(app_of(sender)) as server, peer_of(server) as peer:
        await peer.send(GET)
        received = await peer.read_until(b"behind it")
    content, _, _ = received.partition(b"HTTP/1.1 200 OK")
    assert content == CONTENT[offset:]
    assert sender.results == [len(CONTENT) - offset]


async def test_connection_without_a_socket_is_not_for_the_kernel(sender: Sender) -> None:
    async with in_memory(sender.__call__) as house:
        end = house.connect()
        await end.write(GET)
        end.write_eof()
        assert (await read_all(end)).endswith(b"behind it")
    assert sender.results == [0]


async def test_file_that_the_kernel_refuses_is_not_begun(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: int) -> int:
        raise OSError(errno.EINVAL, "not such a file")

    monkeypatch.setattr(os, "sendfile", refuse)
    async with on_loopback(app_of(sender)) as server, peer_of(server) as peer:
        await peer.send(GET)
        assert (await peer.read_until(b"behind it")).startswith(b"HTTP/1.1 200")
    assert sender.results == [0]


async def test_disk_that_fails_is_no_client_that_left(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: int) -> int:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(os, "sendfile", fail)
    async with on_loopback(app_of(sender)) as server, peer_of(server) as peer:
        await peer.send(GET)
        await peer.read_until(b"Error")
    (error,) = sender.results
    assert isinstance(error, OSError) and error.errno == errno.EIO


async def test_peer_that_is_reset_inside_a_file_has_left(sender: Sender) -> None:
    async with on_loopback(app_of(sender)) as server:
        async with peer_of(server) as peer:
            await peer.send(GET)
            await peer.receive()
            await peer.reset()
        await until_none(server.connections)
    (error,) = sender.results
    assert isinstance(error, ClientDisconnected)
