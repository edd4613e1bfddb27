"""The application of the conformance cases as plain ASGI: python contract_asgi.py PORT [uvloop]

It serves the routes of the probe's contract, but for the folder of files, and those of
`tests/conformance/test_wire.py`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import microweb

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Call = Callable[["Exchange"], Awaitable[None]]

TEXT = (b"content-type", b"text/plain; charset=utf-8")
STANDARD = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}


class Exchange:
    """A request, as the application reads and answers it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
        self._receive, self._send = receive, send

    def query(self, name: str, default: str = "") -> str:
        return self._query.get(name, [default])[0]

    def header(self, name: bytes) -> bytes:
        return b", ".join(value for key, value in self.headers if key == name.lower())

    async def body(self) -> bytes:
        content, has_more = b"", True
        while has_more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client has left")
            content += message.get("body", b"")
            has_more = message.get("more_body", False)
        return content

    async def start(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        start = {"type": "http.response.start", "status": status, "headers": [TEXT, *headers]}
        await self._send(start)

    async def write(self, content: bytes, *, has_more: bool) -> None:
        body = {"type": "http.response.body", "body": content, "more_body": has_more}
        await self._send(body)

    async def answer(
        self, content: bytes, status: int = 200, *headers: tuple[bytes, bytes]
    ) -> None:
        await self.start(status, *headers)
        await self.write(content, has_more=False)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the lifespan, a request or a WebSocket."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
    elif scope["type"] == "websocket":
        await _echo_messages(receive, send)
    else:
        await _answer(Exchange(scope, receive, send))


async def _answer(exchange: Exchange) -> None:
    if exchange.method not in STANDARD - {"CONNECT"}:
        return await exchange.answer(b"unknown method", 501)
    if exchange.path == "*":
        return await exchange.answer(b"", 204)
    is_hello = exchange.path.startswith("/hello/")
    methods, call = ("GET", _hello) if is_hello else ROUTES.get(exchange.path, ("", None))
    if call is None:
        return await exchange.answer(b"not found", 404)
    allowed = [*methods.split(), "OPTIONS", *(["HEAD"] if "GET" in methods else [])]
    allow = (b"allow", ", ".join(allowed).encode())
    if exchange.method == "OPTIONS":
        await exchange.answer(b"", 204, allow)
    elif exchange.method not in allowed:
        await exchange.answer(b"method not allowed", 405, allow)
    else:
        await call(exchange)


async def _hello(exchange: Exchange) -> None:
    await exchange.answer(b"hello " + exchange.path.removeprefix("/hello/").encode())


async def _host(exchange: Exchange) -> None:
    host = exchange.header(b"host")
    await exchange.answer(host if host.endswith(b"]") else host.rpartition(b":")[0] or host)


async def _echo(exchange: Exchange) -> None:
    await exchange.answer(await exchange.body())


async def _stream(exchange: Exchange) -> None:
    await exchange.start(200)
    for part in (b"a", b"b", b"c"):
        await exchange.write(part, has_more=True)
        await asyncio.sleep(0)
    await exchange.write(b"", has_more=False)


async def _slow(exchange: Exchange) -> None:
    await asyncio.sleep(float(exchange.query("s", "0.01")))
    await exchange.answer(b"slow")


async def _boom(exchange: Exchange) -> None:
    raise RuntimeError("boom-secret")


async def _set(exchange: Exchange) -> None:
    await exchange.answer(b"set", 200, (b"x-value", exchange.query("v").encode()))


async def _redirect(exchange: Exchange) -> None:
    await exchange.answer(b"", 302, (b"location", exchange.query("to").encode()))


ROUTES: dict[str, tuple[str, Call]] = {
    "/": ("GET", lambda exchange: exchange.answer(b"index")),
    "/last": ("GET", lambda exchange: exchange.answer(b"the last one")),
    "/query": ("GET", lambda exchange: exchange.answer(exchange.query("q").encode())),
    "/header": (
        "GET",
        lambda exchange: exchange.answer(exchange.header(exchange.query("name").encode())),
    ),
    "/host": ("GET", _host),
    "/echo": ("POST PUT", _echo),
    "/ignore": ("POST", lambda exchange: exchange.answer(b"ignored")),
    "/stream": ("GET", _stream),
    "/big": ("GET", lambda exchange: exchange.answer(b"x" * int(exchange.query("n", "300000")))),
    "/slow": ("GET", _slow),
    "/no-content": ("GET", lambda exchange: exchange.answer(b"", 204)),
    "/boom": ("GET POST", _boom),
    "/set": ("GET", _set),
    "/redirect": ("GET", _redirect),
    "/ws": ("GET", lambda exchange: exchange.answer(b"expected a WebSocket", 426)),
}


async def _echo_messages(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text, content = message.get("text"), message.get("bytes")
        key = "text" if text is not None else "bytes"
        await send({"type": "websocket.send", key: content if text is None else text})


if __name__ == "__main__":
    microweb.serve(
        app,
        port=int(sys.argv[1]),
        loop="uvloop" if "uvloop" in sys.argv else "asyncio",
        max_body=1 << 20,
        head_timeout_s=3,
        body_timeout_s=3,
        idle_timeout_s=5,
        log="off",
    )
