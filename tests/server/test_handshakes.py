"""Listening sockets that take no new connection, but keep those in their queue."""

from __future__ import annotations

import socket
import sys

import pytest

from microweb.server.handshakes import ignore_new_handshakes

linux = pytest.mark.skipif(sys.platform != "linux", reason="a packet filter of Linux")


@linux
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_queue_is_kept_and_new_connections_wait(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listening, socket.socket(family) as late:
        listening.bind((host, 0))
        listening.listen()
        listening.setblocking(False)
        address = listening.getsockname()
        queued = [socket.create_connection(address[:2]) for _ in range(3)]
        assert ignore_new_handshakes(listening)
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.connect(address)
        for peer in queued:
            peer.sendall(b"hello")
            accepted, _ = listening.accept()
            accepted.setblocking(True)
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"answer")
            assert peer.recv(6) == b"answer"
            accepted.close()
            peer.close()
        with pytest.raises(BlockingIOError):
            listening.accept()


@linux
def test_unix_socket_has_no_handshake() -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        assert not ignore_new_handshakes(listening)


def test_socket_that_takes_no_filter() -> None:
    listening = socket.socket()
    listening.close()
    assert not ignore_new_handshakes(listening)
