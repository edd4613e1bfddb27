"""The proxies of the deployment kit, each in front of the kit's app, and clients for them."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from .deploying import (
    HOST,
    copied,
    make_certificate,
    program_on_a_port,
    replaced,
    served_by_the_units,
)
from .load import Clients
from .processes import DEADLINE_S, Program, free_port

# A form with one file, `hello`: its media type and its bytes.
FORM = (
    "multipart/form-data; boundary=b",
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello\r\n--b--\r\n',
)

GRACE_S = 2  # old workers keep the connections of a proxy so long
_TWO_WORKERS = ("--workers", "2", "--grace-s", str(GRACE_S))


@dataclass
class Front:
    """A proxy with TLS on `port` and plain HTTP on `plain_port`, and its servers of the app."""

    name: str
    kit: Path
    context: ssl.SSLContext
    servers: list[Program] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    plain_port: int = field(default_factory=free_port)

    @property
    def log(self) -> Path:
        """The file with the messages of the proxy."""
        return self.kit / "proxy.log"

    def rewrite(self, name: str, changes: dict[str, str]) -> Path:
        """Replace each pattern in a file of the kit's copy, and return its path."""
        path = self.kit / name
        path.write_text(replaced(path.read_text(), changes))
        return path

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


def clients_of(front: Front) -> list[Clients]:
    """Return clients that keep their connection or not, and that read or upload."""
    url = f"https://127.0.0.1:{front.port}"
    named = partial(Clients, url, pause_s=0.02, host=HOST, tls=front.context, content=FORM)
    return [
        named(path, keeps=keeps, method=method)
        for keeps in (True, False)
        for method, path in (("GET", "/client"), ("POST", "/uploads"))
    ]


@contextmanager
def running(command: list[str], front: Front) -> Iterator[Front]:
    """Start a proxy, wait until it listens, and end it with the block."""
    home = os.environ | {"HOME": str(front.kit)}
    with (
        open(front.log, "ab") as log,
        subprocess.Popen(command, cwd=front.kit, env=home, stdout=log, stderr=log) as proxy,
    ):
        try:
            until_listening(front, proxy)
            yield front
        finally:
            proxy.terminate()
            try:
                proxy.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                proxy.kill()


def until_listening(front: Front, proxy: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while True:
        assert proxy.poll() is None, front.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", front.port), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < ends_at, front.log.read_text()
            time.sleep(0.02)


# --- nginx ----------------------------------------------------------------------------

# The file /etc/nginx/nginx.conf, which includes the file of the kit.
_NGINX = """
daemon off; worker_processes 2; pid {kit}/nginx.pid; error_log stderr info;{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {kit}/body; proxy_temp_path {kit}/proxy;
    fastcgi_temp_path {kit}/f; uwsgi_temp_path {kit}/u; scgi_temp_path {kit}/s;
    include {kit}/nginx.conf;
}}
"""


@contextmanager
def nginx(folder: Path, *, with_app: bool = True) -> Iterator[Front]:
    """Run nginx in front of the app as its units start it, or without the app."""
    kit = copied(folder)
    front = Front("nginx", kit, make_certificate(kit))
    front.rewrite(
        "nginx.conf",
        {
            r"/run/app\.sock": f"{kit}/app.sock",
            r"listen \[::\]:(443|80)\b.*": "",
            r"listen 443 ": f"listen 127.0.0.1:{front.port} ",
            r"listen 80\b": f"listen 127.0.0.1:{front.plain_port}",
            r"/etc/ssl/example\.org": f"{kit}/site",
        },
    )
    main = kit / "main.conf"
    main.write_text(_NGINX.format(kit=kit, user=" user root;" if os.getuid() == 0 else ""))
    with ExitStack() as stack:
        if with_app:
            front.servers.append(stack.enter_context(served_by_the_units(kit, *_TWO_WORKERS)))
        yield stack.enter_context(running(["nginx", "-c", str(main), "-e", "stderr"], front))


# --- HAProxy --------------------------------------------------------------------------


@contextmanager
def haproxy(
    folder: Path, drain_delay_s: float = 0, *, app_ports: Sequence[int] = ()
) -> Iterator[Front]:
    """Run HAProxy in front of two servers of the app, or of those that listen on `app_ports`."""
    kit = copied(folder)
    front = Front("haproxy", kit, make_certificate(kit))
    pair = kit / "pair.pem"
    pair.write_text((kit / "site.pem").read_text() + (kit / "site.key").read_text())
    ports = app_ports or [free_port(), free_port()]
    file = front.rewrite(
        "haproxy.cfg",
        {
            r"log /dev/log local0": "log stderr format raw local0",
            **({} if os.getuid() == 0 else {r"    (user|group|chroot) .*\n": ""}),
            r"/run/haproxy/admin\.sock": f"{kit}/admin.sock",
            r":::443 v4v6": f"127.0.0.1:{front.port}",
            r":::80 v4v6": f"127.0.0.1:{front.plain_port}",
            r"/etc/haproxy/example\.org\.pem": str(pair),
            r"10\.0\.0\.1:8000": f"127.0.0.1:{ports[0]}",
            r"10\.0\.0\.2:8000": f"127.0.0.1:{ports[1]}",
        },
    )
    with ExitStack() as stack:
        options = ["--grace-s", str(GRACE_S), "--drain-delay-s", str(drain_delay_s)]
        for port in () if app_ports else ports:
            server = program_on_a_port(kit, port, "--workers", "1", *options)
            front.servers.append(stack.enter_context(server))
        for server in front.servers:
            server.out.wait_for("listening on")
        yield stack.enter_context(running(["haproxy", "-db", "-f", str(file)], front))


def ask_haproxy(front: Front, command: str) -> str:
    """Return the answer of HAProxy's administration to a command."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(front.kit / "admin.sock"))
        asked.sendall(f"{command}\n".encode())
        return b"".join(iter(lambda: asked.recv(65536), b"")).decode()


# --- Caddy ----------------------------------------------------------------------------


@contextmanager
def caddy(folder: Path) -> Iterator[Front]:
    """Run Caddy in front of the app as its units start it, with a certificate that is given."""
    kit = copied(folder)
    front = Front("caddy", kit, make_certificate(kit))
    ports = f"http_port {front.plain_port}\n\thttps_port {front.port}"
    file = front.rewrite(
        "Caddyfile",
        {
            r"(?m)^\{\n": f"{{\n\tadmin off\n\t{ports}\n\tdefault_bind 127.0.0.1\n",
            r"(?m)^example\.org \{\n": f"example.org {{\n\ttls {kit}/site.pem {kit}/site.key\n",
            r"unix//run/app\.sock": f"unix/{kit}/app.sock",
        },
    )
    with served_by_the_units(kit, *_TWO_WORKERS) as server:
        front.servers.append(server)
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]
        with running(command, front):
            yield front


PROXIES: dict[str, Callable[[Path], AbstractContextManager[Front]]] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
}
