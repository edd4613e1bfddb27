"""Behind nginx and HAProxy: client, scheme, host, links and redirects, and forged fields."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from support.certificates import authority
from support.nginx import until_open
from support.processes import DEADLINE_S, free_port
from support.serving import on_loopback

from microweb import App, Request
from microweb.server.config import ServerOptions

pytestmark = pytest.mark.skipif(
    shutil.which("nginx") is None or shutil.which("haproxy") is None,
    reason="needs nginx and haproxy",
)

CLIENT = "127.0.0.9"  # all of 127.0.0.0/8 is this machine
TRUSTED = ServerOptions(trusted_proxies=("127.0.0.1",))


def make_app() -> App:
    app = App(redirect_slashes=True)

    @app.get("/items/{id:int}/")
    async def item(request: Request, id: int) -> dict[str, str | None]:
        return {
            "client": request.client.host if request.client else None,
            "peer": request.peer.host if request.peer else None,
            "url": request.url,
            "link": request.url_for("item", id=id, absolute=True),
            "scheme": request.scheme,
        }

    return app


@contextmanager
def running(argv: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        until_open(port)
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@contextmanager
def nginx(folder: Path, servers: str, port: int) -> Iterator[None]:
    """Run nginx with the `server` blocks `servers`."""
    file, here = folder / "nginx.conf", f"{folder}"
    temporary = " ".join(
        f"{kind}_temp_path {here}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(
        f"daemon off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n{servers}\n}}\n"
    )
    os.chmod(folder, 0o777)
    with running(["nginx", "-p", here, "-c", str(file), "-e", f"{here}/first.log"], port):
        yield


@contextmanager
def haproxy(folder: Path, sections: str, port: int) -> Iterator[None]:
    file = folder / "haproxy.cfg"
    defaults = "defaults\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"
    file.write_text(f"{defaults}{sections}\n")
    with running(["haproxy", "-db", "-q", "-f", str(file)], port):
        yield


def server(port: int, to: int, *lines: str, location: str = "/", path: str = "") -> str:
    settings = "\n".join(f"proxy_set_header {line};" for line in lines)
    return (
        f"server {{ listen 127.0.0.1:{port}; location {location} {{\n"
        f"proxy_pass http://127.0.0.1:{to}{path}; {settings} }} }}"
    )


@asynccontextmanager
async def client(port: int, scheme: str = "http") -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client at the address CLIENT that asks for example.org."""
    transport = httpx.AsyncHTTPTransport(local_address=CLIENT, verify=authority().client())
    async with httpx.AsyncClient(
        transport=transport, base_url=f"{scheme}://localhost:{port}", timeout=DEADLINE_S
    ) as asking:
        asking.headers["Host"] = "example.org"
        yield asking


def port_of(served: object) -> int:
    port: int = served.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    return port


# --- what a proxy says


FOR = "X-Forwarded-For $proxy_add_x_forwarded_for"
ALL = [
    FOR,
    "X-Forwarded-Proto https",
    "X-Forwarded-Host $host",
    "X-Forwarded-Port 8443",
    "X-Forwarded-Prefix /shop",
]


async def test_nginx_that_removes_a_prefix(tmp_path: Path) -> None:
    front = free_port()
    async with on_loopback(make_app(), **TRUSTED, trust_headers=("x-forwarded",)) as app:
        lines = server(front, port_of(app), *ALL, location="/shop/", path="/")
        with nginx(tmp_path, lines, front):
            async with client(front) as asking:
                answer = await asking.get("/shop/items/1/")
                moved = await asking.get("/shop/items/1?a=b")
    assert answer.json() == {
        "client": CLIENT,
        "peer": "127.0.0.1",
        "url": "https://example.org:8443/shop/items/1/",
        "link": "https://example.org:8443/shop/items/1/",
        "scheme": "https",
    }
    assert (moved.status_code, moved.headers["location"]) == (308, "/shop/items/1/?a=b")


async def test_nginx_that_writes_no_prefix(tmp_path: Path) -> None:
    front = free_port()
    async with on_loopback(make_app(), **TRUSTED, root_path="/shop") as app:
        lines = server(front, port_of(app), FOR, "Host $host", location="/shop/", path="/")
        with nginx(tmp_path, lines, front):
            async with client(front) as asking:
                answer = await asking.get("/shop/items/1/")
                moved = await asking.get("/shop/items/1")
    assert answer.json()["link"] == "http://example.org/shop/items/1/"
    assert moved.headers["location"] == "/shop/items/1/"


async def test_two_proxies_that_append(tmp_path: Path) -> None:
    """HAProxy, the first one, replaces scheme and host, and appends a line with the address."""
    first, second = free_port(), free_port()
    frontend = (
        f"listen first\n mode http\n bind 127.0.0.1:{first}\n option forwardfor\n"
        " http-request set-header X-Forwarded-Proto https\n"
        " http-request set-header X-Forwarded-Host %[req.hdr(host)]\n"
        f" server nginx 127.0.0.1:{second}\n"
    )
    appended = server(
        second,
        0,
        FOR,
        'X-Forwarded-Proto "$http_x_forwarded_proto, $scheme"',
        'X-Forwarded-Host "$http_x_forwarded_host, inner"',
        "Host inner",
    )
    async with on_loopback(make_app(), **TRUSTED, trust_headers=("x-forwarded",)) as app:
        lines = appended.replace("127.0.0.1:0", f"127.0.0.1:{port_of(app)}")
        with nginx(tmp_path, lines, second), haproxy(tmp_path, frontend, first):
            async with client(first) as asking:
                forged = {
                    "X-Forwarded-For": "6.6.6.6",
                    "X-Forwarded-Proto": "gopher",
                    "X-Forwarded-Host": "evil.example",
                }
                for fields in ({}, forged):
                    found = (await asking.get("/items/1/", headers=fields)).json()
                    assert (found["client"], found["url"]) == (
                        CLIENT,
                        "https://example.org/items/1/",
                    )


FORWARDED = (
    " http-request add-header Forwarded 'for=%[src];proto=https;host=\"%[req.hdr(host)]\"'\n"
)


async def test_haproxy_that_writes_forwarded(tmp_path: Path) -> None:
    front = free_port()
    async with on_loopback(make_app(), **TRUSTED, trust_headers=("forwarded",)) as app:
        section = (
            f"listen front\n mode http\n bind 127.0.0.1:{front}\n{FORWARDED}"
            f" server app 127.0.0.1:{port_of(app)}\n"
        )
        with haproxy(tmp_path, section, front):
            async with client(front) as asking:
                for forged in ({}, {"Forwarded": "for=6.6.6.6;host=evil"}, {"Forwarded": 'for="'}):
                    answer = await asking.get("/items/1/", headers=forged)
                    assert answer.json()["client"] == CLIENT
                    assert answer.json()["link"] == "https://example.org/items/1/"


# --- what a client forges

ELEMENT = "for=$remote_addr;proto=$scheme;host=$host"

FORGED = [
    {"X-Forwarded-For": "6.6.6.6"},
    {"x-forwarded-for": "127.0.0.1"},
    {"X-FORWARDED-FOR": "127.0.0.1, 127.0.0.1, 127.0.0.1"},
    {"X-Forwarded-For": "unknown"},
    {"X-Forwarded-For": ", ,"},
    {"X-Forwarded-For": "127.0.0.1," * 400},
    {"X-Forwarded-For": "fe80::1%lo"},
    {"X-Forwarded-For": '"127.0.0.1'},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Proto": "javascript"},
    {"X-Forwarded-Host": "evil.example"},
    {"X-Forwarded-Host": "evil.example, evil.example"},
    {"X-Forwarded-Host": "user@evil.example"},
    {"X-Forwarded-Port": "0"},
    {"X-Forwarded-Port": "99999"},
    {"X-Forwarded-Port": "8443"},
    {"X-Forwarded-Prefix": ""},
    {"X-Forwarded-Prefix": "/evil"},
    {"X-Forwarded-Prefix": "//evil.example"},
    {"X-Forwarded-Prefix": "/a/../b"},
    {"X-Forwarded-Prefix": "/\ta"},
    {"X-Real-IP": "6.6.6.6"},
    {"Forwarded": "for=6.6.6.6;host=evil.example;proto=https"},
    {"Forwarded": "for=127.0.0.1"},
    {"Forwarded": 'for="127.0.0.1'},
    {"Forwarded": "for=6.6.6.6;for=127.0.0.1"},
    {"Forwarded": 'host="evil.example, for=127.0.0.1"'},
    {"Forwarded": "for=" + "," * 1000},
    {"Forwarded": "for=_x;proto=https"},
    {"Forwarded": "secret=\xff"},
]


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        (("x-forwarded-for", "x-forwarded-proto"), [FOR, "X-Forwarded-Proto $scheme"]),
        (("x-forwarded",), [*ALL[:1], "X-Forwarded-Proto $scheme", "X-Forwarded-Host $host",
                            "X-Forwarded-Port 80", "X-Forwarded-Prefix ''"]),
        (("forwarded",), [f'Forwarded "{ELEMENT}"']),
        # The last one keeps what the client wrote, so it is refused or ignored.
        (("forwarded",), [f'Forwarded "$http_forwarded, {ELEMENT}"']),
    ],
)  # fmt: skip
async def test_a_client_can_forge_nothing(
    tmp_path: Path, names: tuple[str, ...], lines: list[str]
) -> None:
    assert len(FORGED) == 30
    front = free_port()
    async with on_loopback(make_app(), **TRUSTED, trust_headers=names) as app:
        with nginx(tmp_path, server(front, port_of(app), *lines, "Host $host"), front):
            async with client(front) as asking:
                for fields in FORGED:
                    encoded = {name: value.encode("latin-1") for name, value in fields.items()}
                    answer = await asking.get("/items/1/", headers=encoded)
                    if answer.status_code == 400:
                        assert names == ("forwarded",) and "Forwarded" in fields
                        continue
                    found = answer.json()
                    assert found["client"] == CLIENT, fields
                    assert found["url"] == found["link"] == "http://example.org/items/1/", fields


# --- PROXY protocol


@pytest.mark.parametrize(
    "options",
    ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"],
)
async def test_haproxy_that_sends_a_proxy_header(tmp_path: Path, options: str) -> None:
    front = free_port()
    async with on_loopback(make_app(), **TRUSTED, proxy_protocol=True) as app:
        section = (
            f"listen front\n mode tcp\n bind 127.0.0.1:{front}\n"
            f" server app 127.0.0.1:{port_of(app)} {options} check check-send-proxy inter 100ms\n"
        )
        with haproxy(tmp_path, section, front):
            async with client(front) as asking:
                answer = await asking.get("/items/1/", headers={"X-Forwarded-For": "6.6.6.6"})
        async with httpx.AsyncClient(base_url=app.url) as direct:  # from 127.0.0.1, as HAProxy
            assert (await direct.get("/items/1/")).status_code == 400
    found = answer.json()
    assert (found["client"], found["peer"], found["scheme"]) == (CLIENT, CLIENT, "http")


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
async def test_haproxy_that_passes_tls_through(tmp_path: Path, options: str) -> None:
    front = free_port()
    tls = authority().issue(tmp_path).options()
    async with on_loopback(make_app(), **(TRUSTED | tls), proxy_protocol=True) as app:
        section = (
            f"listen front\n mode tcp\n bind 127.0.0.1:{front}\n"
            f" server app 127.0.0.1:{port_of(app)} {options}\n"
        )
        with haproxy(tmp_path, section, front):
            async with client(front, "https") as asking:
                answer = await asking.get("/items/1/")
    assert answer.json()["client"] == CLIENT
    assert answer.json()["url"] == "https://example.org/items/1/"


async def test_haproxy_that_ends_tls_and_forwards_bytes(tmp_path: Path) -> None:
    front, files = free_port(), authority().issue(tmp_path)
    pair = tmp_path / "pair.pem"
    pair.write_text(Path(files.certificate).read_text() + Path(files.key).read_text())
    async with on_loopback(make_app(), **TRUSTED, proxy_protocol=True) as app:
        section = (
            f"listen front\n mode tcp\n bind 127.0.0.1:{front} ssl crt {pair}\n"
            f" server app 127.0.0.1:{port_of(app)} send-proxy-v2-ssl\n"
        )
        with haproxy(tmp_path, section, front):
            async with client(front, "https") as asking:
                answer = await asking.get("/items/1/")
    assert answer.json()["client"] == CLIENT
    assert answer.json()["url"] == "https://example.org/items/1/"


async def test_a_proxy_line_from_a_stranger_is_a_400() -> None:
    async with on_loopback(make_app(), **TRUSTED, proxy_protocol=True) as app:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port_of(app), local_addr=(CLIENT, 0)
        )
        writer.write(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
