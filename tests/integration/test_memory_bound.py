"""Large bodies in both directions pass through the server, which does not keep them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from integration.measuring import MeasuredServer, needs_proc, on_both_loops
from support.processes import DEADLINE_S
from support.serving import GET, get

MIB = 1024 * 1024
SIZE = 64 * MIB
ALLOWED = 24 * MIB

pytestmark = needs_proc


def receive_all(client: socket.socket) -> tuple[int, bytes]:
    """Return how many bytes came up to the end, and the last ones."""
    size, last = 0, b""
    while piece := client.recv(256 * 1024):
        size += len(piece)
        last = (last + piece)[-100:]
    return size, last


def idle_bytes(server: MeasuredServer, address: tuple[str, int]) -> int:
    """Return the memory of the server when it has answered once."""
    with socket.create_connection(address, timeout=DEADLINE_S) as client:
        client.sendall(GET)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    server.reset_peak()
    return server.resident_bytes()


@on_both_loops
@pytest.mark.parametrize("chunk", [None, 1000, MIB], ids=["length", "small-chunks", "chunks"])
def test_upload_that_is_streamed(loop: str, chunk: int | None) -> None:
    with MeasuredServer(loop) as server:
        address = server.address
        idle = idle_bytes(server, address)
        with socket.create_connection(address, timeout=DEADLINE_S) as client:
            head = "POST /upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            if chunk is None:
                client.sendall(f"{head}Content-Length: {SIZE}\r\n\r\n".encode())
                for _ in range(SIZE // MIB):
                    client.sendall(bytes(MIB))
            else:
                client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                piece = b"%x\r\n%b\r\n" % (chunk, bytes(chunk)) * (MIB // chunk)
                for _ in range(SIZE // MIB):
                    client.sendall(piece)
                client.sendall(b"0\r\n\r\n")
            _, answer = receive_all(client)
        size = SIZE if chunk is None else SIZE // MIB * (MIB // chunk) * chunk
        assert answer.endswith(b"\r\n\r\n%d" % size)
        grown = server.peak_bytes() - idle
        print(f"{loop}, chunk {chunk}: {grown / MIB:.1f} MiB above idle")
        assert grown < ALLOWED


@on_both_loops
def test_download_that_is_streamed(loop: str) -> None:
    with MeasuredServer(loop) as server:
        address = server.address
        idle = idle_bytes(server, address)
        with socket.create_connection(address, timeout=DEADLINE_S) as client:
            client.sendall(get("/download?mib=64", "Connection: close"))
            size, last = receive_all(client)
        assert size > SIZE and last.endswith(b"\r\n0\r\n\r\n")
        grown = server.peak_bytes() - idle
        print(f"{loop}: {grown / MIB:.1f} MiB above idle")
        assert grown < ALLOWED


@on_both_loops
def test_downloads_that_nobody_reads(loop: str) -> None:
    with MeasuredServer(loop) as server:
        address = server.address
        idle = idle_bytes(server, address)
        clients = [socket.create_connection(address, timeout=DEADLINE_S) for _ in range(20)]
        for client in clients:
            client.sendall(get("/download?mib=64"))
            assert client.recv(1)
        with socket.create_connection(address, timeout=DEADLINE_S) as other:
            other.sendall(GET)
            assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
        grown = server.peak_bytes() - idle
        print(f"{loop}: {grown / MIB:.1f} MiB above idle for 20 connections")
        assert grown < ALLOWED
        for client in clients:
            client.close()


@on_both_loops
def test_files_that_nobody_reads(loop: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "wb") as made:
        made.truncate(SIZE)
    with MeasuredServer(loop) as server:
        address = server.address
        idle = idle_bytes(server, address)
        clients = [socket.create_connection(address, timeout=DEADLINE_S) for _ in range(200)]
        for client in clients:
            client.sendall(get(f"/file?path={path}"))
        for client in clients:
            assert client.recv(1)
        with socket.create_connection(address, timeout=DEADLINE_S) as other:
            other.sendall(GET)
            assert other.recv(65536).startswith(b"HTTP/1.1 200 ")
        grown = server.peak_bytes() - idle
        print(f"{loop}: {grown / MIB:.1f} MiB above idle for 200 connections")
        assert grown < ALLOWED
        size, _ = receive_all_of(clients[0])
        assert size >= SIZE
        for client in clients:
            client.close()


def receive_all_of(client: socket.socket) -> tuple[int, bytes]:
    """Do as `receive_all`, on a connection that persists."""
    client.shutdown(socket.SHUT_WR)
    return receive_all(client)
