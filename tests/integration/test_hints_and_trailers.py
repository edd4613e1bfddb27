"""Early hints and trailers on the network: raw bytes, curl, httpx, and middleware around them."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator
from copy import copy

import httpx
import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of, post, statuses
from support.websocketing import handshake

from microweb import App, Request, Response, WebSocket, from_thread
from microweb.middleware.compression import Compression
from microweb.request import Handler
from microweb.server.server import Server
from microweb.testing import live_server

pytestmark = pytest.mark.usefixtures("nothing_is_logged")

STYLE = "</style.css>; rel=preload; as=style"
HINTS = f"HTTP/1.1 103 Early Hints\r\nLink: {STYLE}\r\n\r\n".encode()
ROWS = [f"{number}\n" for number in range(2000)]
DIGEST = b64encode(hashlib.sha256("".join(ROWS).encode()).digest()).decode()


def make_app() -> App:
    app = App()

    @app.get("/page")
    async def page(request: Request) -> str:
        await request.early_hints([STYLE])
        return "the page"

    @app.get("/thread")
    def page_in_a_thread(request: Request) -> str:
        from_thread(request.early_hints([STYLE]))
        return "the page"

    @app.post("/upload")
    async def upload(request: Request) -> str:
        await request.early_hints([STYLE])
        return await request.text()

    @app.get("/rows")
    async def rows() -> Response:
        async def pieces() -> AsyncIterator[str]:
            digest = hashlib.sha256()
            for row in ROWS:
                digest.update(row.encode())
                yield row
            value = b64encode(digest.digest()).decode()
            response.trailers["Content-Digest"] = f"sha-256=:{value}:"

        headers = {"Trailer": "Content-Digest"}
        response = Response.stream(pieces(), headers=headers, content_type="text/csv")
        return response

    return app


async def fetch(server: Server, data: bytes) -> bytes:
    """Send `data`, and return all bytes of the server up to its close."""
    async with peer_of(server) as peer:
        await peer.send(data)  # no half-close, which may end a stream: see `check_peer`
        return await peer.read_all()


@pytest.mark.parametrize("path", ["/page", "/thread"])
async def test_hints_precede_the_answer_on_a_socket(path: str) -> None:
    async with on_loopback(make_app()) as server:
        for field in ("Accept: */*", "Connection: close"):
            asked = get(path, field) + get(path, "Connection: close")
            answers = await fetch(server, asked if "Accept" in field else get(path, field))
            expected = [103, 200] * (2 if "Accept" in field else 1)
            assert statuses(answers) == expected
            assert answers.startswith(HINTS)
        assert statuses(await fetch(server, get(path, version="1.0"))) == [200]


async def test_upload_that_expects_100_continue_gets_both() -> None:
    async with on_loopback(make_app()) as server, peer_of(server) as peer:
        fields = ("Content-Length: 3", "Expect: 100-continue", "Connection: close")
        await peer.send(post("/upload", b"", *fields))
        first = b""
        async with asyncio.timeout(DEADLINE_S):
            while b"100 Continue\r\n\r\n" not in first:
                first += await peer.receive()
        assert statuses(first) == [103, 100]
        await peer.drip(b"abc")
        answer = await peer.read_all()
        assert statuses(answer) == [200]
        assert answer.endswith(b"\r\n\r\nabc")


async def test_hints_never_reach_the_frames_of_a_websocket() -> None:
    app = make_app()

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.request.early_hints([STYLE])
        await socket.send("one")
        await socket.request.early_hints([STYLE])
        await socket.send("two")

    async with on_loopback(app) as server, peer_of(server) as peer:
        await peer.send(handshake())
        received = b""
        async with asyncio.timeout(DEADLINE_S):
            while not received.endswith(b"\x88\x02\x03\xe8"):
                received += await peer.receive()
    assert statuses(received) == [103, 101]
    assert received.endswith(b"\r\n\r\n\x81\x03one\x81\x03two\x88\x02\x03\xe8")


async def test_request_byte_by_byte_gets_its_hints_and_trailers() -> None:
    async with on_loopback(make_app()) as server, peer_of(server) as peer:
        await peer.drip(get("/page") + get("/rows", "Connection: close"))
        answers = await peer.read_all()
    assert statuses(answers) == [103, 200, 200]
    assert answers.endswith(f"0\r\nContent-Digest: sha-256=:{DIGEST}:\r\n\r\n".encode())


@pytest.mark.parametrize(
    ("asked", "has_trailers"),
    [
        (get("/rows", "Connection: close"), True),
        (get("/rows", "Connection: close", "TE: trailers"), True),
        (get("/rows", version="1.0"), False),
        (get("/rows", "Connection: close").replace(b"GET", b"HEAD"), False),
    ],
    ids=["close", "te", "1.0", "HEAD"],
)
async def test_trailers_on_a_socket(asked: bytes, has_trailers: bool) -> None:
    async with on_loopback(make_app()) as server:
        head, _, content = (await fetch(server, asked)).partition(b"\r\n\r\n")
    assert content.count(b"Content-Digest") == has_trailers
    assert (b"Trailer: Content-Digest" in head) == (b"HTTP/1.0" not in asked)
    assert (content == b"") == asked.startswith(b"HEAD")
    if b"HTTP/1.0" in asked:
        assert content == "".join(ROWS).encode()


# --- clients


async def by_curl(url: str) -> bytes:
    curl = await asyncio.create_subprocess_exec(
        "curl", "-qsSi", "--max-time", "20", url, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    out, _ = await curl.communicate()
    assert curl.returncode == 0
    return out


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_shows_hints_and_trailers() -> None:
    with live_server(make_app()) as server:
        page = await by_curl(f"{server.url}/page")
        assert statuses(page) == [103, 200]
        assert page.endswith(b"the page")
        rows = await by_curl(f"{server.url}/rows")
        assert f"Content-Digest: sha-256=:{DIGEST}:".encode() in rows


async def test_httpx_skips_both_on_a_kept_connection() -> None:
    with live_server(make_app()) as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            for _ in range(3):
                page = await client.get("/page")
                assert (page.status_code, page.text) == (200, "the page")
                rows = await client.get("/rows")
                assert rows.text == "".join(ROWS)
                assert "content-digest" not in rows.headers


async def test_test_client_skips_both_and_shows_them_raw() -> None:
    async with make_app().test_client() as client:
        for _ in range(3):
            assert (await client.get("/page")).text == "the page"
            assert (await client.get("/rows")).text == "".join(ROWS)
        received = await client.raw(get("/page", "Connection: close"))
        assert received.startswith(HINTS)
        received = await client.raw(get("/rows", "Connection: close"))
        assert received.endswith(f"0\r\nContent-Digest: sha-256=:{DIGEST}:\r\n\r\n".encode())


# --- middleware


async def test_middleware_that_copies_or_wraps_keeps_hints_and_trailers() -> None:
    app = make_app()

    @app.middleware
    async def copying(request: Request, call_next: Handler) -> Response:
        await request.early_hints(["</outer>"])
        response = copy(await call_next(request))
        response.headers["X-Copied"] = "yes"
        if hasattr(response, "trailers"):
            response.trailers["X-Outer"] = "1"
        return response

    @app.middleware
    async def upper(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        if hasattr(response, "pieces"):
            response.pieces = uppercase(response.pieces)
        return response

    async with on_loopback(app) as server:
        page = await fetch(server, get("/page", "Connection: close"))
        assert page.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </outer>\r\n\r\n" + HINTS)
        assert b"X-Copied: yes" in page
        rows = await fetch(server, get("/rows", "Connection: close"))
    assert statuses(rows) == [103, 200]
    assert b"Trailer: Content-Digest, X-Outer\r\n" in rows
    ending = f"0\r\nX-Outer: 1\r\nContent-Digest: sha-256=:{DIGEST}:\r\n\r\n"
    assert rows.endswith(ending.encode())


async def uppercase(pieces: AsyncIterator[str | bytes]) -> AsyncIterator[str]:
    async for piece in pieces:
        yield str(piece).upper()


async def test_stream_with_a_digest_behind_it_is_not_compressed() -> None:
    app = make_app()
    app.use(Compression(min_bytes=1))

    @app.get("/counted")
    async def counted() -> Response:
        async def pieces() -> AsyncIterator[str]:
            yield "a" * 1000
            response.trailers["X-Count"] = "1"

        response = Response.stream(pieces(), headers={"Trailer": "X-Count"})
        return response

    async with on_loopback(app) as server:
        asked = ("Accept-Encoding: gzip", "Connection: close")
        assert b"Content-Encoding" not in await fetch(server, get("/rows", *asked))
        answer = await fetch(server, get("/counted", *asked))
    assert b"Content-Encoding: gzip" in answer
    assert answer.endswith(b"0\r\nX-Count: 1\r\n\r\n")
