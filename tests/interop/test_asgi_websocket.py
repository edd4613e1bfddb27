"""ASGI applications: WebSockets, and responses that refuse them."""

from __future__ import annotations

import asyncio

import pytest
from support.asgi_apps import Message, Receive, Scope, Send

from microweb import App
from microweb.interop.asgi_types import ASGIApplication
from microweb.testing.websocket import HandshakeRefused, SocketClosed

ACCEPT: Message = {"type": "websocket.accept"}


def mounted(app: ASGIApplication) -> App:
    outer = App()
    outer.mount("/in", app)
    return outer


def socket_sending(*messages: Message) -> ASGIApplication:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            assert (await receive())["type"] == "websocket.connect"
            for message in messages:
                await send(message)

    return app


async def test_messages_go_both_ways() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        assert scope["scheme"] == "ws" and scope["subprotocols"] == ["chat"]
        assert "method" not in scope
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]})
        while (message := await receive())["type"] == "websocket.receive":
            await send(
                {"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]}
            )
        seen.append(message)
        with pytest.raises(OSError, match="the client has left"):
            await send({"type": "websocket.send", "text": "late"})

    async with (
        mounted(app).test_client() as client,
        client.websocket("/in/", subprotocols=["chat"]) as socket,
    ):
        assert socket.subprotocol == "chat"
        for data in ("hello", b"\x00"):
            await socket.send(data)
            assert await socket.receive() == data
        await socket.close(4000, "bye")
    assert seen == [{"type": "websocket.disconnect", "code": 4000, "reason": "bye"}]


async def test_the_application_closes_with_a_code() -> None:
    app = socket_sending(ACCEPT, {"type": "websocket.close", "code": 4001, "reason": "enough"})
    async with mounted(app).test_client() as client, client.websocket("/in/") as socket:
        with pytest.raises(SocketClosed):
            await socket.receive()
        assert (socket.close_code, socket.close_reason) == (4001, "enough")


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ((), 403),
        (({"type": "websocket.close"},), 403),
        (
            (
                {"type": "websocket.http.response.start", "status": 418, "headers": []},
                {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"b"},
            ),
            418,
        ),
        (
            (
                {"type": "websocket.http.response.start", "status": 418, "headers": []},
                {"type": "websocket.http.response.body", "body": 3},
            ),
            500,
        ),
        (({"type": "websocket.send", "text": "a"},), 500),
        (({"type": "websocket.accept", "subprotocol": "chat"},), 500),
    ],
)
async def test_a_handshake_is_refused(messages: tuple[Message, ...], status: int) -> None:
    async with mounted(socket_sending(*messages)).test_client(raise_errors=False) as client:
        with pytest.raises(Exception, match=str(status)):
            async with client.websocket("/in/"):
                pass


async def test_a_task_may_receive_before_another_one_accepts() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        receiving = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": (await receiving)["text"]})

    async with mounted(app).test_client() as client, client.websocket("/in/") as socket:
        await socket.send("hello")
        assert await socket.receive() == "hello"


async def test_a_task_that_receives_waits_for_the_whole_refusal() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        receiving = asyncio.create_task(receive())
        await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
        await asyncio.sleep(0)
        assert not receiving.done()
        await send({"type": "websocket.http.response.body", "body": b"short and stout"})
        assert (await receiving)["type"] == "websocket.disconnect"

    async with mounted(app).test_client() as client:
        with pytest.raises(HandshakeRefused) as refused:
            async with client.websocket("/in/"):
                pass
    assert str(refused.value) == "418 short and stout"


@pytest.mark.usefixtures("nothing_is_logged")
@pytest.mark.parametrize("last", ["websocket.send", "websocket.close"])
async def test_an_error_of_send_after_the_client_left_is_not_logged(
    last: str, caplog: pytest.LogCaptureFixture
) -> None:
    has_ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await send(ACCEPT)
        try:
            await receive()
            await send({"type": last, "text": "late"})
        finally:
            has_ended.set()

    async with mounted(app).test_client() as client:
        async with client.websocket("/in/"):
            pass
        await has_ended.wait()
    assert not caplog.records


async def test_a_wrong_message_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    app = socket_sending(ACCEPT, ACCEPT)
    async with (
        mounted(app).test_client(raise_errors=False) as client,
        client.websocket("/in/") as socket,
    ):
        with pytest.raises(SocketClosed):
            await socket.receive()
        assert socket.close_code == 1011
    assert "the WebSocket is open, got 'websocket.accept'" in caplog.text
