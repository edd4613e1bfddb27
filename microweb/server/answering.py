"""The connection as an answer that writes itself has it."""

from __future__ import annotations

from ..http.bytestream import Descriptor, Lasting
from ..parser import Parser
from .disconnects import DisconnectWatch
from .lingering import close
from .network import NetworkStream
from .sendfile import send_file
from .upgrade import UpgradedConnection


class AnswerStream:
    """The `ResponseStream` of one answer."""

    __slots__ = ("_parser", "_watch", "network")

    def __init__(self, network: NetworkStream, watch: DisconnectWatch, parser: Parser) -> None:
        self.network = network
        self._watch = watch
        self._parser = parser

    def write(self, data: bytes | memoryview) -> bool:
        return self.network.write(data)

    async def drain(self) -> None:
        await self.network.drain()

    async def send_file(self, file: Descriptor, offset: int, count: int) -> int:
        return await send_file(self.network, file, offset, count)

    def hold(self, size: int) -> None:
        self.network.hold(size)

    def probe(self, data: bytes) -> None:
        self.network.probe(data)

    def inform(self, lasting: Lasting | None) -> None:
        self._watch.inform(lasting)

    def interrupt(self) -> None:
        self._watch.interrupt()

    async def close(self, *, has_more: bool) -> None:
        """Close behind this answer. Raises: ClientDisconnected."""
        await close(self.network, self._parser, has_more=has_more)

    def upgrade(self) -> UpgradedConnection:
        return UpgradedConnection(self.network, self._watch, self._parser)
