"""The body of a request, read on demand: limit, 100 Continue, deadlines and end.

No byte of a body is read before the endpoint reads the body. The server sends 100 Continue only
after it has checked the declared length against the limit. A body belongs to one exchange. After
the answer, the next bytes of the connection belong to another request, so a read raises
`BodyConsumed`. RFC 9110 section 10.1.1; RFC 9112 section 6.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ..errors import (
    BodyConsumed,
    BodyTimeout,
    ClientDisconnected,
    ContentTooLarge,
    MicrowebError,
    ServiceUnavailable,
)
from ..http.bytestream import Share
from ..http.framing import ChunkedDecoder, LengthDecoder
from ..http.headers import CheckedHeaders, Headers
from ..http.request_head import HeaderSection
from ..parser import Parser
from ..request import Request
from .buffered import FREE_BYTES
from .config import ServerConfig
from .lingering import SILENCE_S, discard
from .network import NetworkStream

MAX_CREDIT_S = 60.0  # a peer that was faster than the minimum rate earns at most this

_RETRY_AFTER_S = "5"

_SKIM_BYTES = 64 * 1024  # read and drop at most this much of an unread body to keep alive

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body:
    """The `BodySource` of one request."""

    __slots__ = (
        "_ahead",
        "_credit_s",
        "_feeds",
        "_fresh",
        "_lock",
        "_network",
        "_parser",
        "_section",
        "_share",
        "error",
        "is_begun",
        "taken",
        "trailers",
    )

    def __init__(self, network: NetworkStream, parser: Parser, section: HeaderSection) -> None:
        # Both are None after the exchange.
        self._network: NetworkStream | None = network
        self._parser: Parser | None = parser
        self._section = section
        self._lock: asyncio.Lock | None = None
        self._ahead: bytearray | None = None  # bytes that `read_ahead` has read
        self._share: Share | None = None  # of the buffer memory, until the body is complete
        self._fresh = 0  # bytes that arrived since `_share` was updated
        self._feeds = 0  # how many times bytes arrived
        self._credit_s = 0.0  # earned by bytes that arrived, minus the waiting time
        self.is_begun = False
        self.taken = 0  # bytes of content that were read
        self.error: MicrowebError | None = None
        self.trailers: Headers | None = None

    def _open(self) -> tuple[NetworkStream, Parser]:
        """Return the source of the bytes. Raises: BodyConsumed after the exchange."""
        network, parser = self._network, self._parser
        if network is None or parser is None:
            raise _over()
        return network, parser

    def end(self) -> None:
        """Detach from the connection, because the request is answered. End a waiting read."""
        network, self._network, self._parser = self._network, None, None
        self._ahead = None
        if self._share is not None:
            self._release()
        if self._lock is not None and network is not None and self._lock.locked():
            network.end_reading(_over())

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

    async def read_ahead(self, limit: int | None) -> None:
        """Read and keep up to the server's `max_body` bytes. The next `read` returns them.

        An error of the body is not raised here but by the next `read`.
        """
        with suppress(MicrowebError):
            network, _ = self._open()
            while len(self._ahead or b"") < network.state.config.max_body:
                piece = await self._next_piece(limit)
                if not piece:
                    return
                if self._ahead is None:
                    self._ahead = bytearray()
                self._ahead += piece
                self.keep(len(self._ahead))

    async def read(self, limit: int | None) -> bytes:
        """Return the next piece, `b""` at the end.

        Raises: ContentTooLarge, MalformedRequest, BodyTimeout, ClientDisconnected; later calls
        raise the same error again, and the connection closes after the answer. BodyConsumed once
        the request is answered.
        """
        if self._ahead:
            ahead, self._ahead = bytes(self._ahead), None
            self._release()  # the caller counts them with `keep` if it keeps them
            return ahead
        return await self._next_piece(limit)

    async def _next_piece(self, limit: int | None) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            if not self.is_begun:
                self._begin(*self._open(), limit)
            return await self._read()
        except BodyConsumed:
            raise
        except MicrowebError as error:
            self.error = error
            self._release()
            raise

    def keep(self, size: int) -> None:
        """Count `size` bytes of this body as buffered while the rest arrives.

        If the buffer memory is full, the body may be dropped. The next `read` then raises
        ServiceUnavailable.
        """
        share = self._share
        if share is None:
            if size <= FREE_BYTES or self._network is None or self.error is not None:
                return
            share = self._share = self._network.share(self._lose)
        share.hold(size, self._fresh)
        self._fresh = 0

    def _lose(self) -> None:
        """Drop the body: the buffer memory is full, and this client holds most of it."""
        self.error = ServiceUnavailable(
            "too much is buffered for this client", headers={"Retry-After": _RETRY_AFTER_S}
        )
        self._share = self._ahead = None
        if self._network is not None:
            self._network.end_reading(self.error)

    def _release(self) -> None:
        share, self._share = self._share, None
        if share is not None:
            share.release()

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

    async def _read(self) -> bytes:
        while True:
            _, parser = self._open()
            piece = parser.next_content()
            if piece:
                self._earn(len(piece))
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
        begun = network.clock()
        data = await network.read_within(self._patience_s(network.state.config))
        self._credit_s -= network.clock() - begun
        if not data:
            raise ClientDisconnected("the peer left inside the body")
        parser.feed(data)
        self._feeds += 1
        if isinstance(parser.decoder, ChunkedDecoder):
            # Let other tasks run: to decode one-byte chunks takes 20 ms per read, and four reads
            # may be buffered.
            await asyncio.sleep(0)

    def _patience_s(self, config: ServerConfig) -> float:
        """Return how long to wait for the next byte: less if the body has come too slowly."""
        return config.body_timeout_s + min(self._credit_s, 0.0)

    def _earn(self, size: int) -> None:
        """Add credit for `size` bytes. The credit for a fast start is at most a minute."""
        self._fresh += size
        self.taken += size
        network, _ = self._open()
        rate = network.state.config.min_body_rate
        earned = size / rate if rate else MAX_CREDIT_S
        self._credit_s = min(self._credit_s + earned, MAX_CREDIT_S)

    def can_skim(self, limit: int) -> bool:
        """Whether the unread rest is short enough to skim, so that the connection stays open."""
        (_, parser), section = self._open(), self._section
        if self.error is not None or (section.expects_continue and not self.is_begun):
            return False
        if isinstance(parser.decoder, LengthDecoder):
            return parser.decoder.remaining <= limit
        return parser.has_whole_body()


def _over() -> BodyConsumed:
    return BodyConsumed(
        "the request is answered, so its body can no longer be read: read the body before the "
        "answer, and then you can read it again"
    )


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
    ends_at = network.clock() + network.state.config.body_timeout_s
    while (content := parser.next_content()) != b"":
        if content is None:
            try:
                data = await network.read_within(ends_at - network.clock())
            except BodyTimeout:  # already answered: a 408 would look like the next answer
                data = b""
            if not data:
                raise ClientDisconnected(
                    "the peer left inside a body that the handler did not read"
                )
            parser.feed(data)
    parser.decoder = None
