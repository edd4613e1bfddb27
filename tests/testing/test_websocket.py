"""The test client's WebSockets, used as the tests of an application use them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from microweb import App, Request, WebSocket, abort
from microweb.testing.websocket import ClientSocket, HandshakeRefused, SocketClosed


class Broken(Exception):
    """The error that an endpoint of these tests raises."""


@pytest.fixture
def app() -> App:
    app = App()

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        async for message in socket:
            await socket.send(message)

    @app.websocket("/who")
    async def who(socket: WebSocket, tag: str = "") -> None:
        request = socket.request
        await socket.accept(socket.subprotocols[-1] if socket.subprotocols else None)
        fields = ("authorization", "x-test", "host")
        await socket.send_json(
            {
                "cookies": request.cookies,
                "scheme": request.scheme,
                "tag": tag,
                **{name: request.headers.get(name) for name in fields},
            }
        )

    @app.websocket("/broken")
    async def broken(socket: WebSocket, after: int = 0) -> None:
        for _ in range(after):
            await socket.receive()
        if after:
            raise Broken("as told")
        raise Broken("before")

    @app.websocket("/refused")
    async def refused(socket: WebSocket) -> None:
        abort(403, "not you")

    @app.websocket("/leave")
    async def leave(socket: WebSocket) -> None:
        await socket.send("bye")
        await socket.close(4000, "done")

    @app.websocket("/cookie")
    async def cookie(socket: WebSocket) -> None:
        await socket.accept(headers={"Set-Cookie": "seen=1"})

    @app.get("/page")
    async def page(request: Request) -> str:
        return request.cookies.get("seen", "no")

    return app


async def test_messages_both_ways(app: App) -> None:
    async with app.test_client() as client, client.websocket("/echo") as socket:
        assert isinstance(socket, ClientSocket)
        await socket.send("text")
        await socket.send(b"bytes")
        await socket.send_json({"a": [1]})
        await socket.ping()
        assert [await socket.receive(), await socket.receive()] == ["text", b"bytes"]
        assert await socket.receive_json() == {"a": [1]}
        assert socket.response.status_code == 101
        assert (socket.close_code, socket.subprotocol) == (None, None)
    assert (socket.close_code, socket.close_reason) == (1000, "")


@pytest.mark.parametrize("size", [0, 125, 126, 70_000, 500_000])
@pytest.mark.parametrize("compress", [False, True])
async def test_messages_of_any_size(app: App, size: int, compress: bool) -> None:
    async with app.test_client() as client, client.websocket("/echo", compress=compress) as socket:
        assert ("sec-websocket-extensions" in socket.response.headers) is compress
        await socket.send("x" * size)
        assert await socket.receive() == "x" * size


async def test_the_clients_cookies_and_headers_are_sent(app: App) -> None:
    async with app.test_client(
        cookies={"a": "1"}, headers={"X-Test": "client"}, auth=("ada", "secret")
    ) as client:
        async with client.websocket("/who", params={"tag": "p"}) as socket:
            assert await socket.receive_json() == {
                "cookies": {"a": "1"},
                "scheme": "http",
                "tag": "p",
                "authorization": "Basic YWRhOnNlY3JldA==",
                "x-test": "client",
                "host": "testserver",
            }
        async with client.websocket("/who?tag=q", headers={"X-Test": "own"}) as socket:
            got = await socket.receive_json()
            assert (got["tag"], got["x-test"]) == ("q", "own")


async def test_https_is_seen(app: App) -> None:
    async with (
        app.test_client(base_url="https://testserver") as client,
        client.websocket("/who") as socket,
    ):
        assert (await socket.receive_json())["scheme"] == "https"


async def test_a_subprotocol_is_chosen(app: App) -> None:
    async with (
        app.test_client() as client,
        client.websocket("/who", subprotocols=["a", "b"]) as socket,
    ):
        assert socket.subprotocol == "b"


async def test_cookies_of_the_101_are_kept(app: App) -> None:
    async with app.test_client() as client:
        assert (await client.get("/page")).text == "no"
        async with client.websocket("/cookie"):
            pass
        assert (await client.get("/page")).text == "1"


async def test_iteration_ends_at_the_servers_close(app: App) -> None:
    async with app.test_client() as client, client.websocket("/leave") as socket:
        assert [message async for message in socket] == ["bye"]
        assert (socket.close_code, socket.close_reason) == (4000, "done")
        with pytest.raises(SocketClosed, match="4000 done") as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.reason) == (4000, "done")
        with pytest.raises(SocketClosed):
            await socket.send("x")
        with pytest.raises(SocketClosed):
            await socket.ping()


async def test_a_refusal_has_its_response(app: App) -> None:
    async with app.test_client() as client:
        with pytest.raises(HandshakeRefused, match="403") as caught:
            async with client.websocket("/refused"):
                raise AssertionError("it was let in")
        response = caught.value.response
        assert isinstance(response, httpx.Response)
        assert (response.status_code, response.text) == (403, "Forbidden\nnot you\n")
        with pytest.raises(HandshakeRefused, match="404"):
            async with client.websocket("/nowhere"):
                raise AssertionError("it was let in")
        with pytest.raises(HandshakeRefused, match="200"):
            async with client.websocket("/page"):
                raise AssertionError("it was let in")


async def test_what_an_endpoint_raises_comes_out(app: App) -> None:
    async with app.test_client() as client:
        with pytest.raises(Broken, match="before"):
            async with client.websocket("/broken"):
                raise AssertionError("it was let in")
        with pytest.raises(Broken, match="as told"):
            async with client.websocket("/broken?after=1") as socket:
                await socket.send("x")
                await socket.receive()
        with pytest.raises(Broken, match="as told"):  # at the end of the block
            async with client.websocket("/broken?after=1") as socket:
                await socket.send("x")
        with pytest.raises(Broken, match="as told"):
            async with client.websocket("/broken?after=1") as socket:
                await socket.send("x")
                while True:
                    await asyncio.sleep(0)
                    await socket.send("y")
                    await socket.receive()


async def test_errors_may_stay_inside(app: App) -> None:
    async with app.test_client(raise_errors=False) as client:
        with pytest.raises(HandshakeRefused, match="500"):
            async with client.websocket("/broken"):
                raise AssertionError("it was let in")
        async with client.websocket("/broken?after=1") as socket:
            await socket.send("x")
            with pytest.raises(SocketClosed, match="1011"):
                await socket.receive()


async def test_what_the_test_raises_is_not_hidden(app: App) -> None:
    async with app.test_client() as client:
        with pytest.raises(ZeroDivisionError):
            async with client.websocket("/broken?after=1") as socket:
                await socket.send("x")
                _ = 1 / 0


async def test_a_wait_is_bounded_by_the_read_timeout(app: App) -> None:
    async with app.test_client(timeout=0.25) as client, client.websocket("/echo") as socket:
        with pytest.raises(httpx.ReadTimeout):
            await socket.receive()


async def test_a_close_of_ones_own(app: App) -> None:
    async with app.test_client() as client, client.websocket("/echo") as socket:
        await socket.send("before")
        await socket.close(4001, "enough")
        assert [message async for message in socket] == ["before"]
        assert (socket.close_code, socket.close_reason) == (4001, "enough")


async def test_what_was_not_entered_says_so() -> None:
    async with App().test_client() as client:
        socket = client.websocket("/")
        for call in (socket.receive, socket.ping, lambda: socket.send("a")):
            with pytest.raises(RuntimeError, match=r"async with client\.websocket"):
                await call()
