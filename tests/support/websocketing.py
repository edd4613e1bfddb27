"""Helpers for tests of WebSockets: handshakes and frames as bytes, a client in memory."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Unpack

from support.serving import DEADLINE_S, MemoryHouse, in_memory

from microweb import App, WebSocket
from microweb.server.config import ServerOptions
from microweb.testing.network import ClientEnd
from microweb.websocket.protocol import Frames, Message

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS = {
    "Host": "testserver",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10


def handshake(
    target: str = "/ws",
    *lines: str,
    method: str = "GET",
    version: str = "1.1",
    **changed: str | None,
) -> bytes:
    """Return a handshake. `changed` replaces fields (`_` means `-`); None removes a field."""
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    given = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/{version}", *given, *lines, "", ""]).encode()


def masked(
    payload: bytes | str, opcode: int | None = None, *, bits: int = FIN, mask: bytes = b"\1\2\3\4"
) -> bytes:
    """Return one frame from a client. RFC 6455 section 5.2"""
    if opcode is None:
        opcode = TEXT if isinstance(payload, str) else BINARY
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2)
    else:
        length = b"\xff" + size.to_bytes(8)
    key = (mask * (size // 4 + 1))[:size]
    hidden = (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(size)
    return bytes((bits | opcode,)) + length + mask + hidden


def close_frame(code: int, reason: str = "") -> bytes:
    return masked(code.to_bytes(2) + reason.encode(), CLOSE)


DEFLATE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)  # RFC 1951


def empty_blocks(size: int) -> bytes:
    """Return Huffman tables without data: the most expensive bytes, 250 ns each."""
    lengths = "".join("100" if code in (1, 18) else "000" for code in DEFLATE_ORDER)
    table = "1" + f"{138 - 11:07b}"[::-1] + "1" + f"{118 - 11:07b}"[::-1] + "0"  # 256 zeros, a one
    block = "0" + "01" + "00000" + "00000" + f"{18 - 4:04b}"[::-1] + lengths + table + "0" + "0"
    bits = block * (8 * size // len(block))
    bits += "000" + "0" * (-(len(bits) + 3) % 8)  # the header of the stored block at the end
    return int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")


class Frame:
    """One frame from the server."""

    def __init__(self, first: int, payload: bytes) -> None:
        self.first = first
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Frame({self.first:#x}, {self.payload!r})"


def text(payload: str) -> Frame:
    return Frame(FIN | TEXT, payload.encode())


def closed(code: int, reason: str = "") -> Frame:
    return Frame(FIN | CLOSE, code.to_bytes(2) + reason.encode())


PINGED = Frame(FIN | PING, b"")


class Peer:
    """A client's end that reads frames; `shaken` makes it."""

    def __init__(self, end: ClientEnd) -> None:
        self.end = end
        self.head = b""
        self._buffer = b""

    async def shake_hands(self, request: bytes) -> Peer:
        """Send a handshake, with any frames after it, and read the head of the response."""
        await self.end.write(request)
        while b"\r\n\r\n" not in self._buffer:
            await self._read_more()
        self.head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return self

    async def send(self, *frames: bytes) -> None:
        await self.end.write(b"".join(frames))

    async def frame(self) -> Frame | None:
        """Return the next frame, or None when the server has closed its side."""
        while (found := self._parse()) is None:
            if not await self._read_more():
                assert not self._buffer, self._buffer
                return None
        return found

    async def frames(self) -> list[Frame]:
        """Return all frames until the server closes its side."""
        found = []
        while (frame := await self.frame()) is not None:
            found.append(frame)
        return found

    async def frames_until_close(self) -> list[Frame]:
        """Return all frames up to and including the server's close frame."""
        found: list[Frame] = []
        while not found or found[-1].first != FIN | CLOSE:
            frame = await self.frame()
            assert frame is not None
            found.append(frame)
        return found

    def _parse(self) -> Frame | None:
        data = self._buffer
        if len(data) < 2:
            return None
        start, size = 2, data[1]
        if size == 126:
            start, size = 4, int.from_bytes(data[2:4])
        elif size == 127:
            start, size = 10, int.from_bytes(data[2:10])
        if len(data) < start + size:
            return None
        self._buffer = data[start + size :]
        return Frame(data[0], data[start : start + size])

    async def _read_more(self) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            try:
                data = await self.end.read()
            except ConnectionError:
                data = b""
        self._buffer += data
        return bool(data)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


Endpoint = Callable[[WebSocket], Awaitable[object]]


@asynccontextmanager
async def serving(
    endpoint: Endpoint, app: App | None = None, **options: Unpack[ServerOptions]
) -> AsyncIterator[tuple[MemoryHouse, Peer]]:
    """Serve an endpoint at /ws, and connect a peer that has not sent any frame."""
    app = app or App()
    app.websocket("/ws")(endpoint)
    app.freeze()
    async with in_memory(app, **options) as house:
        peer = Peer(house.connect())
        yield house, peer
        peer.end.close()


async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


ENDED: list[int | None] = []  # the close code of each endpoint that waits forever, after its end


async def wait_for_ever(socket: WebSocket) -> None:
    await socket.accept()
    await wait_for_ever_in(socket)


async def wait_for_ever_in(socket: WebSocket) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ENDED.append(socket.close_code)


async def accept(socket: WebSocket) -> None:
    await socket.accept()


@asynccontextmanager
async def counted_turns() -> AsyncIterator[list[int]]:
    """Count how many turns of the event loop another task gets in the block."""

    async def count() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    turns = [0]
    counting = asyncio.create_task(count())
    try:
        yield turns
    finally:
        counting.cancel()


LIMIT = 1000
OFFER = "permessage-deflate; client_max_window_bits"


class Received:
    """Return the result of receiving frames in these pieces."""

    def __init__(self, *pieces: bytes, limit: int = LIMIT, offers: tuple[str, ...] = ()) -> None:
        self.frames = Frames(limit)
        self.frames.negotiate(list(offers))
        self.messages: list[Message] = []
        for piece in pieces:
            if self.frames.is_over:
                break
            self.frames.feed(piece)
            while (message := self.frames.next_message()) is not None or self.frames.has_more:
                if message is not None:
                    self.messages.append(message)

    @property
    def output(self) -> bytes:
        return self.frames.output
