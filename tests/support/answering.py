"""Helpers for tests of responses: requests, a stream that keeps the written bytes, pieces."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from microweb.errors import ClientDisconnected
from microweb.http.bytestream import LongLived
from microweb.http.interfaces import Address, Origin, ServerLimits
from microweb.http.limits import Limits
from microweb.http.request_head import HeaderSection, RequestLines
from microweb.http.response_head import HeadCache
from microweb.parser import Parser
from microweb.request import Request
from microweb.response import Response
from microweb.server.config import ServerConfig


@dataclass
class FakePeer:
    """A `Peer` without a connection."""

    scheme: str = "http"
    address: Address | None = None
    limits: ServerLimits = ServerConfig(max_form_text=1000).limits
    is_draining: bool = False

    def origin_of(self, section: HeaderSection) -> Origin:
        return Origin(self.address, self.scheme)

    @contextmanager
    def cleaning_up(self, request: object) -> Iterator[None]:
        yield


@dataclass
class FakeStream:
    """A `ResponseStream` that keeps the written bytes, and asks for a drain past `high_water`."""

    high_water: int = 1_000_000
    closes_after: int = 1_000_000
    writes: list[bytes] = field(default_factory=list)
    drained_at: list[int] = field(default_factory=list)  # the number of writes at each drain
    long_lived: LongLived | None = None
    held: list[int] = field(default_factory=list)  # the size of each call of `hold`

    def hold(self, size: int) -> None:
        self.held.append(size)

    def write(self, data: bytes | memoryview) -> bool:
        self._check()
        self.writes.append(bytes(data))
        return len(data) > self.high_water

    def write_early(self, data: bytes) -> bool:
        return len(self.writes) >= self.closes_after or self.write(data)

    def _check(self) -> None:
        if len(self.writes) >= self.closes_after:
            raise ClientDisconnected("the peer left")

    async def drain(self) -> None:
        self._check()
        self.drained_at.append(len(self.writes))

    async def read(self) -> bytes:
        return b""

    def set_long_lived(self, long_lived: LongLived | None) -> None:
        self.long_lived = long_lived

    def probe(self, data: bytes) -> None:
        self.writes.append(data)

    is_shielded = False

    def has_ended(self) -> bool:
        return False

    def has_input(self) -> bool:
        return False

    def upgrade(self) -> FakeStream:
        return self

    def interrupt(self) -> None:
        raise AssertionError("nothing stops here")

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)


def make_request(
    method: str = "GET",
    *fields: str,
    version: str = "1.1",
    scheme: str = "http",
    host: str = "testserver",
) -> Request:
    parser = Parser(FakePeer(scheme), RequestLines(), Limits())
    lines = [f"{method} /page HTTP/{version}", f"Host: {host}", *fields, "", ""]
    parser.feed("\r\n".join(lines).encode())
    request = parser.next_request()
    assert request is not None
    return request


GET = make_request()
HEAD = make_request("HEAD")
OLD = make_request(version="1.0")
HEADS = HeadCache()  # with one fixed Date, so that responses can be compared


def encode(response: Response, request: Request = GET, connection: bytes = b"") -> bytes:
    answer = response.encode(request, HEADS, connection)
    assert answer is not None
    return answer


async def send(response: Response, request: Request = GET, connection: bytes = b"") -> FakeStream:
    stream = FakeStream()
    await response.send_to(stream, request, HEADS, connection)
    return stream


def split(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Return the status line, the fields with names in lower case, without Date, and the body."""
    head, end, body = answer.partition(b"\r\n\r\n")
    assert end
    first, *lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    assert len(fields) == len(lines)
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", fields.pop(b"Date"))
    return first, {name.lower(): value for name, value in fields.items()}, body


class Pieces:
    """A source of pieces that records whether it was started and closed."""

    def __init__(self, *pieces: str | bytes | Exception) -> None:
        self.pieces = pieces
        self.started = 0
        self.is_closed = False

    async def generate(self) -> AsyncIterator[str | bytes]:
        try:
            for piece in self.pieces:
                self.started += 1
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.is_closed = True
