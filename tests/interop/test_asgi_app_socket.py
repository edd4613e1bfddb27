"""WebSockets under another ASGI server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.asgi import Exchanged, answer_in, socket_scope

from microweb import App, HTTPError, WebSocket
from microweb.errors import ClientDisconnected
from microweb.interop.asgi_app_socket import _client_frame, _frames_in
from microweb.websocket.frames import encode_frame

CONNECT = {"type": "websocket.connect"}
GONE = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}
ACCEPTED = {"type": "websocket.accept", "subprotocol": None, "headers": []}


def text(value: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": value}


def sent_text(value: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": value}


def closed(code: int, reason: str = "") -> dict[str, Any]:
    return {"type": "websocket.close", "code": code, "reason": reason}


def serving(endpoint: Callable[[WebSocket], Awaitable[object]], **options: Any) -> Any:
    app = App()
    app.websocket("/")(endpoint)
    return app.asgi(**options)


async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


async def test_messages_both_ways() -> None:
    exchanged = Exchanged(serving(echo), socket_scope())
    exchanged.put(CONNECT, text("é"), {"type": "websocket.receive", "bytes": b"\0\xff"})
    large = "x" * 70_000
    exchanged.put(text("y" * 200), text(large), text(""))
    sent = await exchanged.sent_within(6)
    exchanged.put(GONE)
    assert await exchanged.end() == sent
    assert sent == [
        ACCEPTED,
        sent_text("é"),
        {"type": "websocket.send", "bytes": b"\0\xff"},
        sent_text("y" * 200),
        sent_text(large),
        sent_text(""),
    ]


@pytest.mark.parametrize(
    ("last", "code", "reason"),
    [
        (GONE, 1001, "bye"),
        ({"type": "websocket.disconnect", "code": 1006}, 1006, ""),
        ({"type": "websocket.disconnect", "code": 1005}, 1005, ""),
        ({"type": "websocket.disconnect"}, 1005, ""),
    ],
)
async def test_the_client_closes(last: dict[str, Any], code: int, reason: str) -> None:
    seen: list[object] = []

    async def endpoint(socket: WebSocket) -> None:
        try:
            while True:
                seen.append(await socket.receive())
        except ClientDisconnected:
            seen.append((socket.close_code, socket.close_reason))

    exchanged = Exchanged(serving(endpoint), socket_scope())
    exchanged.put(CONNECT, text("a"))
    await exchanged.sent_within(1)
    exchanged.put(last)
    assert await exchanged.end() == [ACCEPTED]
    assert seen == ["a", (code, reason)]


async def test_the_endpoint_closes() -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.send("last")
        await socket.close(4001, "done")

    exchanged = Exchanged(serving(endpoint), socket_scope())
    exchanged.put(CONNECT)
    await exchanged.sent_within(3)
    exchanged.put({"type": "websocket.disconnect", "code": 4001})
    assert await exchanged.end() == [ACCEPTED, sent_text("last"), closed(4001, "done")]


async def test_an_endpoint_that_fails_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def endpoint(socket: WebSocket) -> None:
        await socket.receive()
        raise ValueError("boom")

    exchanged = Exchanged(serving(endpoint), socket_scope())
    exchanged.put(CONNECT, text("a"))
    await exchanged.sent_within(2)
    exchanged.put({"type": "websocket.disconnect", "code": 1011})
    assert await exchanged.end() == [ACCEPTED, closed(1011)]
    assert caplog.messages == ["GET / failed"]


async def test_a_message_over_the_limit_closes_with_1009() -> None:
    exchanged = Exchanged(serving(echo, max_message=10), socket_scope())
    exchanged.put(CONNECT, text("x" * 11))
    sent = await exchanged.sent_within(2)
    exchanged.put({"type": "websocket.disconnect", "code": 1009})
    await exchanged.end()
    assert sent[1]["code"] == 1009


async def test_subprotocol_and_fields_of_the_handshake() -> None:
    async def endpoint(socket: WebSocket) -> None:
        assert socket.subprotocols == ("a", "b")
        await socket.accept("b", {"Set-Cookie": "x=y", "X-A": "1"})

    scope = socket_scope(subprotocols=["a", "b"])
    exchanged = Exchanged(serving(endpoint), scope)
    exchanged.put(CONNECT)
    accepted, *_ = await exchanged.sent_within(2)
    exchanged.put({"type": "websocket.disconnect", "code": 1000})
    await exchanged.end()
    fields = [(b"set-cookie", b"x=y"), (b"x-a", b"1")]
    assert accepted == {"type": "websocket.accept", "subprotocol": "b", "headers": fields}


async def refusing(socket: WebSocket) -> None:
    raise HTTPError(401, "who are you?")


async def test_a_refusal_is_an_answer_if_the_server_can_send_it() -> None:
    scope = socket_scope(extensions={"websocket.http.response": {}})
    exchanged = Exchanged(serving(refusing), scope)
    exchanged.put(CONNECT)
    status, _, content = answer_in(await exchanged.end())
    assert (status, content) == (401, b"Unauthorized\nwho are you?\n")
    assert {each["type"] for each in exchanged.sent} == {
        "websocket.http.response.start",
        "websocket.http.response.body",
    }
    exchanged = Exchanged(serving(refusing), socket_scope())
    exchanged.put(CONNECT)
    assert await exchanged.end() == [{"type": "websocket.close", "code": 1000}]


async def test_a_page_of_another_origin_is_refused() -> None:
    headers = [(b"host", b"a.test"), (b"origin", b"https://evil.test")]
    scope = socket_scope(headers=headers, extensions={"websocket.http.response": {}})
    exchanged = Exchanged(serving(echo), scope)
    exchanged.put(CONNECT)
    assert answer_in(await exchanged.end())[0] == 403


async def test_an_unread_socket_makes_the_client_wait() -> None:
    gate = asyncio.Event()

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await gate.wait()
        await echo(socket)

    exchanged = Exchanged(serving(endpoint), socket_scope())
    count = 300
    exchanged.put(CONNECT, *[text("x" * 2000)] * count)
    await exchanged.sent_within(1)
    for _ in range(2 * count):
        await asyncio.sleep(0)
    assert exchanged.to_app.qsize() > count / 2
    gate.set()
    await exchanged.sent_within(1 + count)
    exchanged.put(GONE)
    await exchanged.end()


async def test_a_slow_client_makes_the_endpoint_wait() -> None:
    begun, sent = asyncio.Event(), []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await begun.wait()
        for number in range(100):
            await socket.send("x")
            sent.append(number)

    async with Exchanged(serving(endpoint), socket_scope()) as exchanged:
        exchanged.put(CONNECT)
        await exchanged.sent_within(1)
        exchanged.gate.clear()
        begun.set()
        for _ in range(50):
            await asyncio.sleep(0)
        assert sent == []
        exchanged.gate.set()
        await exchanged.sent_within(101)


async def test_the_server_stops() -> None:
    application = serving(echo)
    life = Exchanged(application, {"type": "lifespan"})
    life.put({"type": "lifespan.startup"})
    await life.sent_within(1)
    exchanged = Exchanged(application, socket_scope())
    exchanged.put(CONNECT, text("a"))
    await exchanged.sent_within(2)
    life.put({"type": "lifespan.shutdown"})
    assert (await exchanged.sent_within(3))[2] == closed(1001)
    exchanged.put({"type": "websocket.disconnect", "code": 1001})
    await exchanged.end()
    assert (await life.end())[-1] == {"type": "lifespan.shutdown.complete"}


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_of_every_length(size: int) -> None:
    payload = b"x" * size
    assert list(_frames_in(encode_frame(payload) * 2)) == [(2, payload)] * 2
    assert _client_frame(2, payload).endswith(b"\0\0\0\0" + payload)
