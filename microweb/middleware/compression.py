"""Content codings: responses compressed for clients that accept it.

RFC 9110 sections 8.4 (Content-Encoding) and 12.5.3 (Accept-Encoding); gzip is RFC 1952, br RFC
7932, zstd RFC 8878. A small body is compressed on the event loop, a large one in a thread. A stream
is compressed and flushed piece by piece, so that it still streams.

Order: inside CORS, outside all middleware that reads the body or makes its ETag.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

from ..bodies.body import WrittenBody
from ..concurrency.threads import run_short_work
from ..errors import ConfigurationError, MissingExtra
from ..http.headers import MutableHeaders, add_vary, list_members
from ..http.interfaces import Piece
from ..http.mediatypes import parse_media_type
from ..http.negotiation import IDENTITY, negotiate_coding
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response

# Media types that shrink. The others are compressed already (images, films, archives) or unknown.
# Bitmaps shrink too, and fonts, except WOFF, which is compressed.
_COMPRESSIBLE = re.compile(
    r"text/.*+|[a-z]++/[^+]*+\+(?:json|xml|text|yaml)"
    r"|application/(?:json|json-seq|x-ndjson|jsonl|xml|xml-dtd|(?:x-)?javascript|ecmascript|yaml"
    r"|toml|sql|graphql|wasm|rtf|x-tar|vnd\.ms-fontobject)"
    r"|image/(?:bmp|x-icon|vnd\.microsoft\.icon)|font/(?:ttf|otf|collection)"
)
_WITHOUT_CODING = frozenset((101, 204, 205, 206, 304))
# Fields of content that is coded already, or whose digest or range would no longer be right.
_DECIDED = frozenset(("content-encoding", "content-range", "content-digest", "repr-digest"))
_DECIDED_AT_END = frozenset(("content-digest", "repr-digest", "etag"))  # as trailers

# MB/s and the compressed part of 1 MiB of JSON: gzip 4: 41, 0.33 (its default 6: 23, 0.31);
# br 4: 52, 0.29 (5: 20, 0.27); zstd 3: 124, 0.30 (6: 35, 0.28).
_GZIP_LEVEL, _BROTLI_QUALITY, _ZSTD_LEVEL = 4, 4, 3

# This much takes at most a millisecond (0.7 gzip, 1.0 br, 0.3 zstd); a thread costs 0.1.
_INLINE_BYTES = 32 * 1024


class Stream(Protocol):
    """A compressor of one response that is made in pieces."""

    def add(self, data: bytes) -> bytes:
        """Return `data` compressed and flushed: the client can decode all of it immediately."""

    @property
    def end(self) -> Callable[[], bytes]:
        """Return the function that ends the stream and returns its last bytes."""


@dataclass(frozen=True, slots=True)
class _Coding:
    compress: Callable[[bytes], bytes]
    stream: Callable[[], Stream]


class Compression:
    """Middleware that compresses a response if the client accepts it and it is worth the work.

    `codings` are content codings in order of preference; by default those of zstd, br and gzip that
    are installed. A response stays as it is below `min_bytes`, if its media type doesn't shrink,
    with a `Content-Encoding`, and with `Cache-Control: no-transform`.

    An attacker who can put text beside a secret into a response, and see the length of the
    response, can guess the secret (BREACH): send `Cache-Control: no-transform` with such pages.

    Raises: ConfigurationError for an unknown coding; MissingExtra for one that is not installed.
    """

    @names_keywords
    def __init__(self, *, codings: Iterable[str] | None = None, min_bytes: int = 1024) -> None:
        self._codings = _installed() if codings is None else _wanted(codings)
        self._names = tuple(self._codings)
        self._min_bytes = min_bytes

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        body = response.source
        if isinstance(body, WrittenBody) and not body.is_compressible:
            return response
        if response.status in _WITHOUT_CODING:
            if response.status == 304:
                _match_validator(request, response.headers)
            return response
        accepted = request.headers.get("accept-encoding", "")
        name, is_required = negotiate_coding(accepted, self._names)
        if isinstance(body, WrittenBody):
            self._compress_stream(request, response, name, is_required)
        elif len(response.body) >= self._min_bytes or (is_required and response.body):
            await self._compress_whole(response, name, is_required)
        return response

    async def _compress_whole(self, response: Response, name: str, is_required: bool) -> None:
        headers = response.headers
        if not _may_code(headers, is_required):
            return
        add_vary(headers, "Accept-Encoding")
        if name != IDENTITY:
            body = response.body
            coded = await _off_the_loop(self._codings[name].compress, body)
            _mark(headers, name)
            response.body = coded

    def _compress_stream(
        self, request: Request, response: Response, name: str, is_required: bool
    ) -> None:
        headers = response.headers
        length = headers.get("content-length")
        is_small = length is not None and int(length) < self._min_bytes
        if (is_small and not is_required) or not _may_code(headers, is_required):
            return
        add_vary(headers, "Accept-Encoding")
        if name == IDENTITY:
            return
        _mark(headers, name)
        if request.method != "HEAD":  # HEAD gets no pieces: they are closed unread
            response.pieces = _coded_pieces(response.pieces, self._codings[name].stream())


async def _coded_pieces(
    pieces: AsyncIterable[Piece], stream: Stream
) -> AsyncGenerator[Piece, None]:
    async for piece in pieces:
        data = piece.encode() if isinstance(piece, str) else memoryview(piece).tobytes()
        if data:
            yield await _off_the_loop(stream.add, data)
    yield stream.end()


# --- which responses to compress ------------------------------------------------------


def _may_code(headers: MutableHeaders, is_required: bool) -> bool:
    """Whether a response with these fields may be compressed, and either must be or shrinks."""
    lines = headers.lines
    if not _DECIDED.isdisjoint(lines):
        return False
    if "trailer" in lines and not _DECIDED_AT_END.isdisjoint(
        list_members(headers["trailer"].lower())
    ):
        return False
    if "cache-control" in lines and "no-transform" in headers["cache-control"].lower():
        return False
    media_type = parse_media_type(headers["content-type"])[0] if "content-type" in lines else ""
    # Events are small, and a proxy that decodes them could delay them.
    return media_type != "text/event-stream" and (is_required or _shrinks(media_type))


@lru_cache(maxsize=256)
def _shrinks(media_type: str) -> bool:
    return _COMPRESSIBLE.fullmatch(media_type) is not None


def _mark(headers: MutableHeaders, name: str) -> None:
    """Make the fields describe the compressed form."""
    headers["Content-Encoding"] = name
    for stale in ("content-length", "accept-ranges"):
        headers.pop(stale, None)
    tag = headers.get("etag")
    if tag is not None and not tag.startswith("W/"):
        headers["ETag"] = f"W/{tag}"  # the coded bytes may differ. RFC 9110 section 8.8.3.3


def _match_validator(request: Request, headers: MutableHeaders) -> None:
    """Give a 304 the fields of the compressed 200 before it, with the client's weak tag."""
    add_vary(headers, "Accept-Encoding")
    tag = headers.get("etag")
    if tag is not None and f"W/{tag}" in request.headers.get("if-none-match", ""):
        headers["ETag"] = f"W/{tag}"


async def _off_the_loop(compress: Callable[[bytes], bytes], data: bytes) -> bytes:
    if len(data) <= _INLINE_BYTES:
        return compress(data)
    return await run_short_work("compression", partial(compress, data))


# --- the codings ----------------------------------------------------------------------


class _Flushed:
    """A `Stream` over the compressor of one of the three libraries."""

    __slots__ = ("_compress", "_flush", "end")

    def __init__(
        self,
        compress: Callable[[bytes], bytes],
        flush: Callable[[], bytes],
        end: Callable[[], bytes],
    ) -> None:
        self._compress = compress
        self._flush = flush
        self.end = end

    def add(self, data: bytes) -> bytes:
        return self._compress(data) + self._flush()


def _gzip() -> _Coding:
    wbits = 16 + zlib.MAX_WBITS  # with gzip's header, whose time is 0

    def stream() -> Stream:
        compressor = zlib.compressobj(_GZIP_LEVEL, wbits=wbits)
        flush = partial(compressor.flush, zlib.Z_SYNC_FLUSH)
        return _Flushed(compressor.compress, flush, compressor.flush)

    return _Coding(partial(zlib.compress, level=_GZIP_LEVEL, wbits=wbits), stream)


def _brotli() -> _Coding:
    import brotli  # type: ignore[import-untyped]

    def stream() -> Stream:
        compressor = brotli.Compressor(quality=_BROTLI_QUALITY)
        return _Flushed(compressor.process, compressor.flush, compressor.finish)

    return _Coding(partial(brotli.compress, quality=_BROTLI_QUALITY), stream)


def _zstd() -> _Coding:
    import zstandard

    def compress(data: bytes) -> bytes:
        # A compressor serves one call at a time; a new one costs 10 us.
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)

    def stream() -> Stream:
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        flush = partial(compressor.flush, zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return _Flushed(compressor.compress, flush, compressor.flush)

    return _Coding(compress, stream)


# Coding -> its factory and the extra that it needs, in order of preference.
_KNOWN: dict[str, tuple[Callable[[], _Coding], str]] = {
    "zstd": (_zstd, "zstandard"),
    "br": (_brotli, "brotli"),
    "gzip": (_gzip, ""),
}


def _installed() -> dict[str, _Coding]:
    found = {}
    for name, (make, _) in _KNOWN.items():
        with suppress(ImportError):
            found[name] = make()
    return found


def _wanted(codings: Iterable[str]) -> dict[str, _Coding]:
    found = {}
    for name in (codings,) if isinstance(codings, str) else codings:
        if name not in _KNOWN:
            raise ConfigurationError(
                f"Compression: expected each coding from {', '.join(_KNOWN)}, got {name!r:.80}"
            )
        make, extra = _KNOWN[name]
        try:
            found[name] = make()
        except ImportError as error:
            raise MissingExtra(f"the content coding {name}", extra) from error
    return found
