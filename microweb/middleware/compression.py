"""Content codings: answers compressed for clients that take it.

RFC 9110 sections 8.4 (Content-Encoding) and 12.5.3 (Accept-Encoding); gzip is RFC 1952, br RFC
7932, zstd RFC 8878. What is small is compressed on the loop, what is large in a thread; a stream
piece by piece, flushed, so that it still streams.

Order: inside CORS, outside all that looks at the body or makes its ETag.
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
from ..http.headers import MutableHeaders, add_vary
from ..http.interfaces import Piece
from ..http.mediatypes import parse_media_type
from ..http.negotiation import IDENTITY, negotiate_coding
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response

# What shrinks; the rest is compressed already (images, films, archives) or unknown. Font formats
# but for WOFF, which is compressed, and bitmaps shrink as well.
_COMPRESSIBLE = re.compile(
    r"text/.*+|[a-z]++/[^+]*+\+(?:json|xml|text|yaml)"
    r"|application/(?:json|json-seq|x-ndjson|jsonl|xml|xml-dtd|(?:x-)?javascript|ecmascript|yaml"
    r"|toml|sql|graphql|wasm|rtf|x-tar|vnd\.ms-fontobject)"
    r"|image/(?:bmp|x-icon|vnd\.microsoft\.icon)|font/(?:ttf|otf|collection)"
)
_WITHOUT_CODING = frozenset((101, 204, 205, 206, 304))
# A digest is of the coded content, or of what a range is cut from: whoever sets one has decided.
_DECIDED = frozenset(("content-encoding", "content-range", "content-digest", "repr-digest"))

# Of 1 MiB of JSON, in MB/s and what is left of it: gzip 4: 41, 0.33 (its usual 6: 23, 0.31);
# br 4: 52, 0.29 (5: 20, 0.27); zstd 3: 124, 0.30 (6: 35, 0.28).
_GZIP_LEVEL, _BROTLI_QUALITY, _ZSTD_LEVEL = 4, 4, 3

# Up to here it takes a millisecond at most (0.7 gzip, 1.0 br, 0.3 zstd), where a thread costs 0.1.
_INLINE_BYTES = 32 * 1024


class Stream(Protocol):
    """A compressor of one answer that is made in pieces."""

    def add(self, data: bytes) -> bytes:
        """Return all there is of `data` in coded form: the client can read it at once."""

    @property
    def end(self) -> Callable[[], bytes]:
        """Return what closes the coded form."""


@dataclass(frozen=True, slots=True)
class _Coding:
    compress: Callable[[bytes], bytes]
    stream: Callable[[], Stream]


class Compression:
    """Middleware that compresses what a client takes compressed, and what is worth it.

    `codings` are content codings, those that are liked best first; by default those of zstd, br
    and gzip that are installed. Answers below `min_bytes` are left alone, as are those of media
    types that don't shrink, with a `Content-Encoding`, or with `Cache-Control: no-transform`.

    An attacker who can put text beside a secret into an answer, and see its length, can guess the
    secret from it (BREACH): leave such pages out by `Cache-Control: no-transform`.

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
        if request.method != "HEAD":  # which gets no pieces: they are closed unread
            response.pieces = _coded_pieces(response.pieces, self._codings[name].stream())


async def _coded_pieces(
    pieces: AsyncIterable[Piece], stream: Stream
) -> AsyncGenerator[Piece, None]:
    async for piece in pieces:
        data = piece.encode() if isinstance(piece, str) else memoryview(piece).tobytes()
        if data:
            yield await _off_the_loop(stream.add, data)
    yield stream.end()


# --- what to compress -----------------------------------------------------------------


def _may_code(headers: MutableHeaders, is_required: bool) -> bool:
    """Whether an answer of these fields may be compressed, and gains by it where it need not be."""
    lines = headers.lines
    if not _DECIDED.isdisjoint(lines):
        return False
    if "cache-control" in lines and "no-transform" in headers["cache-control"].lower():
        return False
    media_type = parse_media_type(headers["content-type"])[0] if "content-type" in lines else ""
    # Events are small, and whatever stands between could hold them up.
    return media_type != "text/event-stream" and (is_required or _shrinks(media_type))


@lru_cache(maxsize=256)
def _shrinks(media_type: str) -> bool:
    return _COMPRESSIBLE.fullmatch(media_type) is not None


def _mark(headers: MutableHeaders, name: str) -> None:
    """Have the fields speak of the coded form."""
    headers["Content-Encoding"] = name
    for stale in ("content-length", "accept-ranges"):
        headers.pop(stale, None)
    tag = headers.get("etag")
    if tag is not None and not tag.startswith("W/"):
        headers["ETag"] = f"W/{tag}"  # equal bytes are promised no more. RFC 9110 section 8.8.3.3


def _match_validator(request: Request, headers: MutableHeaders) -> None:
    """Have a 304 name what it confirms as the answer did: by the weak tag that the client has."""
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
    """A stream over a library's compressor, which all three shape alike."""

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
    wbits = 16 + zlib.MAX_WBITS  # with gzip's header, which has no time in it

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
        # One serves one call at a time; a new one costs 10 us.
        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(data)

    def stream() -> Stream:
        compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        flush = partial(compressor.flush, zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return _Flushed(compressor.compress, flush, compressor.flush)

    return _Coding(compress, stream)


# Coding -> how it is made, and the extra that it needs; those that are liked best first.
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
                f"Compression: expected codings of {', '.join(_KNOWN)}, got {name!r:.80}"
            )
        make, extra = _KNOWN[name]
        try:
            found[name] = make()
        except ImportError as error:
            raise MissingExtra(f"the content coding {name}", extra) from error
    return found
