"""nginx in front of servers on this machine: connections are kept, no request is sent twice."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .processes import DEADLINE_S, free_port

IS_INSTALLED = shutil.which("nginx") is not None

_CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream backends {{ {backends} keepalive 32; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location {prefix} {{
      proxy_pass http://backends{path}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_next_upstream {retries};
    }}
  }}
}}
"""


@contextmanager
def nginx(*backends: int, prefix: str = "/") -> Iterator[tuple[int, Path]]:
    """Yield the port of nginx in front of the ports `backends`, and its log of errors.

    It takes `prefix`, such as `/api/`, out of the path.

    nginx sends a request that a backend has got to no other one. With several backends it tries the
    next one if it can't connect.
    """
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder:
        port = free_port()
        lines = " ".join(f"server 127.0.0.1:{backend} max_fails=0;" for backend in backends)
        retries = "error" if len(backends) > 1 else "off"
        file = Path(folder, "nginx.conf")
        text = _CONFIGURATION.format(
            folder=folder,
            backends=lines,
            port=port,
            retries=retries,
            prefix=prefix,
            path="" if prefix == "/" else "/",  # without a path nginx sends the target unchanged
        )
        file.write_text(text)
        os.chmod(folder, 0o777)
        running = subprocess.Popen(["nginx", "-p", folder, "-c", file, "-e", f"{folder}/first.log"])
        try:
            until_open(port)
            yield port, Path(folder, "error.log")
        finally:
            running.terminate()
            running.wait(DEADLINE_S)


def until_open(port: int) -> None:
    """Wait until a program listens on `port`."""
    ends_at = time.monotonic() + DEADLINE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.02)
