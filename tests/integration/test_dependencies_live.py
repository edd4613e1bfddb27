"""Dependencies on a real socket: clients that reset, streams that are cut, WebSockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from support.serving import DEADLINE_S, get, on_loopback, peer_of

from microweb import App, HTTPError, Request, WebSocket
from microweb.testing.websocket import SocketClosed
from microweb.typed import Depends, Query

log: list[str] = []
app_events: dict[str, asyncio.Event] = {}


async def session(request: Request) -> AsyncIterator[str]:
    log.append("open")
    try:
        yield "session"
        if "fail" in request.query:
            raise OSError("commit failed")
        log.append("commit")
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    finally:
        await asyncio.sleep(0.01)
        log.append("closed")
        app_events["closed"].set()


Session = Annotated[str, Depends(session)]

app = App()


@app.get("/wait")
async def wait(session: Session) -> str:
    app_events["entered"].set()
    await asyncio.Event().wait()
    return session


@app.get("/stream")
async def stream(session: Session) -> AsyncIterator[str]:
    yield "first"
    app_events["entered"].set()
    await asyncio.Event().wait()


@app.get("/rows")
async def rows(session: Session) -> AsyncIterator[str]:
    yield "first"
    await asyncio.sleep(0)
    yield "second"


async def limit(limit: Query[int]) -> int:
    return limit


async def user(token: Query[str | None] = None) -> str:
    if token == "wrong":
        raise HTTPError(401)
    return "ada"


@app.websocket("/talk")
async def talk(
    socket: WebSocket,
    session: Session,
    user: Annotated[str, Depends(user)],
    limit: Annotated[int, Depends(limit)],
) -> None:
    log.append("talk")
    await socket.send(f"{user} {limit}")


@pytest.fixture(autouse=True)
def empty_log() -> None:
    log.clear()
    app_events.update(entered=asyncio.Event(), closed=asyncio.Event())


@pytest.mark.parametrize("path", ["/wait", "/stream"])
async def test_a_reset_is_thrown_in_once(path: str) -> None:
    async with on_loopback(app, tick_s=0.05) as server, peer_of(server) as peer:
        await peer.send(get(path))
        async with asyncio.timeout(DEADLINE_S):
            await app_events["entered"].wait()
            await peer.reset()
            await app_events["closed"].wait()
    assert log == ["open", "CancelledError", "closed"]


async def test_the_last_chunk_comes_after_a_commit_only() -> None:
    async with on_loopback(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/rows")).text == "firstsecond"
        assert log == ["open", "commit", "closed"]
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/rows?fail=1")
    assert log[3:] == ["open", "OSError", "closed"]


async def test_a_websocket_keeps_its_dependencies() -> None:
    async with app.test_client() as client, client.websocket("/talk?limit=3") as socket:
        assert await socket.receive() == "ada 3"
    assert log == ["open", "talk", "commit", "closed"]


@pytest.mark.parametrize(
    ("query", "status", "expected"),
    [("?limit=x", 400, []), ("?limit=3&token=wrong", 401, ["open", "HTTPError", "closed"])],
)
async def test_a_fault_answers_the_handshake(query: str, status: int, expected: list[str]) -> None:
    fields = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with app.test_client() as client:
        assert (await client.get(f"/talk{query}", headers=fields)).status_code == status
    assert log == expected


async def test_an_error_of_leaving_a_websocket_closes_it_with_1011() -> None:
    async with (
        app.test_client(raise_errors=False) as client,
        client.websocket("/talk?limit=3&fail=1") as socket,
    ):
        assert await socket.receive() == "ada 3"
        with pytest.raises(SocketClosed) as caught:
            await socket.receive()
    assert caught.value.code == 1011
    assert log == ["open", "talk", "OSError", "closed"]
