"""The two ends of a connection."""

from __future__ import annotations

import socket

import httpx
import pytest
from support.serving import on_loopback

from microweb import App, Request
from microweb.http.interfaces import Address, Ends, LocalEnd


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs a dual-stack socket")
async def test_server_end_of_a_dual_stack_socket_has_its_ipv4_address() -> None:
    found: list[LocalEnd] = []
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        found.append(request.transport.ends.local)
        return ""

    async with on_loopback(app, host="*") as server, httpx.AsyncClient() as client:
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            await client.get(f"http://127.0.0.1:{port}/")
    assert found == [("127.0.0.1", port)] * 2
    assert found[0] is found[1]  # asked for once, for both requests of the connection


@pytest.mark.parametrize("proxies", [(), ("127.0.0.0/8",)])
async def test_origin_is_the_same_for_all_requests_without_proxies(
    proxies: tuple[str, ...],
) -> None:
    found: list[Ends] = []
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        found.append(request.transport.ends)
        return repr(request.client)

    async with on_loopback(app, trusted_proxies=proxies) as server, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        shown = (await client.get(url, headers={"X-Forwarded-For": "192.0.2.1"})).text
    (ends,) = found
    assert not ends.has_tls
    if proxies:
        assert ends.origin is None and "192.0.2.1" in shown
    else:
        assert ends.origin is not None and ends.origin.scheme == "http"
        assert isinstance(ends.origin.client, Address) and repr(ends.origin.client) == shown
