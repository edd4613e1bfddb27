"""The proxies of the deployment kit, in front of its app: all forward the same requests."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from support.deploying import HOST, MAX_UPLOAD
from support.fronts import FORM, PROXIES, Front, clients_of
from support.processes import DEADLINE_S
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Origin


@pytest.fixture(scope="module", params=PROXIES)
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    with PROXIES[name](tmp_path_factory.mktemp(name)) as running:
        yield running


@pytest.fixture(autouse=True)
def shown_log(front: Front) -> Iterator[None]:
    """Print the messages of the proxy, which pytest shows if a test fails."""
    begin = front.log.stat().st_size
    yield
    print(front.log.read_bytes()[begin:].decode(errors="replace"))


def test_page(front: Front) -> None:
    with front.client() as client:
        page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_client_and_url_are_those_of_the_browser(front: Front) -> None:
    """A client can't choose its address by a field of its own."""
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"}
    with front.client("127.0.0.2") as client:
        answer = client.get("/client", headers=forged).json()
    assert answer == {"client": "127.0.0.2", "url": f"https://{HOST}/client"}


def test_upload_of_20_megabytes(front: Front) -> None:
    content = os.urandom(1 << 20) * 20
    with front.client() as client:
        answer = client.post("/uploads", files={"file": ("a.bin", content)})
    assert (answer.status_code, answer.json()) == (
        200,
        {"name": "a.bin", "bytes": len(content), "sha256": sha256(content).hexdigest()},
    )


async def test_declared_body_over_the_limit_is_refused_before_it_is_sent(front: Front) -> None:
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", front.port, ssl=front.context, server_hostname=HOST
        )
        fields = f"Content-Type: {FORM[0]}\r\nContent-Length: {MAX_UPLOAD + 1}"
        writer.write(f"POST /uploads HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n\r\n".encode())
        status_line = asyncio.create_task(reader.readline())
        while not status_line.done():  # Caddy answers only while bytes arrive
            writer.write(bytes(4096))
            await asyncio.wait([status_line], timeout=0.1)
        assert (await status_line).startswith(b"HTTP/1.1 413 ")
        writer.close()
        with suppress(OSError):  # the proxy may reset the connection
            await writer.wait_closed()


def test_chunked_body_over_the_limit_is_refused(front: Front) -> None:
    pieces = [FORM[1].rpartition(b"hello")[0], *[bytes(1 << 20)] * (MAX_UPLOAD >> 20)]
    fields = {"Content-Type": FORM[0]}
    with front.client() as client:
        assert client.post("/uploads", content=iter(pieces), headers=fields).status_code == 413


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_upload_that_is_refused_early_gets_its_answer(
    front: Front, version: str, tmp_path: Path
) -> None:
    """The app answers before the body is there, and the proxy brings the answer to the client."""
    file = tmp_path / "file"
    file.write_bytes(bytes(20_000_000))
    site = f"{HOST}:{front.port}"
    connect = ["--resolve", f"{site}:127.0.0.1", "--cacert", front.kit / "authority.pem"]
    form = ["--form", f"file=@{file}", "-H", f"Host: {HOST}", "-H", "Expect:"]
    shown = ["--output", tmp_path / "body", "--write-out", "%{http_code} %{http_version}"]
    ended = subprocess.run(
        ["curl", "-qsS", f"--http{version}", *connect, *form, *shown, f"https://{site}/client"],
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )
    assert ended.stdout == f"405 {version}"
    if (front.name, version) != ("caddy", "2"):  # there curl may miss the end of the text
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "Method Not Allowed" in (tmp_path / "body").read_text()


def test_first_event_arrives_before_the_second_is_sent(front: Front) -> None:
    with front.client() as client, client.stream("GET", "/ticks?pause_s=3600") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert next(response.iter_text()) == "data: 1\n\n"


async def test_websocket_of_the_page_is_answered(front: Front) -> None:
    opening = partial(
        websocket,
        f"wss://{HOST}/echo",
        host="127.0.0.1",
        port=front.port,
        ssl=front.context,
        origin=Origin(f"https://{HOST}"),
        proxy=None,
    )
    answered = False
    async with asyncio.timeout(DEADLINE_S):
        while not answered:
            with suppress(ConnectionClosedError):  # a 1012: another test has reloaded the app
                async with opening() as opened:
                    for message in ("hello", bytes(100_000)):
                        await opened.send(message)
                        assert await opened.recv() == message
                    answered = True


async def test_no_request_fails_while_the_app_reloads(front: Front) -> None:
    clients = clients_of(front)
    async with asyncio.TaskGroup() as tasks:
        for each in clients:
            tasks.create_task(each.run(2))
        for server in front.servers:
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.err.wait_for, "reload complete")
        for each in clients:
            each.stop()
    assert [each.failed for each in clients] == [[]] * len(clients)
    assert all(each.answered for each in clients)


def test_plain_http_is_redirected(front: Front) -> None:
    url = f"http://127.0.0.1:{front.plain_port}/client?a=b"
    answer = httpx.get(url, headers={"Host": HOST})
    assert answer.status_code == 308
    location = answer.headers["location"].replace(f":{front.port}", "")  # Caddy's port is not 443
    assert location == f"https://{HOST}/client?a=b"


def test_other_hosts_get_no_page(front: Front) -> None:
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized.name|alert"):
        httpx.get(f"https://localhost:{front.port}/", verify=unchecked)
    for url in (f"http://127.0.0.1:{front.plain_port}/client", "/client"):
        with front.client() as client:
            try:
                answer = client.get(url, headers={"Host": "other.example"})
            except httpx.RemoteProtocolError:  # nginx closes the connection
                continue
            assert '"client"' not in answer.text


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_not_forwarded(front: Front, path: str) -> None:
    with front.client() as client:
        assert client.get(path).status_code == 404
