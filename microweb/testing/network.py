"""Connections in memory: the server's end is an asyncio transport, the client's end an object.

Both ends behave as sockets do, so that the results of a test hold on the network. Bytes arrive in
pieces. Each direction holds a bounded number of bytes; then the writer waits. Either side may end
its half. A write to a client that has disconnected causes a reset. No thread and no task lies
between the ends: each end sees the other's actions at its next await.
"""

from __future__ import annotations

import asyncio
import ssl

from ..server.listeners import Accept

_KERNEL_BYTES = 64 * 1024  # in a socket's buffer: the server counts them as sent
_PIECE_BYTES = 64 * 1024  # at most this arrives in one piece
_HIGH_WATER = 64 * 1024  # asyncio's own default


def connect(
    accept: Accept,
    *,
    limit: int,
    client: tuple[str, int],
    server: tuple[str, int],
    sslcontext: ssl.SSLContext | None = None,
) -> ClientEnd:
    """Connect to a server by its `asyncio.start_server` callback; return the client's end.

    `limit` is the StreamReader's, in bytes. `client` and `server` are the addresses of the two
    sides. With `sslcontext` the connection counts as TLS and can't be half-closed, but no byte is
    encrypted.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit, loop)
    protocol = asyncio.StreamReaderProtocol(reader, accept, loop)
    extra: dict[str, object] = {"peername": client, "sockname": server}
    if sslcontext is not None:
        extra["sslcontext"] = sslcontext
    end = ClientEnd(protocol, extra)
    protocol.connection_made(end.transport)
    return end


class ClientEnd:
    """The client's end of a connection.

    One task may read while another writes. A cancelled read has taken no bytes; a cancelled write
    may have sent some of its bytes.
    """

    def __init__(self, protocol: asyncio.Protocol, extra: dict[str, object]) -> None:
        self.transport = ServerEnd(protocol, extra)
        self._has_ended = False

    @property
    def _protocol(self) -> asyncio.Protocol:
        protocol = self.transport.get_protocol()
        assert isinstance(protocol, asyncio.Protocol)
        return protocol

    @property
    def is_readable(self) -> bool:
        """Whether `read()` would return without waiting."""
        return self.transport.has_ended or bool(self.transport.arrived)

    async def read(self, max_bytes: int = _PIECE_BYTES) -> bytes:
        """Return the next bytes of the server, `b""` at the end. Raises: ConnectionError."""
        transport = self.transport
        while not (self.is_readable or transport.has_client_left):
            await transport.changed()
        if transport.has_client_left:
            raise ConnectionAbortedError(
                "expected an open connection, but the client has closed it"
            )
        return transport.take(max_bytes)

    async def write(self, data: bytes) -> None:
        """Send `data`; wait while the server does not read. Raises: ConnectionError."""
        transport, rest = self.transport, memoryview(data)
        while rest:
            while not (transport.is_reading() or transport.is_closing() or self._has_ended):
                await transport.changed()
            if transport.is_closing() or self._has_ended:
                raise BrokenPipeError("expected an open connection, but it is closed for writing")
            self._protocol.data_received(bytes(rest[:_PIECE_BYTES]))
            rest = rest[_PIECE_BYTES:]

    def write_eof(self) -> None:
        """Send no more bytes. The server's bytes can still be read, except over TLS."""
        if self._has_ended:
            return
        self._has_ended = True
        if not self.transport.is_closing() and not self._protocol.eof_received():
            self.transport.close()

    def close(self) -> None:
        """Close the connection. If bytes are unread, the server gets a reset, as from a socket."""
        self.transport.close_client()
        self.write_eof()


class ServerEnd(asyncio.Transport):
    """The server's end of a connection: the transport of its StreamReader and StreamWriter."""

    def __init__(self, protocol: asyncio.BaseProtocol, extra: dict[str, object]) -> None:
        super().__init__(extra)
        self.arrived = bytearray()  # written by the server, and not yet read by the client
        self.has_ended = False  # the server writes nothing after `arrived`
        self.has_client_left = False
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._changes: set[asyncio.Future[None]] = set()  # one for each waiting task
        self._is_closing = False
        self._is_lost = False
        self._is_reading = True
        self._is_writing_paused = False
        self._low_water, self._high_water = _HIGH_WATER // 4, _HIGH_WATER

    # --- the client's part

    async def changed(self) -> None:
        """Wait until the server has written, ended, or resumed reading."""
        change = self._loop.create_future()
        self._changes.add(change)
        try:
            await change
        finally:
            self._changes.discard(change)

    def take(self, max_bytes: int) -> bytes:
        """Remove and return the first bytes that arrived, at most `max_bytes`."""
        data = bytes(self.arrived[:max_bytes])
        del self.arrived[:max_bytes]
        if self._is_writing_paused and self.get_write_buffer_size() <= self._low_water:
            self._is_writing_paused = False
            self._protocol.resume_writing()
        if self._is_closing and not self.get_write_buffer_size():
            self._lose(None)
        return data

    def close_client(self) -> None:
        """Mark the connection as closed by the client. Unread bytes cause a reset."""
        if self.has_client_left:
            return
        self.has_client_left = True
        if self.arrived:
            self.arrived.clear()
            self._lose(ConnectionResetError("the client has closed with unread bytes"))
        self._tell()

    # --- the server's part: asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return  # as asyncio does
        if self.has_ended:
            raise RuntimeError("write() after write_eof()")
        if self.has_client_left:
            self._lose(ConnectionResetError("the client has closed"))
            return
        self.arrived += data
        self._tell()
        self._pause_over(self._high_water)

    def write_eof(self) -> None:
        self.has_ended = True
        self._tell()

    def can_write_eof(self) -> bool:
        return self.get_extra_info("sslcontext") is None

    def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = self.has_ended = True
        self._tell()
        if not self.get_write_buffer_size():
            self._lose(None)

    def abort(self) -> None:
        del self.arrived[_KERNEL_BYTES:]
        self._lose(None)

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return max(0, len(self.arrived) - _KERNEL_BYTES)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low_water, self._high_water

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        self._low_water = high // 4 if low is None else low
        self._high_water = high
        self._pause_over(high)

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        self._tell()

    def is_reading(self) -> bool:
        return self._is_reading

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    # --- private

    def _pause_over(self, high_water: int) -> None:
        if not self._is_writing_paused and self.get_write_buffer_size() > high_water:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def _tell(self) -> None:
        for change in self._changes:
            if not change.done():
                change.set_result(None)

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = self._is_closing = self.has_ended = True
        self._tell()
        self._loop.call_soon(self._protocol.connection_lost, error)
