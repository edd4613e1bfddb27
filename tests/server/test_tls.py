"""A server over TLS on a real socket, and certificates that are renewed while it serves."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import signal
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.certificates import Authority, Files, authority
from support.processes import Program, run_to_end
from support.serving import DEADLINE_S, get, on_loopback, post
from support.supervising import supervised, until

from microweb import App, Request
from microweb.server.config import ServerConfig
from microweb.server.server import Server
from microweb.server.tls import ServerTLS

LOOP = os.environ.get("TEST_LOOP", "asyncio")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def make_app() -> App:
    app = App()

    @app.get("/")
    async def index(request: Request) -> dict[str, object]:
        tls = request.tls
        client = None if tls is None or tls.client is None else tls.client.common_name
        return {
            "scheme": request.scheme,
            "url": request.url,
            "version": tls and tls.version,
            "client": client,
        }

    @app.post("/", max_body=1000)
    async def size(request: Request) -> str:
        return str(len(await request.body()))

    return app


async def connect(server: Server, client: ssl.SSLContext, name: str = "localhost") -> Streams:
    host, port = server.sockets[0].getsockname()[:2]
    return await asyncio.open_connection(host, port, ssl=client, server_hostname=name)


async def ask(streams: Streams, request: bytes = get("/")) -> bytes:
    """Return the response to `request`, up to the end of its JSON or text."""
    reader, writer = streams
    async with asyncio.timeout(DEADLINE_S):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.splitlines() if b": " in line)
        return await reader.readexactly(int(fields[b"Content-Length"]))


async def ask_once(server: Server, client: ssl.SSLContext, name: str = "localhost") -> bytes:
    streams = await connect(server, client, name)
    try:
        return await ask(streams)
    finally:
        streams[1].close()


async def test_request_over_tls(tmp_path: Path) -> None:
    options = authority().issue(tmp_path).options()
    async with on_loopback(make_app(), **options) as server:
        assert server.url.startswith("https://127.0.0.1:")
        answer = await ask_once(server, authority().client())
    expected = '{"scheme":"https","url":"https://a/","version":"1.3","client":null}'
    assert answer.decode() == expected


async def test_requests_of_one_connection(tmp_path: Path) -> None:
    async with on_loopback(make_app(), **authority().issue(tmp_path).options()) as server:
        streams = await connect(server, authority().client())
        assert [await ask(streams, post("/", bytes(n))) for n in (0, 1, 999)] == [
            b"0",
            b"1",
            b"999",
        ]
        streams[1].close()


async def test_request_without_tls_has_none() -> None:
    async with on_loopback(make_app()) as server:
        host, port = server.sockets[0].getsockname()[:2]
        streams = await asyncio.open_connection(host, port)
        assert b'"version":null' in await ask(streams)
        streams[1].close()


async def test_client_certificate_is_in_the_request(tmp_path: Path) -> None:
    options = authority().issue(tmp_path).options()
    own = authority().issue(tmp_path, "ann@example.org", stem="ann", common_name="ann")
    ca = authority().write(tmp_path)
    async with on_loopback(
        make_app(), **options, tls_client_ca=(ca,), tls_client="required"
    ) as server:
        assert b'"client":"ann"' in await ask_once(server, authority().client(own))
        streams = await connect(server, authority().client())
        with pytest.raises(OSError):  # with TLS 1.3 the refusal comes after the handshake
            await ask(streams)
        streams[1].close()


# --- renewed files --------------------------------------------------------------------


def replace(old: Files, new: Files) -> None:
    """Put new files in the place of the old ones, as a renewal does."""
    os.replace(new.certificate, old.certificate)
    os.replace(new.key, old.key)


class House:
    """Files of a certificate, and the TLS of a server that uses them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = authority().issue(folder)
        self.tls = ServerTLS(ServerConfig.from_options(self.files.options()), limit=1024)
        self.now = 0.0
        self.look()

    def look(self) -> None:
        self.now += 10.0
        self.tls.check(self.now)

    def renew(self, by: Authority | None = None) -> Files:
        return (by or authority()).issue(self.folder, stem="next")


@pytest.fixture
def house(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> House:
    caplog.set_level(logging.INFO, "microweb.server")
    return House(tmp_path)


def test_unchanged_files_keep_the_context(house: House, caplog: pytest.LogCaptureFixture) -> None:
    before = house.tls.context
    house.look()
    assert house.tls.context is before
    assert caplog.messages == []


def test_renewed_files_are_used(house: House, caplog: pytest.LogCaptureFixture) -> None:
    before = house.tls.context
    replace(house.files, house.renew())
    house.tls.check(house.now + 9.9)  # the next look is not due
    assert house.tls.context is before
    house.look()
    assert house.tls.context is not before
    assert caplog.messages == [f"the certificates are renewed: {house.files.certificate}"]


def test_link_that_is_switched_is_a_renewal(tmp_path: Path) -> None:
    files = authority().issue(tmp_path, stem="1")
    link = Files(str(tmp_path / "live.pem"), str(tmp_path / "live.key"))
    for name, target in zip(link, files, strict=True):
        os.symlink(target, name)
    tls = ServerTLS(ServerConfig.from_options(link.options()), limit=1024)
    before = tls.context
    for name, target in zip(link, authority().issue(tmp_path, stem="2"), strict=True):
        os.symlink(target, f"{name}.new")
        os.replace(f"{name}.new", name)
    tls.check(100.0)
    assert tls.context is not before


def test_broken_pair_is_one_line_and_the_old_one_is_served(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    before = house.tls.context
    os.replace(house.renew().key, house.files.key)
    house.look()
    assert caplog.messages == []  # perhaps the certificate follows
    for _ in range(5):
        house.look()
    (line,) = caplog.messages
    assert line.endswith(
        "the certificate and the key do not match: the old certificates are still served"
    )
    assert house.tls.context is before
    replace(house.files, house.renew())
    house.look()
    assert house.tls.context is not before
    assert "are renewed" in caplog.messages[-1]


def test_certificate_that_follows_its_key_is_no_fault(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    renewed = house.renew()
    os.replace(renewed.key, house.files.key)
    house.look()
    os.replace(renewed.certificate, house.files.certificate)
    house.look()
    assert caplog.messages == [f"the certificates are renewed: {house.files.certificate}"]


def test_file_that_is_gone(house: House, caplog: pytest.LogCaptureFixture) -> None:
    before = house.tls.context
    os.unlink(house.files.key)
    for _ in range(3):
        house.look()
    assert len(caplog.messages) == 1 and "can't read" in caplog.messages[0]
    assert house.tls.context is before


def test_files_that_are_put_back_as_they_were(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    os.rename(house.files.key, f"{house.files.key}.away")
    house.look()
    os.rename(f"{house.files.key}.away", house.files.key)
    for _ in range(3):
        house.look()
    assert caplog.messages == []


def test_reload_reads_the_files_at_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    before = house.tls.context
    house.tls.reload()
    assert house.tls.context is not before
    os.unlink(house.files.key)
    house.tls.reload()
    assert ["renewed" in line for line in caplog.messages] == [True, False]


def test_expired_certificate_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC)
    files = authority().issue(
        tmp_path, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
    )
    config = ServerConfig.from_options(files.options())
    ServerTLS(config, limit=1024, warns=False)
    assert caplog.messages == []
    ServerTLS(config, limit=1024)
    (line,) = caplog.messages
    assert " has expired on " in line and line.endswith(": clients refuse it")


async def test_kept_connection_survives_a_renewal_and_a_new_one_gets_it(tmp_path: Path) -> None:
    """The new certificate is of another authority, so that the clients see which they get."""
    files, other = authority().issue(tmp_path), Authority()
    async with on_loopback(make_app(), **files.options()) as server:
        kept = await connect(server, authority().client())
        await ask(kept)
        replace(files, other.issue(tmp_path, stem="next"))
        assert server._tls is not None
        server._tls.reload()
        assert b"https" in await ask(kept)
        assert b"https" in await ask_once(server, other.client())
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server, authority().client())
        kept[1].close()


async def test_client_policy_is_renewed_too(tmp_path: Path) -> None:
    files, other = authority().issue(tmp_path), Authority()
    ca = authority().write(tmp_path)
    ann = authority().issue(tmp_path, "ann@example.org", stem="ann", common_name="ann")
    eve = other.issue(tmp_path, "eve@example.org", stem="eve", common_name="eve")
    async with on_loopback(
        make_app(), **files.options(), tls_client_ca=(ca,), tls_client="required"
    ) as server:
        assert b"ann" in await ask_once(server, authority().client(ann))
        Path(ca).write_bytes(Path(other.write(tmp_path, "other")).read_bytes())
        assert server._tls is not None
        server._tls.check(server.state.clock() + 11.0)
        client = authority().client(eve)
        assert b"eve" in await ask_once(server, client)
        with pytest.raises(OSError):
            await ask_once(server, authority().client(ann))


# --- the command line -----------------------------------------------------------------

APP = """import os
from microweb import App, Request

app = App()


@app.get("/")
async def index(request: Request) -> str:
    return f"{request.scheme} {os.getpid()}"
"""


def fetch(url: str, client: ssl.SSLContext) -> str:
    """Return the body of a response over a new connection."""
    connection = http.client.HTTPSConnection(
        urlsplit(url).netloc, timeout=DEADLINE_S, context=client
    )
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def run_with(folder: Path, *flags: str) -> list[str | Path]:
    (folder / "app.py").write_text(APP)
    host = ["--host", "127.0.0.1", "--port", "0", "--loop", LOOP]
    return ["-m", "microweb", "run", "app:app", *host, *flags]


def test_one_process_reads_renewed_files_at_sighup(tmp_path: Path) -> None:
    files, other = authority().issue(tmp_path), Authority()
    with Program(*run_with(tmp_path, *files.flags()), cwd=tmp_path) as program:
        (url,) = program.urls()
        assert url.startswith("https://")
        assert fetch(url, authority().client()) == f"https {program.process.pid}"
        replace(files, other.issue(tmp_path, stem="next"))
        program.process.send_signal(signal.SIGHUP)
        until(lambda: is_trusted(url, other))
        assert fetch(url, other.client()) == f"https {program.process.pid}"
        program.stop()


def is_trusted(url: str, by: Authority) -> bool:
    try:
        fetch(url, by.client())
    except ssl.SSLCertVerificationError:
        return False
    return True


def test_workers_speak_tls(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    flags = run_with(tmp_path, *files.flags(), "--workers", "2")
    with supervised(*flags, cwd=tmp_path) as (program, url):
        client = authority().client()
        answers: set[str] = set()
        until(lambda: answers.add(fetch(url, client)) or len(answers) == 2)  # type: ignore[func-returns-value]
        assert all(answer.startswith("https ") for answer in answers)
        other = Authority()
        replace(files, other.issue(tmp_path, stem="next"))
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("reload complete")
        # Until an old worker has read its signal, it may accept one more connection.
        until(lambda: is_trusted(url, other))
        program.stop()


def test_relative_paths_after_the_app_has_changed_the_directory(tmp_path: Path) -> None:
    authority().issue(tmp_path)
    command = run_with(tmp_path, "--tls-certificate", "server.pem", "--tls-key", "server.key")
    (tmp_path / "app.py").write_text(f"import os\n\nos.chdir('/')\n{APP}")
    with Program(*command, cwd=tmp_path) as program:
        (url,) = program.urls()
        assert fetch(url, authority().client()).startswith("https ")
        other = Authority()
        other.issue(tmp_path)
        program.process.send_signal(signal.SIGHUP)
        until(lambda: is_trusted(url, other))
        program.stop()


def test_reload_of_workers_with_a_broken_pair_keeps_the_old_ones(tmp_path: Path) -> None:
    files = authority().issue(tmp_path)
    flags = run_with(tmp_path, *files.flags(), "--workers", "2")
    with supervised(*flags, cwd=tmp_path) as (program, url):
        Path(files.key).write_text(Path(authority().issue(tmp_path, stem="other").key).read_text())
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("the certificate and the key do not match")
        program.err.wait_for("reload failed")
        assert fetch(url, authority().client()).startswith("https ")
        program.stop()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_pair_is_one_line_and_status_1(tmp_path: Path, workers: str, command: str) -> None:
    files = authority().issue(tmp_path)
    wrong = files._replace(key=authority().issue(tmp_path, stem="other").key)
    argv = run_with(tmp_path, *wrong.flags(), "--workers", workers)
    argv[2] = command
    ended = run_to_end(argv, tmp_path)
    assert ended.returncode == 1
    expected = f"microweb: tls_certificate: {wrong.certificate} with {wrong.key}: "
    expected += "the certificate and the key do not match\n"
    assert ended.stderr == expected


def test_check_names_an_expired_certificate(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    files = authority().issue(
        tmp_path, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
    )
    argv = run_with(tmp_path, *files.flags())
    argv[2] = "check"
    ended = run_to_end(argv, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert f"the certificate {files.certificate} has expired on " in ended.stdout
