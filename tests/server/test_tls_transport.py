"""TLS over a transport: real sockets, both ends, and clients that break the rules."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Unpack

import pytest
from support.certificates import authority
from support.key_updates import Updating
from support.serving import DEADLINE_S, get, on_loopback, pass_a_second, post, statuses, until_none
from support.waiting import until

from microweb import App, Request
from microweb.concurrency.throttle import Throttle
from microweb.server import refusal_log
from microweb.server.config import ServerOptions
from microweb.server.connection import Connection
from microweb.server.server import Server
from microweb.server.tls_transport import TLSTransport

BIG = 20_000_000


@pytest.fixture(autouse=True)
def fresh_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log the first refusals of a test, whatever the tests before it have logged."""
    monkeypatch.setattr(refusal_log, "_refusals", Throttle(1.0, times=10))


def make_app() -> App:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        return f"{request.scheme}\n"

    @app.get("/big")
    async def big() -> bytes:
        return bytes(BIG)

    @app.post("/any")
    async def any_size(request: Request) -> str:
        return str(len(await request.body()))

    @app.post("/", max_body=1000)
    async def size(request: Request) -> str:
        return str(len(await request.body()))

    return app


@asynccontextmanager
async def serving(folder: Path, **options: Unpack[ServerOptions]) -> AsyncIterator[Server]:
    files = authority().issue(folder)
    async with on_loopback(make_app(), **files.options() | options) as server:
        yield server


class Client:
    """A TLS client on a socket, whose records the test sends and reads."""

    def __init__(self, server: Server, context: ssl.SSLContext | None = None) -> None:
        self._address = server.sockets[0].getsockname()[:2]
        self._context = context or authority().client()

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(*self._address)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self._context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def hello(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    async def shake_hands(self) -> None:
        self.send(self.hello())
        while True:
            await self.more()
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            self.send(self._outgoing.read())
            return

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def more(self) -> bool:
        """Read more bytes of the server; return whether there are any."""
        async with asyncio.timeout(DEADLINE_S):
            data = await self.reader.read(65536)
        self._incoming.write(data)
        return bool(data)

    def encrypt(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._outgoing.read()

    async def read(self) -> bytes:
        """Return the next decrypted bytes, `b""` at close_notify. Raises: ssl.SSLError."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                assert await self.more(), "the connection ended without close_notify"

    async def read_all(self) -> bytes:
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)


async def served_once(server: Server, client: Client) -> Connection:
    """Send one request, and return the server's connection, which idles now."""
    await client.shake_hands()
    client.send(client.encrypt(get("/")))
    assert statuses(await client.read()) == [200]
    (connection,) = server.connections
    return connection


# --- the bytes ------------------------------------------------------------------------


async def test_request_byte_by_byte(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        for byte in client.hello():
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        await client.more()
        while True:
            try:
                client.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await client.more()
        client.send(client._outgoing.read())
        for byte in client.encrypt(get("/", "Connection: close")):
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.read_all()).endswith(b"\r\n\r\nhttps\n")


async def test_request_in_one_piece_with_the_end_of_the_handshake(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        client.send(client.hello())
        while True:
            await client.more()
            try:
                client.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        client.send(client._outgoing.read() + client.encrypt(get("/", "Connection: close")))
        assert (await client.read_all()).endswith(b"https\n")


async def test_many_records_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        records = [client.encrypt(get("/")) for _ in range(99)]
        client.send(b"".join(records) + client.encrypt(get("/", "Connection: close")))
        assert statuses(await client.read_all()) == [200] * 100


async def test_large_answer_to_a_slow_client(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        client.send(client.encrypt(get("/big", "Connection: close")))
        (connection,) = server.connections
        async with asyncio.timeout(DEADLINE_S):
            while not connection.network.is_draining:
                await asyncio.sleep(0.01)
        assert len(await client.read_all()) > BIG
        await until_none(server.connections)


@asynccontextmanager
async def updating(server: Server, folder: Path) -> AsyncIterator[tuple[Client, Updating]]:
    """Yield a client after its handshake, and its records with KeyUpdates."""
    context = authority().client()
    records = Updating(context, folder)
    async with Client(server, context) as client:
        await client.shake_hands()
        records.begin(client.tls)
        yield client, records


async def test_key_update_while_an_answer_waits(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, updating(server, tmp_path) as (client, records):
        client.send(records.content(get("/big", "Connection: close")))
        (connection,) = server.connections
        async with asyncio.timeout(DEADLINE_S):
            while not connection.network.is_draining:
                await asyncio.sleep(0.01)
        transport = connection.network.transport
        assert isinstance(transport, TLSTransport)
        # OpenSSL answers the last one with the next record of the answer.
        transport.data_received(records.update(asks=True) + records.update(asks=True))
        assert not transport.is_closing()
        assert len(await client.read_all()) > BIG


async def test_key_updates_of_a_client_that_never_reads(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, updating(server, tmp_path) as (client, records):
        client.send(records.content(get("/big")))
        (connection,) = server.connections
        async with asyncio.timeout(DEADLINE_S):
            while not connection.network.is_draining:
                await asyncio.sleep(0.01)
            while server.connections:
                client.send(b"".join(records.update(asks=True) for _ in range(200)))
                await asyncio.sleep(0.001)


async def test_read_of_key_updates_alone_is_cut(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, updating(server, tmp_path) as (_, records):
        (connection,) = server.connections
        transport = connection.network.transport
        assert isinstance(transport, TLSTransport)
        async with asyncio.timeout(DEADLINE_S):
            while transport.get_extra_info("tls") is None:
                await asyncio.sleep(0.01)
        transport.data_received(b"".join(records.update(asks=False) for _ in range(2000)))
        assert transport.is_closing()
        await until_none(server.connections)


async def test_key_updates_between_contents(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, updating(server, tmp_path) as (client, records):
        request = get("/", "Connection: close", f"X: {'x' * 100}")
        data = [records.content(bytes((byte,))) + records.update(asks=True) for byte in request]
        client.send(b"".join(data))
        assert statuses(await client.read_all()) == [200]


@pytest.mark.parametrize("size", [1, 16 * 1024])
async def test_body_of_small_and_of_large_records(tmp_path: Path, size: int) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        body = bytes(200_000)
        request = post("/any", body, "Content-Length: 200000", "Connection: close")
        data = [
            client.encrypt(request[start : start + size]) for start in range(0, len(request), size)
        ]
        client.send(b"".join(data))
        answer = await client.read_all()
        assert answer.endswith(b"200000")


@pytest.mark.parametrize("ends", ["write_eof", "close"])
async def test_bytes_that_wait_are_counted_and_sent_before_the_end(
    tmp_path: Path, ends: str
) -> None:
    """20 MB at once: the kernel takes a part, the rest waits in this layer and the one below."""
    async with serving(tmp_path) as server, Client(server) as client:
        connection = await served_once(server, client)
        transport = connection.network.transport
        data = bytes(BIG // 2) + b"x" * (BIG // 2)
        transport.write(data)
        transport.write(b"end")
        assert transport.get_write_buffer_size() > BIG // 2
        waiting = asyncio.create_task(connection.network.drain())
        await asyncio.sleep(0)
        assert not waiting.done()
        received = bytearray(await client.read())
        if ends == "close":
            getattr(transport, ends)()
            received += await client.read_all()
        else:
            while len(received) < BIG + 3:
                received += await client.read()
            await waiting
            transport.write_eof()
            assert await client.read_all() == b""
        assert received == data + b"end"
        waiting.cancel()
        await asyncio.wait((waiting,))


async def test_rate_of_a_client_counts_encrypted_bytes(tmp_path: Path) -> None:
    """A record adds 22 bytes to each small event. The kernel counts them as unsent."""
    without_ticks = on_loopback(make_app(), tick_s=3600, **authority().issue(tmp_path).options())
    async with without_ticks as server, Client(server) as client:
        connection = await served_once(server, client)
        network = connection.network
        network.write(bytes(BIG))  # more than the kernel takes
        outflow = network._outflow
        assert outflow is not None
        before = outflow._sent, network.transport.get_extra_info("encrypted_bytes")
        for _ in range(1000):
            network.write(b"0123456789")
        while len(await client.read()) == 16 * 1024:  # until the small records
            network.note_sent(0)
        network.note_sent(0)
        assert network._outflow is outflow
        after = outflow._sent, network.transport.get_extra_info("encrypted_bytes")
        assert after[0] - before[0] == after[1] - before[1] > 1000 * 32
        network.abort()


async def test_end_of_the_connection_is_close_notify(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        client.send(client.encrypt(get("/", "Connection: close")))
        assert statuses(await client.read_all()) == [200]
        assert not await client.more()


async def test_client_that_ends_its_side_gets_its_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        request = client.encrypt(get("/"))
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.send(request + client._outgoing.read())
        client.writer.write_eof()
        assert statuses(await client.read_all()) == [200]


async def test_client_that_ends_its_side_without_close_notify(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        client.send(client.encrypt(get("/")))
        client.writer.write_eof()
        assert statuses(await client.read_all()) == [200]


async def test_broken_record_ends_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        record = bytearray(client.encrypt(get("/")))
        record[-1] ^= 1
        client.send(bytes(record))
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            await client.read_all()
        await until_none(server.connections)


@pytest.mark.parametrize("ends", ["client", "reset", "server"])
async def test_all_is_freed_with_the_connection(tmp_path: Path, ends: str) -> None:
    """Without the garbage collector: an idle connection over TLS holds 20 kB."""
    async with serving(tmp_path) as server, Client(server) as client:
        connection = await served_once(server, client)
        transport = connection.network.transport
        freed: list[weakref.ref[object]] = [weakref.ref(connection.network.reader)]
        freed.append(weakref.ref(transport.get_extra_info("ssl_object")))
        gc.collect()
        gc.disable()
        try:
            if ends == "client":
                client.writer.close()
            elif ends == "reset":
                client.writer.transport.abort()
            else:
                transport.close()
            del connection, transport
            async with asyncio.timeout(DEADLINE_S):
                while any(each() is not None for each in freed):
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


async def test_transport_answers_for_the_one_below(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        connection = await served_once(server, client)
        transport = connection.network.transport
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_extra_info("peername")[0] == "127.0.0.1"
        assert transport.get_extra_info("socket").fileno() > 0
        assert transport.get_extra_info("nothing", 7) == 7
        transport.set_write_buffer_limits(1000, 10)
        assert transport.get_write_buffer_limits() == (10, 1000)
        assert transport.is_reading() and transport.can_write_eof()
        transport.pause_reading()
        assert not transport.is_reading()
        client.send(client.encrypt(get("/")))
        await asyncio.sleep(0.05)
        transport.resume_reading()
        assert statuses(await client.read()) == [200]


# --- other clients --------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 10_000])
async def test_http_without_tls_gets_a_400_that_says_so(tmp_path: Path, size: int) -> None:
    async with serving(tmp_path) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        request = post("/", bytes(5000))
        writer.write(request[:size])
        await asyncio.sleep(0)
        writer.write(request[size:])
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
        writer.close()
        assert statuses(answer) == [400]
        assert b"\nThis port speaks HTTPS: use https:// in place of http://\n" in answer


async def test_handshake_that_fails_is_told_by_an_alert(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "microweb.protocol")
    context = authority().client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(tmp_path, tls_minimum="1.3") as server:
        async with Client(server, context) as client:
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                await client.shake_hands()
        await until_none(server.connections)
    assert caplog.messages == ["no TLS for 127.0.0.1: unsupported protocol"]


async def test_handshakes_that_fail_are_not_logged_too_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "_refusals", Throttle(3600.0, times=2))
    caplog.set_level(logging.INFO, "microweb.protocol")
    async with serving(tmp_path) as server:
        for _ in range(4):
            async with Client(server) as client:
                client.send(b"\x99" * 50)
                assert not await client.more()
        await until_none(server.connections)
    assert caplog.messages == ["no TLS for 127.0.0.1: the first bytes are no hello"] * 2
    assert refusal_log._refusals.take_skipped() == 2


async def test_server_name_that_is_no_host_writes_nothing_to_stderr(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "microweb.protocol")
    async with serving(tmp_path) as server:
        async with Client(server) as client:
            client.send(client.hello().replace(b"localhost", b"local\xffost"))
            assert not await client.more()
        await until_none(server.connections)
    reason = "the server name in the hello is not the name of a host"
    assert caplog.messages == [f"no TLS for 127.0.0.1: {reason}"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("data", [b"\x00" * 100, b"\x16\x03\x01\xff\xff"])
async def test_other_bytes_are_discarded_and_closed(tmp_path: Path, data: bytes) -> None:
    async with serving(tmp_path, head_timeout_s=0.1) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(data)
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
            await until_none(server.connections)
        writer.close()


async def test_flood_after_a_failed_handshake_is_cut(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(OSError):
                while True:
                    writer.write(bytes(100_000))
                    await writer.drain()
            await until_none(server.connections)
        writer.close()


@pytest.mark.parametrize("count", [0, 1, 100])
async def test_client_that_does_not_finish_its_hello(tmp_path: Path, count: int) -> None:
    async with serving(tmp_path, head_timeout_s=0.1) as server, Client(server) as client:
        client.send(client.hello()[:count])
        async with asyncio.timeout(DEADLINE_S):
            assert await client.reader.read() == b""
            await until_none(server.connections)


async def test_client_that_stops_in_the_middle_of_the_handshake(tmp_path: Path) -> None:
    async with serving(tmp_path, head_timeout_s=0.1) as server, Client(server) as client:
        client.send(client.hello())
        while await client.more():
            pass
        await until_none(server.connections)


# --- endings --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1_000_000, 5_000_000, 50_000_000])
async def test_early_answer_reaches_a_client_that_still_uploads(tmp_path: Path, size: int) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        client.send(client.encrypt(post("/", b"", f"Content-Length: {size}")))
        piece = client.encrypt(bytes(100_000))
        client.send(piece)
        for _ in range(size // 100_000 - 1):
            client.send(client.encrypt(bytes(100_000)))
            async with asyncio.timeout(DEADLINE_S):
                await client.writer.drain()
        assert statuses(await client.read_all()) == [413]


async def test_connection_over_the_limit_gets_a_503(tmp_path: Path) -> None:
    one = serving(tmp_path, max_connections=1)
    async with one as server, Client(server) as first, Client(server) as second:
        await first.shake_hands()
        await second.shake_hands()
        second.send(second.encrypt(get("/")))
        assert statuses(await second.read_all()) == [503]


async def test_http_without_tls_over_the_limit_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, max_connections=1) as server, Client(server) as first:
        await first.shake_hands()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(get("/"))
        writer.write_eof()
        assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()
    assert "Traceback" not in caplog.text and "never retrieved" not in caplog.text


async def test_client_that_says_nothing_makes_room(tmp_path: Path) -> None:
    """It counts as idle after a second, as without TLS."""
    async with serving(tmp_path, max_connections=1) as server:
        silent = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        await until(lambda: server.connections)
        pass_a_second(server)
        async with Client(server) as client:
            await client.shake_hands()
            client.send(client.encrypt(get("/", "Connection: close")))
            assert statuses(await client.read_all()) == [200]
        silent[1].close()


async def test_stop_ends_idle_connections_by_close_notify(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        await client.shake_hands()
        client.send(client.encrypt(get("/")))
        assert statuses(await client.read()) == [200]
        stopping = asyncio.create_task(server.stop(silence_s=0.0))
        assert await client.read_all() == b""
        await stopping


async def test_stop_during_a_handshake(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, Client(server) as client:
        client.send(client.hello())
        await client.more()
        await server.stop(silence_s=0.0)
        assert not server.connections
        while await client.more():
            pass


async def test_stop_cuts_a_client_that_does_not_read(tmp_path: Path) -> None:
    async with serving(tmp_path, grace_s=0.2) as server, Client(server) as client:
        await client.shake_hands()
        client.send(client.encrypt(get("/big")))
        await client.more()
        async with asyncio.timeout(DEADLINE_S):
            await server.stop()
        assert not server.connections
