"""Read a connection's bytes by the parser alone, as the server does: heads, and whole bodies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from microweb.errors import ContentTooLarge, ProtocolError
from microweb.http.framing import CLOSE, ChunkedDecoder
from microweb.http.headers import Headers
from microweb.http.interfaces import Origin
from microweb.http.limits import Limits
from microweb.http.request_head import RequestLines
from microweb.parser import Parser
from microweb.request import Request
from microweb.server.config import ServerConfig

MAX_BODY = 16 * 1024 * 1024


class FakePeer:
    """A `Peer` without a connection."""

    address = None
    scheme = "http"
    limits = ServerConfig(max_form_text=1000).limits
    is_draining = False

    def origin_of(self, headers: Headers) -> Origin:
        return Origin(None, "http")


@dataclass
class Exchange:
    """The parsed parts of one request."""

    method: str
    target: str
    path: str
    query_string: str
    host: str
    fields: list[tuple[str, str]]
    minor_version: int
    is_persistent: bool
    expects_continue: bool
    body: bytes | None = None  # None if no decoder was made
    trailers: list[tuple[str, str]] = field(default_factory=list)
    is_whole: bool = True


@dataclass
class Outcome:
    """All exchanges of a connection, and the refusal that ended it."""

    exchanges: list[Exchange]
    refusal: type[Exception] | None = None
    reason: str = ""


class Reader:
    """Reads a connection as the server does. It reads each body completely."""

    def __init__(self, limits: Limits | None = None, lines: RequestLines | None = None) -> None:
        self.parser = Parser(
            FakePeer(), RequestLines() if lines is None else lines, limits or Limits()
        )
        self.exchanges: list[Exchange] = []
        self.requests: list[Request] = []

    def feed(self, data: bytes) -> None:
        """Parse the bytes of one read. Raises: ProtocolError, ContentTooLarge."""
        if self.parser.decoder is not None:
            self.parser.feed(data)
            data = b""
            if not self._read_body():
                return
        while (request := self.parser.next_request(data)) is not None:
            data = b""
            self._begin(request)
            if not self._read_body():
                break

    def _begin(self, request: Request) -> None:
        section, decoder = request.section, self.parser.decoder
        if isinstance(decoder, ChunkedDecoder):
            decoder.max_content = MAX_BODY
        self.requests.append(request)
        self.exchanges.append(
            Exchange(
                request.method,
                request.line.target,
                request.raw_path,
                request.query_string,
                request.host,
                request.headers.pairs(),
                section.minor_version,
                section.persistence != CLOSE,
                section.expects_continue,
                None if decoder is None else b"",
                is_whole=decoder is None,
            )
        )

    def _read_body(self) -> bool:
        """Continue reading the body; return whether the next request can begin."""
        decoder = self.parser.decoder
        if decoder is None:
            return True
        exchange = self.exchanges[-1]
        while piece := self.parser.next_content():
            assert exchange.body is not None
            exchange.body += piece
        if piece is None:
            return False
        if isinstance(decoder, ChunkedDecoder):
            exchange.trailers = decoder.trailers
        exchange.is_whole = decoder.is_complete
        self.parser.decoder = None
        return True


def read(*reads: bytes, limits: Limits | None = None, lines: RequestLines | None = None) -> Outcome:
    """Return the result of parsing the bytes of these reads."""
    reader = Reader(limits, lines)
    try:
        for data in reads:
            reader.feed(data)
    except (ProtocolError, ContentTooLarge) as error:
        for exchange in reader.exchanges[-1:]:
            if not exchange.is_whole:
                exchange.body = b""  # the bytes before the fault depend on the cuts
        return Outcome(reader.exchanges, type(error), getattr(error, "reason", ""))
    return Outcome(reader.exchanges)


def each_byte(data: bytes) -> Iterable[bytes]:
    """Yield the bytes one by one."""
    return (data[i : i + 1] for i in range(len(data)))
