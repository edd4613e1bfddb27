"""The connection's interface for a streamed answer, and the properties of such an answer."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

from ..bodies.body import WrittenBody
from ..bodies.stream import StreamBody
from ..http.bytestream import Descriptor, LongLived
from ..http.framing import CLOSE
from ..http.headers import list_members
from ..parser import Parser
from ..request import Request
from ..response import Response
from .disconnects import DisconnectWatch
from .lingering import close
from .network import NetworkStream
from .records import note_first_byte
from .sendfile import send_file
from .upgrade import UpgradedConnection


class AnswerStream:
    """The `ResponseStream` of one answer."""

    __slots__ = ("_parser", "_watch", "network", "write")

    write: Callable[[bytes | memoryview], bool]

    def __init__(self, network: NetworkStream, watch: DisconnectWatch, parser: Parser) -> None:
        self.network = network
        self._watch = watch
        self._parser = parser
        self.write = network.write  # the method itself: one call less for each piece
        if network.record is not None:
            self.write = note_first_byte(network.record, network.state.precise_clock, network.write)

    def write_early(self, data: bytes) -> bool:
        """Send `data`, unless the client has left: return whether to `drain()` before more."""
        return self.network.transport.is_closing() or self.write(data)

    async def drain(self) -> None:
        """Wait until the peer has taken most of the written bytes. Raises: ClientDisconnected."""
        await self.network.drain()

    async def send_file(self, file: Descriptor, offset: int, count: int) -> int:
        """Send a part of a file by the kernel; return how many bytes, 0 if it cannot."""
        return await send_file(self.network, file, offset, count)

    async def send_path(self, path: str | PathLike[str]) -> bool:
        """Return False: this server sends files itself."""
        return False

    def hold(self, size: int) -> None:
        """Count `size` bytes of the answer as buffered for the client, until the next call."""
        self.network.hold(size)

    def probe(self, data: bytes) -> None:
        """Send `data` to test whether the peer still reads: see `NetworkStream.probe`."""
        self.network.probe(data)

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        """Call its `tick()` once a second, and its `stop()` when the server stops."""
        self._watch.set_long_lived(long_lived)

    def interrupt(self) -> None:
        """Cancel the answer's task, unless it is shielded or already ending."""
        self._watch.interrupt()

    async def close(self, *, has_more: bool) -> None:
        """Close after this answer. Raises: ClientDisconnected."""
        await close(self.network, self._parser, has_more=has_more)

    def upgrade(self) -> UpgradedConnection:
        """Return the connection for another protocol, after the 101 is written."""
        return UpgradedConnection(self.network, self._watch, self._parser)


def may_read_body(response: Response) -> bool:
    """Whether an answer reads the body of its request while it is sent."""
    source = response.source
    return isinstance(source, WrittenBody) and source.may_read_body


def is_streaming(response: Response) -> bool:
    """Whether an answer is sent in pieces, without a declared length."""
    return (
        isinstance(response.source, StreamBody) and "content-length" not in response.headers.lines
    )


def persistence_of(response: Response, request: Request, connection: bytes) -> bytes:
    """Return the Connection field line for an answer that is sent by `Response.send_to`.

    This is `connection`, or `CLOSE` if the connection must close after the answer.
    """
    source, headers = response.source, response.headers
    if isinstance(source, WrittenBody):
        minor_version = request.section.minor_version
        connection = CLOSE if source.ends_by_close(minor_version, headers) else connection
    if "connection" not in headers.lines:
        return connection
    return CLOSE if "close" in list_members(headers["connection"].lower()) else connection
