"""nginx.conf of the deployment kit: nginx in front of the kit's app, as its units start it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from support.deploying import (
    HOST,
    KIT,
    MAX_UPLOAD,
    copied,
    free_port,
    make_certificate,
    replaced,
    running,
    served_by_the_units,
)
from support.load import Clients
from support.processes import DEADLINE_S, Program
from websockets.asyncio.client import connect as websocket
from websockets.typing import Origin

from microweb.server.config import ServerConfig

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None or shutil.which("openssl") is None,
    reason="needs nginx and openssl",
)

# The file /etc/nginx/nginx.conf, which includes the file of the kit. Debian's is as short.
MAIN = """
daemon off; worker_processes 2; pid {kit}/nginx.pid; error_log {kit}/error.log info;{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {kit}/body; proxy_temp_path {kit}/proxy;
    fastcgi_temp_path {kit}/f; uwsgi_temp_path {kit}/u; scgi_temp_path {kit}/s;
    include {kit}/nginx.conf;
}}
"""

FORM = (
    "multipart/form-data; boundary=b",
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b--\r\n',
)


class Site(NamedTuple):
    """The app behind nginx."""

    program: Program
    port: int
    plain_port: int
    context: ssl.SSLContext
    errors: Path

    def client(self, source: str = "127.0.0.1") -> httpx.Client:
        """Return a client that asks from the address `source`."""

        def name_host(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = HOST

        return httpx.Client(
            transport=httpx.HTTPTransport(verify=self.context, local_address=source),
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Host": HOST},
            event_hooks={"request": [name_host]},
            timeout=DEADLINE_S,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    kit = copied(tmp_path_factory.mktemp("nginx"))
    context = make_certificate(kit)
    port, plain_port = free_port(), free_port()
    changes = {
        r"/run/app\.sock": f"{kit}/app.sock",
        r"listen \[::\]:443 .*": "",
        r"listen \[::\]:80\b.*": "",
        r"listen 443 ": f"listen 127.0.0.1:{port} ",
        r"listen 80\b": f"listen 127.0.0.1:{plain_port}",
        r"/etc/ssl/example\.org": f"{kit}/site",
    }
    (kit / "nginx.conf").write_text(replaced((kit / "nginx.conf").read_text(), changes))
    main = kit / "main.conf"
    main.write_text(MAIN.format(kit=kit, user=" user root;" if os.getuid() == 0 else ""))
    errors = kit / "error.log"
    with (
        served_by_the_units(kit, "--workers", "2", "--grace-s", "2") as program,
        running(["nginx", "-c", str(main), "-e", str(errors)], port),
    ):
        yield Site(program, port, plain_port, context, errors)


@pytest.fixture(autouse=True)
def shown_errors(site: Site, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Print the errors of nginx, which pytest shows if a test fails."""
    yield
    print(site.errors.read_text())


def test_page(site: Site) -> None:
    with site.client() as client:
        page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_client_and_url_are_those_of_the_browser(site: Site) -> None:
    """A client can't choose its address by a field of its own."""
    forged = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"}
    with site.client("127.0.0.2") as client:
        answer = client.get("/client", headers=forged).json()
    assert answer == {"client": "127.0.0.2", "url": f"https://{HOST}/client"}


def test_upload_of_20_megabytes(site: Site) -> None:
    content = os.urandom(1 << 20) * 20
    with site.client() as client:
        answer = client.post("/uploads", files={"file": ("a.bin", content)})
    assert (answer.status_code, answer.json()) == (
        200,
        {"name": "a.bin", "bytes": len(content), "sha256": sha256(content).hexdigest()},
    )
    assert not list(site.errors.with_name("body").iterdir()), "nginx has stored a body"


def test_body_over_the_limit_is_refused(site: Site) -> None:
    """nginx refuses a declared length at once, and a chunked body once it is too long."""
    head = f"POST /uploads HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {MAX_UPLOAD + 1}\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", site.port), DEADLINE_S) as plain,
        site.context.wrap_socket(plain, server_hostname=HOST) as secure,
    ):
        secure.sendall(head.encode())
        assert secure.recv(1000).startswith(b"HTTP/1.1 413 ")
    with site.client() as client:
        pieces = [FORM[1].rpartition(b"hello")[0], *[bytes(1 << 20)] * (MAX_UPLOAD >> 20)]
        fields = {"Content-Type": FORM[0]}
        assert client.post("/uploads", content=iter(pieces), headers=fields).status_code == 413


def test_first_event_arrives_before_the_second_is_sent(site: Site) -> None:
    with site.client() as client, client.stream("GET", "/ticks?pause_s=3600") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert next(response.iter_text()) == "data: 1\n\n"


async def test_websocket_of_the_page_is_answered(site: Site) -> None:
    async with websocket(
        f"wss://{HOST}/echo",
        host="127.0.0.1",
        port=site.port,
        ssl=site.context,
        origin=Origin(f"https://{HOST}"),
        proxy=None,
    ) as opened:
        for message in ("hello", b"\x00" * 100_000):
            await opened.send(message)
            assert await opened.recv() == message


async def test_no_request_fails_while_the_app_reloads(site: Site) -> None:
    url = f"https://127.0.0.1:{site.port}"
    clients = [
        Clients(
            url,
            path,
            keeps=keeps,
            method=method,
            pause_s=0.02,
            tls=site.context,
            host=HOST,
            content=FORM,
        )
        for keeps in (True, False)
        for method, path in (("GET", "/client"), ("POST", "/uploads"))
    ]
    async with asyncio.TaskGroup() as tasks:
        for each in clients:
            tasks.create_task(each.run(2))
        site.program.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(site.program.err.wait_for, "reload complete")
        for each in clients:
            each.stop()
    assert [each.failed for each in clients] == [[]] * len(clients)
    assert all(each.answered for each in clients)


def test_plain_http_is_redirected(site: Site) -> None:
    answer = httpx.get(f"http://127.0.0.1:{site.plain_port}/client?a=b", headers={"Host": HOST})
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{HOST}/client?a=b")


def test_other_hosts_get_no_answer(site: Site) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{site.plain_port}/", headers={"Host": "other.example"})
    with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized.name"):
        httpx.get(f"https://localhost:{site.port}/")
    with site.client() as client, pytest.raises(httpx.HTTPError):
        client.get("/", headers={"Host": "other.example"}).raise_for_status()


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_not_forwarded(site: Site, path: str) -> None:
    with site.client() as client:
        assert client.get(path).status_code == 404


def test_limits_are_those_of_the_app(site: Site) -> None:
    text = (KIT / "nginx.conf").read_text()
    defaults = ServerConfig()
    for line, value in {
        "client_max_body_size": f"{MAX_UPLOAD >> 20}m",
        "client_header_timeout": f"{defaults.head_timeout_s}s",
        "client_body_timeout": f"{defaults.body_timeout_s}s",
        "send_timeout": f"{defaults.write_timeout_s}s",
    }.items():
        assert f"    {line} {value};" in text
    kept, read = (
        int(re.findall(rf"(?m)^    {name} (\d+)s;", text)[0])
        for name in ("keepalive_timeout", " {4}proxy_read_timeout")
    )
    assert kept < defaults.idle_timeout_s
    assert read > defaults.ping_interval_s + defaults.ping_timeout_s
