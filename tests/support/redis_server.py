"""A Redis server for tests, on a Unix socket, without files on the disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support.processes import DEADLINE_S

COMMAND = shutil.which("redis-server")


class RedisServer(NamedTuple):
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]

    @contextmanager
    def restarted(self) -> Iterator[None]:
        """Run a new, empty server at the socket of this one, which has ended, in the block."""
        with running(Path(self.url.removeprefix("unix://"))):
            yield


@contextmanager
def redis_server(*, cluster: bool = False) -> Iterator[RedisServer]:
    """Yield a server until the block ends. With `cluster`, it is the only node of a cluster."""
    # Not in pytest's folder, because its path may be too long for a socket (107 bytes).
    with tempfile.TemporaryDirectory(prefix="mw-redis-") as folder:
        path = Path(folder, "socket")
        with running(path, cluster=cluster) as process:
            if cluster:
                take_all_slots(path)
            yield RedisServer(f"unix://{path}", process)


@contextmanager
def running(path: Path, *, cluster: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    assert COMMAND is not None
    options = {"port": "0", "unixsocket": str(path), "save": "", "dir": str(path.parent)}
    if cluster:
        options |= {"cluster-enabled": "yes", "cluster-require-full-coverage": "no"}
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    process = subprocess.Popen(
        [COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        wait_for_pong(path, process)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def take_all_slots(path: Path) -> None:
    """Assign all keys to the only node of a cluster."""
    ends_at = time.monotonic() + DEADLINE_S
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        client.sendall(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
        assert client.recv(5) == b"+OK\r\n"
        info = b""
        while b"cluster_state:ok" not in info:
            assert time.monotonic() < ends_at
            client.sendall(b"CLUSTER INFO\r\n")
            info = client.recv(65536)


def wait_for_pong(path: Path, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_S)
            try:
                client.connect(str(path))
                client.sendall(b"PING\r\n")
                if client.recv(7) == b"+PONG\r\n":
                    return
            except OSError:  # the server does not yet listen
                time.sleep(0.01)
    process.kill()
    said = process.communicate()[0].decode()
    raise AssertionError(f"redis-server did not start: {said[-2000:]}")
