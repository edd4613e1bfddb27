"""The body of a request, read on demand: limit, 100 Continue, deadlines and end.

No byte of a body is read before the endpoint reads the body. The server sends 100 Continue only
after it has checked the declared length against the limit. A body belongs to one exchange. After
the answer, the next bytes of the connection belong to another request, so a read raises
`BodyConsumed`. RFC 9110 section 10.1.1; RFC 9112 section 6.
"""

from __future__ import annotations

import asyncio

from ..errors import (
    BodyTimeout,
    ClientDisconnected,
    ContentTooLarge,
    MicrowebError,
)
from ..http.framing import ChunkedDecoder, LengthDecoder
from ..http.headers import CheckedHeaders, Headers
from ..http.request_head import HeaderSection
from ..parser import Parser
from ..request import Request
from .arriving import ArrivingBody, over
from .lingering import SILENCE_S, discard
from .network import NetworkStream

_SKIM_BYTES = 64 * 1024  # read and drop at most this much of an unread body to keep alive

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body(ArrivingBody[NetworkStream]):
    """The `BodySource` of one request."""

    __slots__ = (
        "_feeds",
        "_lock",
        "_parser",
        "_section",
        "is_begun",
        "taken",
        "trailers",
    )

    def __init__(self, network: NetworkStream, parser: Parser, section: HeaderSection) -> None:
        super().__init__(network)
        self._parser: Parser | None = parser  # None after the exchange
        self._section = section
        self._lock: asyncio.Lock | None = None
        self._feeds = 0  # how many times bytes arrived
        self.is_begun = False
        self.taken = 0  # bytes of content that were read
        self.trailers: Headers | None = None

    def _open(self) -> tuple[NetworkStream, Parser]:
        """Return the source of the bytes. Raises: BodyConsumed after the exchange."""
        network, parser = self._source, self._parser
        if network is None or parser is None:
            raise over()
        return network, parser

    def end(self) -> None:
        """Detach from the connection, because the request is answered. End a waiting read."""
        self._parser = None
        source = self._detach()
        if self._lock is not None and source is not None and self._lock.locked():
            source.end_reading(over())

    def take_whole(self, limit: int | None) -> bytes | None:
        """Return the whole body if it is buffered and no part of it was read, else None.

        Raises: ContentTooLarge, at the next call too; BodyConsumed.
        """
        if self.is_begun or self.error is not None:
            return None
        network, parser = self._open()
        try:
            self._begin(network, parser, limit)
        except MicrowebError as error:
            self.error = error
            raise
        body = parser.take_body()
        if body is not None:
            self.taken = len(body)
        return body

    @property
    def waits_for_peer(self) -> bool:
        """Whether `read` may have to wait before the end of the body."""
        if self.error is not None or self._parser is None:
            return False
        return not self._parser.has_whole_body()

    def _begin(self, network: NetworkStream, parser: Parser, limit: int | None) -> None:
        decoder = parser.decoder
        if limit is None:
            limit = network.state.config.max_body
        if isinstance(decoder, LengthDecoder):
            if decoder.length > limit:
                raise ContentTooLarge(f"the body is larger than {limit} bytes")
        elif decoder is not None:
            decoder.max_content = limit
        self.is_begun = True
        if self._section.expects_continue and parser.is_empty:
            network.write_interim(_CONTINUE)

    async def _read(self, limit: int | None) -> bytes:
        if not self.is_begun:
            self._begin(*self._open(), limit)
        while True:
            network, parser = self._open()
            if parser.has_small_chunks:
                await asyncio.sleep(0)
                network, parser = self._open()
            piece = parser.next_content()
            if piece:
                self._earn(len(piece), network)
                self.taken += len(piece)
                return piece
            if piece is not None:
                if isinstance(parser.decoder, ChunkedDecoder) and self.trailers is None:
                    self.trailers = CheckedHeaders(parser.decoder.trailers)
                self._release()
                return b""
            if self._lock is None:
                self._lock = asyncio.Lock()
            # Two tasks may read one body, but only one at a time waits for the peer. The other
            # then checks the parser again.
            feeds = self._feeds
            async with self._lock:
                if feeds == self._feeds:
                    await self._receive()

    async def _receive(self) -> None:
        network, parser = self._open()
        begun = network.state.clock()
        data = await network.read_within(self._patience_s(network))
        self._credit_s -= network.state.clock() - begun
        if not data:
            raise ClientDisconnected("the peer left inside the body")
        parser.feed(data)
        self._feeds += 1
        if isinstance(parser.decoder, ChunkedDecoder):
            # Let other tasks run: small chunks take up to 6 ms per read, and four reads may be
            # buffered.
            await asyncio.sleep(0)

    def can_skim(self, limit: int) -> bool:
        """Whether the unread rest is short enough to skim, so that the connection stays open."""
        (_, parser), section = self._open(), self._section
        if self.error is not None or (section.expects_continue and not self.is_begun):
            return False
        if isinstance(parser.decoder, LengthDecoder):
            return parser.decoder.remaining <= limit
        return parser.has_whole_body()


# --- the unread rest of a body


def can_go_on(parser: Parser, request: Request) -> bool:
    """Whether the connection can stay open despite the unread rest of the body."""
    decoder = parser.decoder
    if decoder is None or decoder.is_complete:
        return True
    assert isinstance(request.source, Body)
    return request.source.can_skim(_SKIM_BYTES)


def discard_body(network: NetworkStream, parser: Parser, request: Request) -> None:
    """Discard an unread body while its answer is sent, unless skimming it is enough."""
    if not can_go_on(parser, request):
        end_body(parser, request)
        discard(network, parser)


def discard_stuck_body(
    network: NetworkStream, parser: Parser, request: Request, now: float
) -> None:
    """Discard the unread body during a streamed answer, if the peer does not read the answer.

    Such a peer may send its whole body before it reads.
    """
    source = request.source
    if network.discard is not None or not isinstance(source, Body) or source.is_begun:
        return
    if network.is_peer_silent(now, SILENCE_S):
        discard_body(network, parser, request)


def end_body(parser: Parser, request: Request) -> None:
    """End the body of an answered request. The connection reads or discards its rest."""
    decoder = parser.decoder
    if decoder is not None and decoder.is_complete:
        parser.decoder = None
    if isinstance(request.source, Body):
        request.source.end()


async def skim_body(network: NetworkStream, parser: Parser) -> None:
    """Read and drop the rest of a body. Raises: ClientDisconnected."""
    ends_at = network.state.clock() + network.state.config.body_timeout_s
    while (content := parser.next_content()) != b"":
        if content is None:
            try:
                data = await network.read_within(ends_at - network.state.clock())
            except BodyTimeout:  # already answered: a 408 would look like the next answer
                data = b""
            if not data:
                raise ClientDisconnected(
                    "the peer left inside a body that the handler did not read"
                )
            parser.feed(data)
    parser.decoder = None
