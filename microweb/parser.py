"""Bytes -> Request: the parser of one connection's heads and bodies, with its buffer.

The parser never awaits. `feed()` adds bytes from the socket; `next_request()` and `next_content()`
return values, or None for "need more". The parser is strict: bytes that RFC 9112 forbids are
refused with a stable reason, and immediately if they can no longer become a request.

It is fast because it skips work. If a connection repeats its last head, or its last header section,
the parsed value is shared: a comparison of bytes replaces the parse. A request line without a query
is parsed once per server, and so is the first head of a connection if other connections began with
it. A head without content is checked by one regex, and its fields are parsed when they are first
used. `_parse_head` parses all other heads, and gives the reason of a refusal.
"""

from __future__ import annotations

import re
from copy import copy
from typing import NoReturn

from .errors import (
    HeadTooLarge,
    MalformedRequest,
    MicrowebError,
    ProtocolError,
    TargetTooLong,
    TLSUnexpected,
    UnsupportedVersion,
)
from .http.framing import ChunkedDecoder, LengthDecoder
from .http.grammar import BARE_CR_OR_LF, REQUEST_LINE, REQUEST_LINE_PARTS
from .http.headers import Headers, parse_header_section
from .http.hosts import is_host_value
from .http.interfaces import Peer
from .http.limits import Limits
from .http.request_head import (
    HeaderSection,
    PlainSection,
    RequestLine,
    RequestLines,
    decide_framing,
    marked_section,
)
from .request import Request, make_request

_SPACE = ord(" ")
_MAX_EMPTY_LINES = 8  # before a request line: RFC 9112 section 2.2 asks for at least one
# The initial memo of the last head: a valid head, and its parsed values.
_HEAD, _FIELDS = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"Host: a\r\n\r\n"
_LINE = RequestLine("GET", "/", "/", "", None)
_SECTION = HeaderSection(Headers({"Host": "a"}))


class Parser:
    """The parser of one connection's requests.

    `next_request()` returns a `Request`, and sets `decoder` if it has a body. Call `next_content()`
    until it returns `b""`, before you call `next_request()` again.
    """

    __slots__ = (
        "_buffer",
        "_empty_lines",
        "_has_checked_line",
        "_has_parsed",
        "_is_unfinished",
        "_last_fields",
        "_last_head",
        "_limits",
        "_line",
        "_lines",
        "_position",
        "_scanned",
        "_section",
        "_spaces",
        "_transport",
        "decoder",
        "is_empty",
    )

    def __init__(self, transport: Peer, lines: RequestLines, limits: Limits) -> None:
        self._transport = transport
        self._lines = lines
        self._limits = limits
        self._buffer = b""
        self._position = 0  # where the next element to parse begins
        self._scanned = 0  # an unfinished head was searched up to here
        self._is_unfinished = False  # whether one of the next three is set
        self._empty_lines = 0  # before this head
        self._spaces = 0  # in this head's line so far
        self._has_checked_line = False  # of this head
        # The last head, its fields, and their parsed values. Kept from the second request on,
        # because a connection with one request gains nothing from them.
        self._has_parsed = False
        self._last_head, self._last_fields = _HEAD, _FIELDS
        self._line, self._section = _LINE, _SECTION
        self.decoder: LengthDecoder | ChunkedDecoder | None = None
        self.is_empty = True  # no byte after the last request is buffered

    def feed(self, data: bytes) -> None:
        """Add bytes from the socket to the buffer."""
        if self.is_empty:
            self._buffer = data
            self._scanned = 0
        else:
            self._buffer = self._buffer[self._position :] + data
            self._scanned -= self._position
        self._position = 0
        self.is_empty = False

    def take_rest(self) -> bytes:
        """Return the buffered bytes and empty the buffer: after an upgrade they are not HTTP."""
        rest = self._buffer[self._position :]
        self._buffer, self._position, self.is_empty = b"", 0, True
        return rest

    def leave_peer(self) -> None:
        """Drop the reference to the peer, which refers to this parser. It is the last call."""
        del self._transport

    def forget_head(self) -> None:
        """Drop the memo of the last head and all parsed bytes, because the connection idles."""
        if self.is_empty:
            self._buffer, self._position = b"", 0
        self._last_head, self._last_fields = _HEAD, _FIELDS
        self._line, self._section = _LINE, _SECTION

    # --- heads

    def next_request(self, data: bytes = b"") -> Request | None:
        """Add `data` to the buffer; return the next request if its head is whole, else None.

        Raises: ProtocolError.
        """
        if data:
            if self.is_empty and not self._is_unfinished:
                if data == self._last_head:
                    return self._begin(self._line, self._section)
                if not self._has_parsed and data in self._lines.first_heads:
                    self._has_parsed = True
                    return self._begin(*self._lines.first_heads[data])
                if data.endswith(b"\r\n\r\n"):
                    request = self._take_plain_head(data, self._limits.plain_head)
                    if request is not None:
                        return request
            self.feed(data)
        buffer, start = self._buffer, self._position
        if buffer.startswith(self._last_head, start):
            self._skip_to(start + len(self._last_head))
            return self._begin(self._line, self._section)
        return self._parse_head()

    def _take_plain_head(self, head: bytes, regex: re.Pattern[bytes]) -> Request | None:
        """Return the request of a usual head; return None for any other head.

        One regex takes 3 us. To split the head, parse its lines and look up each field takes 9.
        """
        if head.endswith(self._last_fields):
            line = self._lines.get(head[: -len(self._last_fields)])
            if line is not None:
                return self._begin(line, self._section)
        limits = self._limits
        match = regex.fullmatch(head) if len(head) <= limits.max_plain_head else None
        if match is None:
            return None
        raw_line, fields, before, host, behind = match.groups()
        many = limits.max_header_fields
        if not is_host_value(host) or (len(fields) > 4 * many and fields.count(b"\n") > many + 1):
            return None
        line = self._lines.get(raw_line)
        if line is None:
            try:
                line = self._lines.parse(raw_line)
            except ProtocolError:
                return None  # `_parse_head` refuses it, with the head in the buffer
        section = PlainSection() if before is behind is None else marked_section(before, behind)
        if section is None:
            return None
        section.received, section.parsed = fields, None
        if self._has_parsed:
            self._last_head, self._last_fields = head, fields
            self._line, self._section = line, section
        else:
            self._has_parsed = True
            self._lines.keep_first(head, line, section)
        if section.has_body:
            self.decoder = LengthDecoder(section.content_length)
        return make_request(line, section, self._transport)

    def _parse_head(self) -> Request | None:
        buffer, start = self._buffer, self._position
        if buffer.startswith(b"\r\n", start):
            self._skip_empty_lines()
            buffer, start = self._buffer, self._position
        searched = self._scanned - 3  # the end may begin in bytes that were searched already
        end = buffer.find(b"\r\n\r\n", searched if searched > start else start)
        if end < 0:
            self._check_unfinished(start)
            return None
        line_end, head_end = buffer.find(b"\r\n", start) + 2, end + 4
        request = self._take_plain_head(buffer[start:head_end], self._limits.length_head)
        if request is not None:
            self._skip_to(head_end)
            return request
        if line_end - start - 2 > self._limits.max_request_line:
            raise TargetTooLong("a request line over the limit")
        line, minor_version = self._parse_line(buffer[start:line_end])
        fields = buffer[line_end:head_end]
        section = self._parse_section(fields[:-4], minor_version)
        section.received = fields
        self._skip_to(head_end)
        if minor_version == 1:
            if self._has_parsed:
                self._last_head, self._last_fields = buffer[start:head_end], fields
                self._line, self._section = line, section
            self._has_parsed = True
        return self._begin(line, section)

    @property
    def is_at_head(self) -> bool:
        """Whether the buffered bytes begin like a HEAD request, valid or not."""
        return self._buffer.startswith(b"HEAD ", self._position)

    def _skip_to(self, position: int) -> None:
        """Move to `position`, which is the end of a head."""
        self._position = position
        self.is_empty = position == len(self._buffer)
        if self._is_unfinished:
            self._is_unfinished = self._has_checked_line = False
            self._empty_lines = self._spaces = 0

    def _begin(self, line: RequestLine, section: HeaderSection) -> Request:
        if section.has_body:
            self.decoder = self._make_decoder(section)
        return make_request(line, section, self._transport)

    def _parse_section(self, section: bytes, minor_version: int) -> HeaderSection:
        if len(section) + 4 > self._limits.max_header_section:  # with its CRLF and the empty line
            raise HeadTooLarge("a header section over the limit")
        lines = section.split(b"\r\n") if section else []
        if len(lines) > self._limits.max_header_fields:
            raise HeadTooLarge("more header fields than the limit")
        return decide_framing(parse_header_section(lines), minor_version)

    def _parse_line(self, line: bytes) -> tuple[RequestLine, int]:
        known = self._lines.get(line)
        if known is not None:
            return known, 1
        match = REQUEST_LINE.fullmatch(line, 0, len(line) - 2)
        if match is None:
            _refuse_line(line[:-2])
        if match[3] != b"1":
            raise UnsupportedVersion("a major version other than HTTP/1", line[-10:-2])
        # A higher minor version is served as 1.1. RFC 9110 section 2.5
        return self._lines.parse(line), 0 if match[4] == b"0" else 1

    def _make_decoder(self, section: HeaderSection) -> LengthDecoder | ChunkedDecoder:
        if not section.is_chunked:
            return LengthDecoder(section.content_length)
        return ChunkedDecoder(
            max_extensions=self._limits.max_chunk_extensions,
            max_trailers=self._limits.max_trailers,
            max_trailer_fields=self._limits.max_header_fields,
        )

    def _skip_empty_lines(self) -> None:
        buffer, start = self._buffer, self._position
        while buffer.startswith(b"\r\n", start):
            start += 2
            self._is_unfinished = True
            self._empty_lines += 1
            if self._empty_lines > _MAX_EMPTY_LINES:
                raise MalformedRequest("more empty lines before a request than the limit")
        self._position = start
        self.is_empty = start == len(buffer)

    def _check_unfinished(self, start: int) -> None:
        """Refuse bytes immediately if they can't become a request any more, or exceed a limit."""
        buffer, limits = self._buffer, self._limits
        if start == len(buffer):
            return
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            self._check_unfinished_line(start)
        else:
            if line_end - start > limits.max_request_line:
                raise TargetTooLong("a request line over the limit")
            if not self._has_checked_line:
                self._parse_line(buffer[start : line_end + 2])
                self._is_unfinished = self._has_checked_line = True
            if len(buffer) - line_end - 2 > limits.max_header_section:
                raise HeadTooLarge("a header section over the limit")
            bare = BARE_CR_OR_LF.search(buffer, max(line_end, self._scanned - 1))
            if bare is not None:
                raise MalformedRequest("a bare CR or LF in the header section")
            self._scanned = len(buffer)

    def _check_unfinished_line(self, start: int) -> None:
        """Check only the new bytes of a request line, because it may arrive byte by byte."""
        buffer = self._buffer
        end = len(buffer) - buffer.endswith(b"\r")  # perhaps the first half of a CRLF
        if end - start > self._limits.max_request_line:
            raise TargetTooLong("a request line over the limit")
        position, spaces = max(start, self._scanned), self._spaces
        while position < end:
            part = REQUEST_LINE_PARTS[spaces].match(buffer, position, end)
            assert part is not None  # it always matches, perhaps nothing
            position = part.end()
            if position < end:
                before = buffer[position - 1 : position] if position > start else b" "
                if buffer[position] != _SPACE or before == b" " or spaces == 2:
                    _refuse_line(buffer[start:end])
                spaces += 1
                position += 1
        self._is_unfinished, self._spaces, self._scanned = True, spaces, end

    # --- bodies

    def take_body(self) -> bytes | None:
        """Return the whole body if it has a length and all of it has arrived, else None."""
        decoder = self.decoder
        if type(decoder) is not LengthDecoder:
            return None
        buffer, start = self._buffer, self._position
        end = start + decoder.remaining
        if end > len(buffer):
            return None
        self._position = end
        self.is_empty = end == len(buffer)
        decoder.remaining, decoder.is_complete = 0, True
        return buffer[start:end]

    @property
    def has_small_chunks(self) -> bool:
        """Whether `next_content` ended early because of many small chunks: let other tasks run."""
        return isinstance(self.decoder, ChunkedDecoder) and self.decoder.has_more

    def has_whole_body(self) -> bool:
        """Return whether the rest of the body has arrived, well-formed and not in small chunks.

        Consumes nothing.
        """
        decoder = copy(self.decoder)
        if isinstance(decoder, ChunkedDecoder):
            decoder.trailers = []  # the copy must not extend the list of the original
        if decoder is not None:
            try:
                decoder.decode(self._buffer, self._position)
            except MicrowebError:
                return False
        return decoder is None or decoder.is_complete

    def next_content(self) -> bytes | None:
        """Return the next piece of the body, `b""` at its end, None if more bytes are needed.

        Raises: MalformedRequest, HeadTooLarge for trailers, ContentTooLarge.
        """
        decoder = self.decoder
        if decoder is None:
            return b""
        content, self._position = decoder.decode(self._buffer, self._position)
        self.is_empty = self._position == len(self._buffer)
        if content:
            return content
        return b"" if decoder.is_complete else None


def _refuse_line(line: bytes) -> NoReturn:
    if line.startswith(b"\x16"):  # the first byte of a ClientHello
        raise TLSUnexpected("TLS on a port that speaks HTTP")
    if b"\n" in line or b"\r" in line:
        raise MalformedRequest("a bare CR or LF in the request line", line)
    raise MalformedRequest("expected method SP target SP HTTP-version in ASCII", line)
