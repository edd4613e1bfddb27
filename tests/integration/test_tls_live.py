"""TLS with real clients: renewals under load, the tools of OpenSSL, many slow handshakes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.certificates import Files, authority
from support.load import Clients
from support.processes import DEADLINE_S, Program
from support.serving import get, on_loopback, until_none
from support.supervising import supervised

from microweb import App, Request, Response, WebSocket
from microweb.middleware.security import SecurityHeaders
from microweb.server.server import Server
from microweb.sse import ServerEvent

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
needs_sslscan = pytest.mark.skipif(shutil.which("sslscan") is None, reason="needs sslscan")
LOOP = os.environ.get("TEST_LOOP", "asyncio")


def make_app() -> App:
    app = App()
    app.use(SecurityHeaders())

    @app.get("/")
    async def index(request: Request) -> Response:
        response = Response(request.scheme)
        response.set_cookie("a", "b")
        return response

    @app.get("/events")
    async def events() -> Response:
        return Response.events(numbers())

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        async for message in socket:
            await socket.send(message)

    return app


async def numbers() -> AsyncIterator[ServerEvent]:
    for number in range(3):
        yield ServerEvent(str(number))


def port_of(server: Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


# --- renewals -------------------------------------------------------------------------


async def renew_under_load(folder: Path, count: int) -> Clients:
    """Renew the certificate `count` times while clients connect; every other time brokenly."""
    files = authority().issue(folder)
    async with on_loopback(make_app(), **files.options()) as server:
        clients = Clients(server.url, keeps=False, host="localhost", tls=authority().client())
        running = asyncio.create_task(clients.run(4))
        tls = server._tls
        assert tls is not None
        for number in range(count):
            seen = clients.answered
            renewed = authority().issue(folder, stem="next")
            before = tls.context
            os.replace(renewed.key, files.key)
            tls.reload()  # the certificate is still the old one
            assert tls.context is before, number
            os.replace(renewed.certificate, files.certificate)
            tls.reload()
            assert tls.context is not before, number
            async with asyncio.timeout(DEADLINE_S):
                while clients.answered < seen + 4:
                    await asyncio.sleep(0)
        clients.stop()
        await running
    return clients


async def test_no_handshake_is_lost_in_renewals(tmp_path: Path) -> None:
    clients = await renew_under_load(tmp_path, 10)
    assert clients.answered >= 40 and clients.failed == []


@pytest.mark.measured
async def test_no_handshake_is_lost_in_80_renewals(tmp_path: Path) -> None:
    clients = await renew_under_load(tmp_path, 80)
    print(f"{clients.answered} handshakes, {len(clients.failed)} failed")
    assert clients.answered >= 320 and clients.failed == []


@pytest.mark.parametrize("keeps", [True, False])
async def test_reload_of_workers_loses_no_request_over_tls(tmp_path: Path, keeps: bool) -> None:
    files = authority().issue(tmp_path)
    with workers(tmp_path, files) as (program, url):
        clients = Clients(url, keeps=keeps, host="localhost", tls=authority().client())
        running = asyncio.create_task(clients.run(8))
        for _ in range(2):
            seen = clients.answered
            program.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(program.err.wait_for, "reload complete")
            async with asyncio.timeout(DEADLINE_S):
                while clients.answered < seen + 50:
                    await asyncio.sleep(0.01)
        clients.stop()
        await running
        assert clients.failed == []
        await asyncio.to_thread(program.stop)


@contextmanager
def workers(folder: Path, files: Files) -> Iterator[tuple[Program, str]]:
    (folder / "app.py").write_text(
        "from microweb import App\n\napp = App()\n\n\n"
        "@app.get('/')\nasync def index() -> str:\n    return 'hello'\n"
    )
    options = ["--host", "127.0.0.1", "--port", "0", "--loop", LOOP, "--workers", "2"]
    command = ["-m", "microweb", "run", "app:app", *options, *files.flags()]
    with supervised(*command, cwd=folder) as found:
        yield found


# --- the tools of OpenSSL -------------------------------------------------------------

OLD = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]


async def run_tool(*command: str) -> tuple[int, str]:
    """Run a program without input; return its exit status and its output."""
    tool = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(DEADLINE_S):
        output, _ = await tool.communicate()
    assert tool.returncode is not None
    return tool.returncode, output.decode(errors="replace")


@needs_openssl
async def test_tls_1_1_is_refused(tmp_path: Path) -> None:
    """The same command succeeds at a server that speaks TLS 1.1, so that it can fail here."""
    files = authority().issue(tmp_path)
    async with on_loopback(make_app(), **files.options()) as server:
        status, output = await run_tool(
            "openssl", "s_client", "-connect", f"127.0.0.1:{port_of(server)}", *OLD
        )
        assert status != 0 and "protocol version" in output, output
        status, output = await run_tool(
            "openssl", "s_client", "-connect", f"127.0.0.1:{port_of(server)}", "-tls1_2"
        )
        assert status == 0 and "TLSv1.2" in output, output
    command = ["openssl", "s_server", "-accept", "0", "-min_protocol", "TLSv1"]
    command += ["-cipher", "ALL:@SECLEVEL=0", "-cert", files.certificate, "-key", files.key]
    old = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert old.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            line = b""
            while not line.startswith(b"ACCEPT"):
                line = await old.stdout.readline()
                assert line, "s_server has ended"
        port = line.decode().strip().rpartition(":")[2]
        status, output = await run_tool(
            "openssl", "s_client", "-connect", f"127.0.0.1:{port}", *OLD
        )
        assert status == 0 and "TLSv1.1" in output, output
    finally:
        old.kill()
        await old.wait()


@needs_openssl
@pytest.mark.parametrize(
    ("groups", "version"), [("ffdhe8192", "-tls1_3"), ("ffdhe2048:X25519", "-tls1_3")]
)
async def test_costly_key_share_is_refused(tmp_path: Path, groups: str, version: str) -> None:
    """207 ms of CPU time for ffdhe8192, which would block the event loop."""
    async with on_loopback(make_app(), **authority().issue(tmp_path).options()) as server:
        target = f"127.0.0.1:{port_of(server)}"
        command = ["openssl", "s_client", "-connect", target, version, "-groups"]
        status, output = await run_tool(*command, groups)
        assert status != 0 and "no peer certificate available" in output, output
        status, output = await run_tool(*command, "X25519:ffdhe2048")
        assert status == 0, output


@needs_sslscan
async def test_sslscan_finds_nothing_weak(tmp_path: Path) -> None:
    async with on_loopback(make_app(), **authority().issue(tmp_path).options()) as server:
        target = f"127.0.0.1:{port_of(server)}"
        status, output = await run_tool("sslscan", "--no-colour", target)
    assert status == 0, output
    enabled = [line.split()[0] for line in output.splitlines() if line.endswith(" enabled")]
    assert enabled == ["TLSv1.2", "TLSv1.3"], output
    ciphers = [
        line.split()[4]
        for line in output.splitlines()
        if line.startswith(("Preferred", "Accepted"))
    ]
    assert len(ciphers) >= 5
    assert all("GCM" in each or "CHACHA20" in each for each in ciphers), output
    assert all(each.startswith(("TLS_", "ECDHE-")) for each in ciphers), output
    assert "not vulnerable to heartbleed" in output
    assert "Session renegotiation not supported" in output


# --- slow handshakes ------------------------------------------------------------------


async def test_many_clients_that_dawdle_do_not_pass_the_limit(tmp_path: Path) -> None:
    """Each sends a hello byte by byte. They count as connections, and make room after a second."""
    client = authority().client()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    hello = outgoing.read()
    files = authority().issue(tmp_path)
    async with on_loopback(make_app(), **files.options(), max_connections=50) as server:
        port = port_of(server)
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        for byte in hello[:20]:
            for _, writer in slow:
                if not writer.is_closing():
                    writer.write(bytes((byte,)))
            await asyncio.sleep(0.1)
            assert len(server.connections) <= 50
            assert len(server._refused) <= 100
        assert all(
            each.network.transport.get_extra_info("ssl_object") is None
            for each in server.connections
        )
        clients = Clients(server.url, keeps=False, host="localhost", tls=client)
        running = asyncio.create_task(clients.run(1))
        async with asyncio.timeout(DEADLINE_S):
            while not clients.answered:
                await asyncio.sleep(0.01)
        clients.stop()
        await running
        for _, writer in slow:
            writer.close()
        await until_none(server.connections)


# --- the rest of the framework --------------------------------------------------------


async def test_cookies_are_secure_and_hsts_is_sent(tmp_path: Path) -> None:
    async with on_loopback(make_app(), **authority().issue(tmp_path).options()) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port_of(server), ssl=authority().client(), server_hostname="localhost"
        )
        writer.write(get("/", "Connection: close"))
        async with asyncio.timeout(DEADLINE_S):
            answer = (await reader.read()).decode()
        writer.close()
    (cookie,) = [line for line in answer.split("\r\n") if line.startswith("Set-Cookie: a=b;")]
    assert "; Secure" in cookie
    assert "\r\nStrict-Transport-Security: max-age=31536000\r\n" in answer
    assert answer.endswith("\r\n\r\nhttps")


async def test_events(tmp_path: Path) -> None:
    async with on_loopback(make_app(), **authority().issue(tmp_path).options()) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port_of(server), ssl=authority().client(), server_hostname="localhost"
        )
        writer.write(get("/events"))
        async with asyncio.timeout(DEADLINE_S):
            for number in range(3):
                await reader.readuntil(f"data: {number}\n\n".encode())
        writer.close()


async def test_websocket(tmp_path: Path) -> None:
    client = pytest.importorskip("websockets.asyncio.client")
    async with on_loopback(make_app(), **authority().issue(tmp_path).options()) as server:
        url = f"wss://localhost:{port_of(server)}/echo"
        options = {"ssl": authority().client(), "host": "127.0.0.1", "max_size": None}
        async with client.connect(url, **options) as socket:
            for message in ("a", "b" * 1000, b"c" * 900_000):
                await socket.send(message)
                assert await socket.recv() == message
