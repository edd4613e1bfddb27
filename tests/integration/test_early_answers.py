"""A client gets an answer that is sent before the end of its large upload.

Most clients read only after they have sent everything. `MICROWEB_UPLOADS=1` tries each client and
size, also slow ones, which takes minutes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest
from support.serving import (
    DEADLINE_S,
    QUICK_S,
    get,
    on_loopback,
    peer_of,
    post,
    statuses,
    until_none,
)

from microweb import App, Request, Response, WebSocket, abort
from microweb.server.phases import Phase
from microweb.server.server import Server

pytestmark = pytest.mark.usefixtures("nothing_is_logged")

MB = 1_000_000
SLOW = 2 * MB  # bytes a second
IS_SLOW = [False]  # True: clients send at that speed
IS_LONG = os.environ.get("MICROWEB_UPLOADS") == "1"


@pytest.fixture
def app() -> App:
    app = App()

    @app.post("/416")
    async def refuse() -> None:
        abort(416, "no such range")

    @app.post("/413", max_body=1000)
    async def limited(request: Request) -> None:
        await request.body()

    @app.post("/large")
    async def large() -> Response:
        return Response(bytes(8 * MB))

    return app


# --- clients: each returns the status and the length of the content


async def by_httpx(url: str, pieces: Iterator[bytes], size: int) -> tuple[int, int]:
    pace = Pace()

    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(pace.pause(len(piece)))

    async with httpx.AsyncClient(timeout=120) as client:
        headers = {"Content-Length": str(size), "Content-Type": "application/json"}
        answer = await client.post(url, content=content(), headers=headers)
    return answer.status_code, len(answer.content)


async def by_requests(url: str, pieces: Iterator[bytes], size: int) -> tuple[int, int]:
    requests = pytest.importorskip("requests")

    pace = Pace()

    def slowly() -> Iterator[bytes]:
        for piece in pieces:
            yield piece
            time.sleep(pace.pause(len(piece)))

    def post() -> tuple[int, int]:
        headers = {"Content-Type": "application/json"}
        data = slowly() if IS_SLOW[0] else b"".join(pieces)
        answer = requests.post(url, data=data, headers=headers, timeout=120)
        return answer.status_code, len(answer.content)

    return await asyncio.to_thread(post)


async def by_aiohttp(url: str, pieces: Iterator[bytes], size: int) -> tuple[int, int]:
    aiohttp = pytest.importorskip("aiohttp")

    pace = Pace()

    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            await asyncio.sleep(pace.pause(len(piece)))

    headers = {"Content-Length": str(size), "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=content(), headers=headers) as answer,
    ):
        return answer.status, len(await answer.read())


async def by_curl(url: str, pieces: Iterator[bytes], size: int) -> tuple[int, int]:
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    speed = ["--limit-rate", str(SLOW)] if IS_SLOW[0] else []
    curl = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--data-binary", "@-", "--header", "Expect:",
        "--header", "Content-Type: application/json", "--write-out", "\n%{http_code}", *speed, url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await curl.communicate(b"".join(pieces))
    assert not error, error
    content, _, status = out.rpartition(b"\n")
    return int(status), len(content)


class Pace:
    """The pauses after the pieces of an upload, which give it its speed."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._sent = 0

    def pause(self, size: int) -> float:
        self._sent += size
        return max(0.0, self._begun + self._sent / SLOW - time.monotonic()) if IS_SLOW[0] else 0.0


def pieces_of(size: int) -> Iterator[bytes]:
    for start in range(0, size, 64_000):
        yield bytes(min(64_000, size - start))


Client = Callable[[str, Iterator[bytes], int], Coroutine[Any, Any, tuple[int, int]]]
CLIENTS: dict[str, Client] = {"httpx": by_httpx, "curl": by_curl}
MORE_CLIENTS: dict[str, Client] = {**CLIENTS, "requests": by_requests, "aiohttp": by_aiohttp}


@pytest.mark.parametrize("target", ["/416", "/413"])
@pytest.mark.parametrize("size", [1 * MB, 5 * MB])
@pytest.mark.parametrize("client", CLIENTS)
async def test_early_answer_arrives(app: App, client: str, size: int, target: str) -> None:
    async with on_loopback(app) as server:
        for _ in range(3):
            status, _ = await CLIENTS[client](server.url + target, pieces_of(size), size)
            assert status == int(target[1:])
        await until_none(server.connections)


async def test_large_early_answer_arrives(app: App) -> None:
    async with on_loopback(app) as server:
        answer = await by_httpx(f"{server.url}/large", pieces_of(20 * MB), 20 * MB)
        assert answer == (200, 8 * MB)


@pytest.mark.skipif(not IS_LONG, reason="takes minutes: MICROWEB_UPLOADS=1")
@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("size", [1 * MB, 5 * MB, 50 * MB])
@pytest.mark.parametrize("client", MORE_CLIENTS)
async def test_each_early_answer_arrives(
    app: App, client: str, size: int, is_slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.IS_SLOW", [is_slow])
    async with on_loopback(app) as server:
        for target in ("/416", "/413") if is_slow else ("/416", "/413") * 5:
            status, _ = await MORE_CLIENTS[client](server.url + target, pieces_of(size), size)
            assert status == int(target[1:])


# --- the time and the bytes that the server reads after an answer


async def until_lingering(server: Server) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not any(c.network.phase is Phase.LINGER for c in server.connections):
            await asyncio.sleep(QUICK_S)


@pytest.mark.parametrize("framing", ["Content-Length: 8000004", "Transfer-Encoding: chunked"])
async def test_connection_ends_with_the_body_that_nobody_read(app: App, framing: str) -> None:
    async with on_loopback(app) as server, peer_of(server) as peer:
        is_chunked = framing.startswith("Transfer")
        await peer.send(post("/416", b"7a1200\r\n" if is_chunked else b"more", framing))
        await until_lingering(server)
        for piece in pieces_of(8 * MB):
            await peer.send(piece)
        if is_chunked:
            await peer.send(b"\r\n0\r\n\r\n")
        await until_none(server.connections)  # though this side is open
        assert statuses(await peer.read_all()) == [416]


async def test_body_that_stalled_is_answered_and_discarded(app: App) -> None:
    @app.post("/read")
    async def read(request: Request) -> None:
        await request.body()

    async with on_loopback(app, body_timeout_s=0.05) as server, peer_of(server) as peer:
        await peer.send(post("/read", b"more", "Content-Length: 4000004"))
        await until_lingering(server)
        for piece in pieces_of(4 * MB):
            await peer.send(piece)
        await peer.half_close()
        assert statuses(await peer.read_all()) == [408]


async def test_close_code_of_a_message_that_is_too_large_arrives(app: App) -> None:
    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        async for _ in socket:
            raise AssertionError("never reached")

    handshake = get(
        "/socket",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with on_loopback(app, max_message=1000) as server, peer_of(server) as peer:
        await peer.send(handshake)
        assert statuses(await peer.read_until(b"\r\n\r\n")) == [101]
        await peer.send(b"\x82\xff" + (8 * MB).to_bytes(8, "big") + bytes(4))
        for piece in pieces_of(8 * MB):
            await peer.send(piece)
        await peer.half_close()
        answer = await peer.read_all()
        assert answer[0] == 0x88 and answer[2:4] == (1009).to_bytes(2, "big")
