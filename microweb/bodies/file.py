"""FileResponse: a file as an answer, whole, in part, or not at all where the client has it.

A file is opened, looked at and held against the request's preconditions and ranges in a thread, in
one go; a small one is read there too and sent behind its head in one write. A larger one is sent by
the kernel where the connection can (`ByteStream.send_file`), else read in a thread piece by piece:
the event loop never waits for a disk. RFC 9110 sections 8, 13, 14.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from errno import EFBIG, ELOOP, ENAMETOOLONG, ENODEV, ENXIO
from functools import partial
from hashlib import sha256

from ..concurrency.threads import run_short_work
from ..errors import LocalProtocolError, NotFound, PreconditionFailed
from ..http.bytestream import ByteStream
from ..http.dates import format_http_date
from ..http.headers import Headers
from ..http.interfaces import Piece
from ..http.mediatypes import cache_control, coding_of, content_disposition, media_type_of
from ..http.preconditions import (
    Outcome,
    allows_range,
    evaluate,
    is_conditional,
    strip_content_fields,
    validators_of,
)
from ..http.ranges import Span, content_range, parse_ranges
from ..http.response_head import HeadCache
from ..request import Request
from ..response import Response
from .stream import Pieces, StreamResponse

_JOINED_BYTES = 64 * 1024  # up to this a file is read where it is opened, and sent with its head
_SLICE_BYTES = 1024 * 1024  # of a larger one, between turns for others
_PIECE_BYTES = 256 * 1024  # of what the kernel can't send: 1.7 times as fast as pieces of 64 KiB

_MAX_UNSIZED = 16 * 1024 * 1024  # of a file that says it has size 0: it is held in memory

_LABEL = "a file"
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a named pipe would wait for someone to write
)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_FILE = frozenset((ELOOP, ENAMETOOLONG, ENXIO, ENODEV))  # ENXIO: a socket, ENODEV: no driver
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError)


Part = bytes | Span  # what is sent: in memory, or still in the file


class OpenFile:
    """A regular file that is open; closed with its last reference at the latest.

    `follow=False` refuses a symbolic link; `opener(path, flags)` opens it in place of `os.open`.
    `content` is that of a file which says that its size is 0, None for any other. Raises: NotFound
    if no regular file is there; OSError for another reason (permissions, too many open files).
    """

    __slots__ = ("_descriptor", "content", "modified_ns", "size")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        follow: bool = True,
        opener: Callable[[str | os.PathLike[str], int], int] = os.open,
    ) -> None:
        self._descriptor = -1
        try:
            self._descriptor = opener(path, _OPEN_FLAGS | (0 if follow else _NO_FOLLOW))
            status = os.fstat(self._descriptor)
        except _NOT_THERE as error:
            raise NotFound from error
        except OSError as error:
            # Windows calls it a lack of permission to open a directory.
            if error.errno in _NO_FILE or os.path.isdir(path):
                raise NotFound from error
            raise
        if not stat.S_ISREG(status.st_mode):
            raise NotFound
        self.size = status.st_size
        self.modified_ns = status.st_mtime_ns
        self.content: bytes | None = None
        if self.size == 0 and (content := self._read_to_end()):
            self.content, self.size = content, len(content)

    @property
    def version(self) -> str:
        """A text that is another one once the content is."""
        if self.content is not None:  # its times say nothing
            return sha256(self.content).hexdigest()[:32]
        return f"{self.modified_ns:x}-{self.size:x}"

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def _read_to_end(self) -> bytes:
        """Return all of a file that the kernel writes as it is read, such as /proc/cpuinfo."""
        content = b""
        while piece := self.read(len(content), _PIECE_BYTES):
            content += piece
            if len(content) > _MAX_UNSIZED:
                raise OSError(EFBIG, f"a file of size 0 has more than {_MAX_UNSIZED} bytes")
        return content

    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` on, fewer at the file's end. Blocks."""
        if self.content is not None:
            return self.content[offset : offset + count]
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, count, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.read(self._descriptor, count)

    def is_warm(self, offset: int, count: int) -> bool:
        """Whether so many bytes from `offset` on seem to be in memory: no disk is waited for.

        Asked of the first and the last; true where the system does not say.
        """
        if not hasattr(os, "RWF_NOWAIT"):
            return True
        try:
            for place in (offset, offset + count - 1):
                os.preadv(self._descriptor, [bytearray(1)], place, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:  # this file system does not know the flag
            return True
        return True

    def warm(self, offset: int, count: int) -> None:
        """Have so many bytes from `offset` on in memory. Blocks."""
        if not self.is_warm(offset, count):
            for place in range(offset, offset + count, _PIECE_BYTES):
                self.read(place, _PIECE_BYTES)

    def close(self) -> None:
        """Close it; more than once does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class FileResponse(StreamResponse):
    """An answer that is a file: see `Response.file`.

    It is a stream with a Content-Length. Middleware that sets `pieces` takes it from there; what is
    left untouched is sent without passing through Python where that can be.
    """

    __slots__ = ("_file", "_parts", "_path")

    may_read_body = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        content_type: str | None = None,
        download_name: str | None = None,
        cache: int | str | None = None,
    ) -> None:
        super().__init__(_OWN_PIECES, content_type=content_type)
        self._path = path
        self._file: OpenFile | None = None
        self._parts: list[Part] | None = None  # what to send, once it is decided
        self.headers["Cache-Control"] = cache_control(cache)
        if download_name is not None:
            self.headers["Content-Disposition"] = content_disposition(download_name)

    # --- what of it is sent

    async def prepare(self, request: Request) -> Response:
        """Decide, in a thread, what is sent. Raises: as `open`."""
        self._claim(request)
        if self._parts is None:
            await run_short_work(_LABEL, partial(self.open, request))
        return self if self._pieces is _OWN_PIECES else await super().prepare(request)

    async def discard(self) -> None:
        """Close the file: it is not sent."""
        self._close()
        await super().discard()

    def open(self, request: Request, file: OpenFile | None = None) -> None:
        """Open the file, or take `file`, and decide what of it answers `request`. Blocks.

        Raises: NotFound where no regular file is there; PreconditionFailed; RangeNotSatisfiable;
        OSError for a file that can't be read.
        """
        if file is None:
            file = OpenFile(self._path)
        try:
            self._describe(file)
            parts = self._choose(request, file)
            length = sum([_size(part) for part in parts])
            if self._status != 304:
                self.headers.lines["content-length"] = f"Content-Length: {length}\r\n"
            is_joined = length <= _JOINED_BYTES or file.content is not None
            if request.method != "HEAD" and is_joined:
                parts = _read_all(file, parts)
            elif request.method != "HEAD":
                for part in parts:
                    if isinstance(part, Span):
                        file.warm(part.offset, min(part.length, _SLICE_BYTES))
                self._file = file  # to be closed once it is sent
            self._parts = parts
        finally:
            if self._file is None:
                file.close()

    def _describe(self, file: OpenFile) -> None:
        """Set the fields of a 200; what the application has set stays."""
        lines = self.headers.lines
        if "content-type" not in lines:
            self.headers["Content-Type"] = media_type_of(self._path)
            own_coding = coding_of(self._path)
            if own_coding is not None and "content-encoding" not in lines:
                self.headers["Content-Encoding"] = own_coding
        if "etag" not in lines:
            coding = f"-{self.headers['content-encoding']}" if "content-encoding" in lines else ""
            lines["etag"] = f'ETag: "{file.version}{coding}"\r\n'
        if "last-modified" not in lines:
            # Not in the future: a client could never be told of a change. RFC 9110 section 8.8.2.1
            modified = format_http_date(min(file.modified_ns / 1e9, time.time()))
            lines["last-modified"] = f"Last-Modified: {modified}\r\n"
        lines["accept-ranges"] = "Accept-Ranges: bytes\r\n"

    def _choose(self, request: Request, file: OpenFile) -> list[Part]:
        """Return the parts to send; the status and its fields are set accordingly."""
        whole: list[Part] = [Span(0, file.size)] if file.size else []
        method, asked = request.method, request.headers
        if self._status != 200 or method not in ("GET", "HEAD") or not is_conditional(asked):
            return whole
        validators = validators_of(self.headers)
        outcome = evaluate(method, asked, validators)
        if outcome is Outcome.FAILED:
            raise PreconditionFailed
        if outcome is Outcome.NOT_MODIFIED:
            self._status = 304
            strip_content_fields(self.headers)
            return []
        if method == "HEAD" or "range" not in asked:
            return whole
        spans = None
        if allows_range(asked, validators, time.time()):
            spans = parse_ranges(asked["range"], file.size)
        return whole if spans is None else self._cut(spans, file.size, asked)

    def _cut(self, spans: list[Span], size: int, asked: Headers) -> list[Part]:
        """Make it a 206. RFC 9110 section 15.3.7"""
        self._status = 206
        if "if-range" in asked:  # the client has them
            self.headers.pop("last-modified", None)
            self.headers.pop("content-disposition", None)
        if len(spans) > 1:
            return self._as_multipart(spans, size)
        self.headers["Content-Range"] = content_range(spans[0], size)
        return [spans[0]]

    def _as_multipart(self, spans: list[Span], size: int) -> list[Part]:
        """Return the parts of multipart/byteranges. RFC 9110 section 14.6"""
        boundary = secrets.token_hex(16)
        content_type = self.headers["content-type"]
        parts: list[Part] = []
        for span in spans:
            head = (
                f"--{boundary}\r\nContent-Type: {content_type}\r\n"
                f"Content-Range: {content_range(span, size)}\r\n\r\n"
            )
            parts += [("\r\n" * bool(parts) + head).encode("latin-1"), span]
        parts.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
        self.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        return parts

    # --- how it is sent

    @property
    def pieces(self) -> AsyncIterable[Piece]:
        """The pieces, for middleware that changes them; once set, their length is unknown."""
        return self._read_pieces() if self._pieces is _OWN_PIECES else super().pieces

    @pieces.setter
    def pieces(self, pieces: Pieces) -> None:
        self._replace(pieces)
        self.headers.pop("content-length", None)

    async def send_to(
        self, stream: ByteStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        """Write the answer. Raises: LocalProtocolError where the file became shorter meanwhile."""
        if self._exchange is not request or self._parts is None:  # no application has prepared it
            await self.prepare(request)
        if self._pieces is not _OWN_PIECES:
            try:
                await super().send_to(stream, request, heads, connection)
            finally:
                self._close()
            return
        try:
            await self._send_own(stream, request, heads, connection)
        finally:
            self._release()
            self._close()

    async def _send_own(
        self, stream: ByteStream, request: Request, heads: HeadCache, connection: bytes
    ) -> None:
        parts = self._parts or []
        length = sum([_size(part) for part in parts])
        has_content = self._status not in (204, 304)
        framing = b"Content-Length: %d\r\n" % length if has_content else b""
        said = self.headers.lines.get("content-length")
        if said is not None:
            if said.encode("latin-1") != framing:
                raise LocalProtocolError(f"{said[:80]!r} on {length} bytes of a file")
            framing = b""
        head = self._encode_head(request, heads, connection, framing)
        if request.line.method == "HEAD" or not has_content:
            parts = []
        if length <= _JOINED_BYTES and all(isinstance(part, bytes) for part in parts):
            stream.write(b"".join([head, *parts]))  # type: ignore[list-item]
            return
        stream.write(head)
        for part in parts:
            if isinstance(part, Span):
                await self._send_span(stream, part)
            elif stream.write(part):
                await stream.drain()

    async def _send_span(self, stream: ByteStream, span: Span) -> None:
        """Send a span, the first slice of which is warm, with turns for others in between."""
        file = self._file
        assert file is not None
        for offset in range(span.offset, span.end, _SLICE_BYTES):
            count = min(_SLICE_BYTES, span.end - offset)
            if offset > span.offset:
                await asyncio.sleep(0)
                if not file.is_warm(offset, count):
                    await run_short_work(_LABEL, partial(file.warm, offset, count))
            sent = await stream.send_file(file, offset, count)
            if sent < count:
                async for piece in self._read_span(Span(offset + sent, count - sent)):
                    if stream.write(piece):
                        await stream.drain()

    async def _read_pieces(self) -> AsyncIterator[bytes]:
        try:
            for part in self._parts or []:
                if isinstance(part, Span):
                    async for piece in self._read_span(part):
                        yield piece
                else:
                    yield bytes(part)
        finally:
            self._close()

    async def _read_span(self, span: Span) -> AsyncIterator[bytes]:
        file, offset = self._file, span.offset
        assert file is not None
        while offset < span.end:
            count = min(_PIECE_BYTES, span.end - offset)
            piece = await run_short_work(_LABEL, partial(file.read, offset, count))
            if not piece:
                raise LocalProtocolError("a file became shorter while it was sent")
            offset += len(piece)
            yield piece

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


_OWN_PIECES: tuple[Piece, ...] = ()


def _size(part: Part) -> int:
    return part.length if isinstance(part, Span) else len(part)


def _read_all(file: OpenFile, parts: list[Part]) -> list[Part]:
    """Return the parts as bytes; as they are, where the file became shorter."""
    read = [file.read(*part) if isinstance(part, Span) else part for part in parts]
    is_whole = all(_size(one) == _size(other) for one, other in zip(read, parts, strict=True))
    return list(read) if is_whole else parts
