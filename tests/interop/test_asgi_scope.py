"""The scope of an ASGI call."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support.asgi_apps import Receive, Scope, Send, answer_of, ask, body, body_of, get, start
from support.serving import DEADLINE_S, on_loopback

from microweb import App
from microweb.interop.asgi_server import ASGI
from microweb.server.config import ServerOptions


async def show(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return
    await send(start())
    await send(body(json.dumps(scope, default=lambda value: value.decode("latin-1")).encode()))


async def scope_of(request: bytes, prefix: str = "") -> dict[str, Any]:
    if not prefix:
        return json.loads(body_of(await answer_of(show, request)))  # type: ignore[no-any-return]
    app = App()
    app.mount(prefix, show)
    return json.loads(body_of(await answer_of(app, request)))  # type: ignore[no-any-return]


async def test_the_scope_is_that_of_the_request() -> None:
    scope = await scope_of(get("/a%20b/%C3%A4?c=%20d", "X-A:  1 ", "x-a: 2"))
    assert scope["type"] == "http" and scope["asgi"]["version"] == "3.0"
    assert scope["method"] == "GET" and scope["http_version"] == "1.1"
    assert scope["path"] == "/a b/ä" and scope["raw_path"] == "/a%20b/%C3%A4"
    assert scope["query_string"] == "c=%20d" and scope["root_path"] == ""
    assert scope["scheme"] == "http" and scope["client"][0] == "127.0.0.1"
    assert scope["headers"] == [
        ["host", "a"],
        ["connection", "close"],
        ["x-a", "1"],
        ["x-a", "2"],
    ]


async def test_the_server_is_the_end_of_the_connection() -> None:
    async with on_loopback(ASGI(show)) as server:
        scope = json.loads(body_of(await ask(server, get())))
        assert scope["server"] == list(server.sockets[0].getsockname())


async def test_the_server_is_the_same_behind_a_proxy() -> None:
    options = ServerOptions(trusted_proxies=("127.0.0.0/8",))
    async with on_loopback(ASGI(show), **options) as server:
        fields = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"
        scope = json.loads(body_of(await ask(server, get("/", *fields))))
        assert (scope["client"], scope["scheme"]) == (["192.0.2.1", 0], "https")
        assert scope["server"] == list(server.sockets[0].getsockname())


async def test_a_proxy_that_reports_host_and_prefix() -> None:
    options = ServerOptions(trusted_proxies=("127.0.0.0/8",), trust_headers=("x-forwarded",))
    fields = "X-Forwarded-Host: example.org", "X-Forwarded-Prefix: /a%20b"
    async with on_loopback(ASGI(show), **options) as server:
        scope = json.loads(body_of(await ask(server, get("/c", *fields))))
    assert (scope["root_path"], scope["path"]) == ("/a b", "/a b/c")
    assert scope["raw_path"] == "/a%20b/c"
    assert [value for name, value in scope["headers"] if name == "host"] == ["example.org"]


async def test_the_server_of_a_unix_socket_is_its_path(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    async with on_loopback(ASGI(show), bind=(f"unix:{path}",)), asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(get())
        scope = json.loads(body_of(await reader.read()))
        writer.close()
        await writer.wait_closed()
    assert scope["server"] == [path, None]
    assert scope["client"] is None


async def test_the_prefix_is_the_root_path() -> None:
    scope = await scope_of(get("/old/a"), "/old")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/old", "/old/a", "/old/a")


async def test_the_authority_of_the_target_is_the_host() -> None:
    scope = await scope_of(b"GET http://b/c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert scope["path"] == "/c" and scope["headers"][0] == ["host", "b"]
    assert len(scope["headers"]) == 2


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_request_of_each_version(version: str) -> None:
    scope = await scope_of(f"GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert scope["http_version"] == version


async def test_a_request_without_fields_has_none() -> None:
    assert (await scope_of(b"GET / HTTP/1.0\r\n\r\n"))["headers"] == []
