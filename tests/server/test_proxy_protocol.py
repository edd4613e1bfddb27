from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.certificates import authority
from support.proxying import ADDRESSES, TLS, binary, checked
from support.serving import (
    DEADLINE_S,
    MemoryHouse,
    get,
    in_memory,
    on_loopback,
    read_all,
    read_until,
    settle,
    statuses,
)
from support.websocketing import handshake

from microweb import App, ConfigurationError, Request, WebSocket
from microweb.concurrency.throttle import Throttle
from microweb.server import refusal_log
from microweb.server.config import ServerConfig, ServerOptions
from microweb.server.server import Server

LINE = b"PROXY TCP4 192.0.2.1 10.0.0.1 59143 80\r\n"
HEADERS = [LINE, binary(ADDRESSES), checked(ADDRESSES)]
CLOSING = get("/", "Connection: close")


def make_app() -> App:
    app = App()

    @app.get("/")
    async def who(request: Request) -> str:
        assert request.client is not None and request.peer is not None
        return f"<{request.client.host}|{request.peer.host}:{request.peer.port}|{request.scheme}>"

    return app


@asynccontextmanager
async def behind(*trusted: str) -> AsyncIterator[MemoryHouse]:
    """Serve in memory: the peer is 127.0.0.1."""
    app = make_app()
    app.freeze()
    networks = trusted or ("127.0.0.0/8",)
    async with in_memory(app.handle, proxy_protocol=True, trusted_proxies=networks) as house:
        yield house


@pytest.mark.parametrize("header", HEADERS)
async def test_header_and_request_in_one_segment(header: bytes) -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(header + get("/") + CLOSING)
        answer = await read_all(end)
    assert answer.count(b"<192.0.2.1|192.0.2.1:59143|http>") == 2


@pytest.mark.parametrize("header", HEADERS)
async def test_header_one_byte_at_a_time(header: bytes) -> None:
    async with behind() as house:
        end = house.connect()
        for byte in header + CLOSING:
            await end.write(bytes([byte]))
            await settle()
        assert b"<192.0.2.1|" in await read_all(end)


async def test_header_without_a_client_leaves_the_load_balancer() -> None:
    async with behind() as house:
        for header in (b"PROXY UNKNOWN\r\n", binary(command=0x20, family=0)):
            end = house.connect()
            await end.write(header + CLOSING)
            assert b"<127.0.0.1|127.0.0.1:50000|http>" in await read_all(end)


@pytest.mark.parametrize("field", ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"])
@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 192.0.2.1 10.0.0.1 59143 80\r\n",
        binary(command=0x21, family=0),
        binary(bytes(216), family=0x31),  # a Unix socket
    ],
)
async def test_fields_of_an_unknown_client_are_not_believed(header: bytes, field: str) -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(header + get("/", field) + get("/", "Connection: close", field))
        answer = await read_all(end)
        assert answer.count(b"<127.0.0.1|127.0.0.1:50000|http>") == 2


async def test_fields_of_the_load_balancer_itself_are_believed() -> None:
    """It connects with LOCAL for its health checks."""
    async with behind() as house:
        end = house.connect()
        header = binary(command=0x20, family=0)
        await end.write(header + get("/", "Connection: close", "X-Forwarded-Proto: https"))
        assert b"<127.0.0.1|127.0.0.1:50000|https>" in await read_all(end)


async def test_load_balancer_that_ends_tls() -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(binary(ADDRESSES + TLS) + CLOSING)
        assert b"|https>" in await read_all(end)


async def test_fields_of_the_client_that_the_header_names_are_not_believed() -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(LINE + get("/", "Connection: close", "X-Forwarded-For: 6.6.6.6"))
        assert b"<192.0.2.1|" in await read_all(end)


async def test_fields_of_a_proxy_that_the_header_names_are_believed() -> None:
    async with behind("127.0.0.0/8", "192.0.2.0/24") as house:
        end = house.connect()
        await end.write(LINE + get("/", "Connection: close", "X-Forwarded-For: 6.6.6.6"))
        assert b"<6.6.6.6|192.0.2.1:59143|" in await read_all(end)


@pytest.mark.parametrize(
    "data",
    [
        CLOSING,  # no header
        b"PROXY TCP4 192.0.2.1 10.0.0.1 59143\r\n" + CLOSING,
        b"PROXY " + b"x" * 200,
        LINE + LINE + CLOSING,
        binary(ADDRESSES) + binary(ADDRESSES) + CLOSING,
        LINE + binary(ADDRESSES) + CLOSING,
        checked(ADDRESSES)[:-1] + b"\0" + CLOSING,
        binary(ADDRESSES, command=0x21, family=0x12) + CLOSING,
    ],
)
async def test_no_header_or_a_malformed_one_is_a_400(data: bytes) -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(data)
        end.write_eof()
        assert statuses(await read_all(end)) == [400]


@pytest.mark.parametrize("header", HEADERS)
async def test_header_of_a_stranger_is_a_400(header: bytes) -> None:
    async with behind("10.0.0.0/8") as house:
        end = house.connect()
        await end.write(header + CLOSING)
        end.write_eof()
        assert statuses(await read_all(end)) == [400]
        end = house.connect()
        await end.write(CLOSING)  # such as a probe
        assert b"<127.0.0.1|" in await read_all(end)


async def test_header_is_a_400_without_the_option() -> None:
    app = make_app()
    app.freeze()
    async with in_memory(app.handle, trusted_proxies=("127.0.0.0/8",)) as house:
        end = house.connect()
        await end.write(LINE + CLOSING)
        end.write_eof()
        assert statuses(await read_all(end)) == [400]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("size", [0, 1, 11, 20])
async def test_end_of_input_inside_the_header_closes(header: bytes, size: int) -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(header[:size])
        end.write_eof()
        assert await read_all(end) == b""


@pytest.mark.parametrize("size", [0, 1, 20, len(LINE)])
async def test_header_has_the_deadline_of_the_head(size: int) -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(LINE[:size])
        await house.pass_time(9.5)
        assert house.server.connections
        await end.write(LINE[size : size + 1])
        await house.pass_time(1)
        assert await read_all(end) == b""


async def test_stop_inside_a_header() -> None:
    async with behind() as house:
        end = house.connect()
        await end.write(LINE[:20])
        await settle()
        stopping = asyncio.create_task(house.server.stop(silence_s=0.0))
        assert await read_all(end) == b""
        await stopping


@pytest.mark.parametrize("first", [LINE, b"garbage", LINE[:9], b""])
async def test_too_many_connections(first: bytes) -> None:
    app = make_app()
    app.freeze()
    options = ServerOptions(trusted_proxies=("127.0.0.0/8",), proxy_protocol=True)
    async with in_memory(app.handle, max_connections=1, **options) as house:
        taken = house.connect()
        await taken.write(LINE)
        refused = house.connect()
        await refused.write(first)
        assert statuses(await read_until(refused, b"\r\n\r\n")) == [503]
        await refused.write(CLOSING)
        refused.write_eof()
        await read_all(refused)
        await taken.write(CLOSING)
        assert b"<192.0.2.1|" in await read_all(taken)


async def test_a_websocket_behind_a_header() -> None:
    app = App()

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        client = socket.request.client
        await socket.send(client.host if client else "")

    app.freeze()
    options = ServerOptions(trusted_proxies=("127.0.0.0/8",), proxy_protocol=True)
    async with in_memory(app.handle, **options) as house:
        end = house.connect()
        await end.write(binary(ADDRESSES) + handshake("/echo"))
        assert b"192.0.2.1" in await read_until(end, b"192.0.2.1")
        end.write_eof()


def test_nobody_to_trust_is_a_wrong_option() -> None:
    with pytest.raises(ConfigurationError, match="proxy_protocol: expected trusted_proxies"):
        ServerConfig(proxy_protocol=True)


# --- before TLS


def raw(server: Server) -> socket.socket:
    return socket.create_connection(server.sockets[0].getsockname()[:2], DEADLINE_S)


def ask_over_tls(connected: socket.socket, first: bytes) -> bytes:
    """Send `first`, then a request over TLS in the same connection."""
    with connected:
        connected.sendall(first)
        context = authority().client()
        with context.wrap_socket(connected, server_hostname="localhost") as secure:
            secure.sendall(CLOSING)
            answer = b""
            while piece := secure.recv(65536):
                answer += piece
    return answer


def ask_plainly(connected: socket.socket, data: bytes) -> bytes:
    with connected:
        connected.sendall(data)
        connected.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connected.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize("header", HEADERS)
async def test_header_before_the_hello(tmp_path: Path, header: bytes) -> None:
    options = authority().issue(tmp_path).options()
    trusted = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",)}
    async with on_loopback(make_app(), **(options | trusted)) as server:  # type: ignore[typeddict-item]
        answer = await asyncio.to_thread(ask_over_tls, raw(server), header)
        assert b"<192.0.2.1|192.0.2.1:59143|https>" in answer


async def test_header_and_hello_in_one_segment(tmp_path: Path) -> None:
    options = authority().issue(tmp_path).options()
    trusted = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",)}

    def ask(connected: socket.socket) -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = authority().client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        to_send = LINE
        answer = b""
        with connected:
            for step in (client.do_handshake, lambda: client.write(CLOSING), client.read):
                while True:
                    try:
                        got = step()
                    except ssl.SSLWantReadError:
                        connected.sendall(to_send + outgoing.read())
                        to_send = b""
                        incoming.write(connected.recv(65536))
                    else:
                        connected.sendall(outgoing.read())
                        answer = got if isinstance(got, bytes) else answer
                        break
        return answer

    async with on_loopback(make_app(), **(options | trusted)) as server:  # type: ignore[typeddict-item]
        answer = await asyncio.to_thread(ask, raw(server))
        assert b"<192.0.2.1|192.0.2.1:59143|https>" in answer


@pytest.mark.parametrize(
    "data", [CLOSING, b"PROXY TCP4 x\r\n", b"\x16\x03\x01\x02\x00\x01", LINE + CLOSING]
)
async def test_no_header_before_the_hello_is_a_400_without_tls(tmp_path: Path, data: bytes) -> None:
    options = authority().issue(tmp_path).options()
    trusted = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",)}
    async with on_loopback(make_app(), **(options | trusted)) as server:  # type: ignore[typeddict-item]
        answer = await asyncio.to_thread(ask_plainly, raw(server), data)
    assert statuses(answer) == [400]


async def test_failed_handshake_is_logged_with_the_client_of_the_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "_refusals", Throttle(1.0, times=10))
    caplog.set_level("INFO", "microweb.protocol")
    options = authority().issue(tmp_path).options()
    trusted = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",)}
    async with on_loopback(make_app(), **(options | trusted)) as server:  # type: ignore[typeddict-item]
        await asyncio.to_thread(ask_plainly, raw(server), LINE + b"\x99" * 50)
    assert caplog.messages == ["no TLS for 192.0.2.1: the first bytes are no hello"]
    assert vars(caplog.records[0])["client"] == "192.0.2.1"


async def test_header_of_a_stranger_before_the_hello_is_a_400(tmp_path: Path) -> None:
    options = authority().issue(tmp_path).options()
    trusted = {"proxy_protocol": True, "trusted_proxies": ("10.0.0.0/8",)}
    async with on_loopback(make_app(), **(options | trusted)) as server:  # type: ignore[typeddict-item]
        assert statuses(await asyncio.to_thread(ask_plainly, raw(server), LINE)) == [400]
        assert b"<127.0.0.1|" in await asyncio.to_thread(ask_over_tls, raw(server), b"")
