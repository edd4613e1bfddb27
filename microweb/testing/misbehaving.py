"""A TCP client that breaks HTTP on purpose."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType


class Misbehaving:
    """A TCP client for tests of a server's limits and deadlines: it is slow, silent, or leaves.

    `async with` connects and closes. Bytes are sent unchanged, and read only by the methods below.
    Each wait raises TimeoutError after `timeout_s`. If the server has reset the connection, `send`
    and `receive` raise ConnectionError.

        async with Misbehaving(server.host, server.port) as peer:
            await peer.drip(b"GET / HTTP/1.1\\r\\n", interval_s=0.01)
            await peer.half_close()
            assert await peer.read_all() == b""
    """

    def __init__(self, host: str, port: int, *, timeout_s: float = 10.0) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._buffer = b""  # received, and not yet returned

    async def __aenter__(self) -> Misbehaving:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        """Send all of `data`; wait while the server does not read."""
        async with asyncio.timeout(self._timeout_s):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def drip(self, data: bytes, *, interval_s: float = 0.0) -> None:
        """Send one byte at a time, each in its own TCP segment, `interval_s` apart."""
        for byte in data:
            await self.send(bytes((byte,)))
            await asyncio.sleep(interval_s)

    async def half_close(self) -> None:
        """Send no more bytes (FIN); the server's responses can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    async def reset(self) -> None:
        """Close the socket with a TCP reset, as after a crash. The client can't be used again."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def read_nothing(self) -> None:
        """Make the receive buffer as small as the system allows, so that the server soon waits.

        The default buffer takes megabytes. Call this before a request for a large response.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes of the server, at most `max_bytes`; `b""` at the end."""
        if self._buffer:
            data, self._buffer = self._buffer[:max_bytes], self._buffer[max_bytes:]
            return data
        async with asyncio.timeout(self._timeout_s):
            return await asyncio.get_running_loop().sock_recv(self._socket, max_bytes)

    async def read_until(self, delimiter: bytes) -> bytes:
        """Return the bytes up to and including `delimiter`, or all bytes if the server ends."""
        data = b""
        while delimiter not in data and (piece := await self.receive()):
            data += piece
        head, found, rest = data.partition(delimiter)
        self._buffer = rest + self._buffer
        return head + found

    async def read_all(self) -> bytes:
        """Return all bytes until the server closes its side."""
        pieces = []
        while piece := await self.receive():
            pieces.append(piece)
        return b"".join(pieces)
