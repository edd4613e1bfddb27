"""Figures in the files of the deployment kit, against the limits and deadlines of microweb."""

from __future__ import annotations

import inspect
import re

from support.deploying import KIT, MAX_UPLOAD
from support.pages import DOCS, read_page

from microweb import Response
from microweb.server.config import ServerConfig

DEFAULTS = ServerConfig()
HEARTBEAT_S = inspect.signature(Response.events).parameters["heartbeat_s"].default
SILENT_S = max(HEARTBEAT_S, DEFAULTS.ping_interval_s)


def seconds(file: str, name: str) -> list[float]:
    """Return the figures of all lines `name 10s` in a file of the kit."""
    found = re.findall(rf"(?m)^\s*{name} (\d+)s\b", (KIT / file).read_text())
    return [float(figure) for figure in found]


def test_proxies_wait_for_slow_clients_as_long_as_microweb() -> None:
    assert seconds("nginx.conf", "client_header_timeout") == [DEFAULTS.head_timeout_s]
    assert seconds("nginx.conf", "client_body_timeout") == [DEFAULTS.body_timeout_s]
    assert seconds("nginx.conf", "send_timeout") == [DEFAULTS.write_timeout_s]
    assert seconds("haproxy.cfg", "timeout http-request") == [DEFAULTS.head_timeout_s]
    assert seconds("haproxy.cfg", "timeout client") == [DEFAULTS.write_timeout_s]
    assert DEFAULTS.write_timeout_s > DEFAULTS.body_timeout_s
    assert seconds("Caddyfile", "read_header") == [DEFAULTS.head_timeout_s]
    assert seconds("Caddyfile", "idle") == [DEFAULTS.idle_timeout_s]


def test_proxies_close_idle_connections_to_the_app_first() -> None:
    to_the_app, to_clients = seconds("nginx.conf", "keepalive_timeout")
    assert to_clients == DEFAULTS.idle_timeout_s
    kept = [
        to_the_app,
        *seconds("haproxy.cfg", "timeout http-keep-alive"),
        *seconds("Caddyfile", "keepalive"),
    ]
    assert len(kept) == 3
    assert max(kept) < DEFAULTS.idle_timeout_s


def test_proxies_outlast_the_silence_of_streams_and_sockets() -> None:
    silences = [
        *seconds("nginx.conf", "proxy_read_timeout"),
        *seconds("haproxy.cfg", "timeout server"),
        *seconds("haproxy.cfg", "timeout tunnel"),
    ]
    assert len(silences) == 3
    assert min(silences) > 2 * SILENT_S


def test_limit_of_nginx_is_that_of_the_largest_route() -> None:
    (limit,) = re.findall(r"(?m)^\s*client_max_body_size (\d+)m;", (KIT / "nginx.conf").read_text())
    assert int(limit) << 20 == MAX_UPLOAD


def test_page_about_nginx_has_the_lines_of_the_kit() -> None:
    page = read_page(DOCS / "how-to" / "run-behind-nginx.md")
    whole, _stream, below_a_prefix, removed = page.blocks("nginx")
    assert statements(whole) <= statements((KIT / "nginx.conf").read_text())
    assert "location /shop/ {" in below_a_prefix
    assert "proxy_set_header X-Forwarded-Prefix /shop;" in removed


def statements(text: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {re.sub(r"\s+", " ", line) for line in lines if line}
