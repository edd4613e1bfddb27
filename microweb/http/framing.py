"""Bodies with a length and bodies in chunks: decoding and encoding. RFC 9112 sections 6.2 and 7.1.

A decoder gets the buffered bytes and a position. It returns the content that it decoded and the
position at which it stopped. It keeps no bytes: the caller keeps those after the position, and
calls again with more bytes appended. These are at most one unfinished line, because content is
returned as it arrives and each line is consumed when it is whole. So the work is linear in the
body, however its bytes are split.

An invalid body is refused at the first byte that shows it, and for the same reason however its
bytes are split. A decoder that raises has consumed nothing: its state is that before the call. The
caller checks the end of input: if the decoder is not complete then, the body was cut off.
"""

from __future__ import annotations

import re

from ..errors import ContentTooLarge, HeadTooLarge, MalformedRequest
from .grammar import CHUNK_LINE, FIELD_CHAR, FIELD_LINE, TCHAR

# last-chunk, and the CRLF that ends an empty trailer section               RFC 9112 section 7.1
LAST_CHUNK = b"0\r\n\r\n"

# The Connection field line of a response that needs one.                   RFC 9112 section 9.3
CLOSE = b"Connection: close\r\n"
KEEP_ALIVE = b"Connection: keep-alive\r\n"

# A larger sum of chunk sizes is refused, whatever `max_content` is: no file is larger (off_t).
_MAX_CONTENT = 2**63

# 2**64 has 17 digits. Some senders pad with zeros, to 8 or 16 digits; none needs 32.
_MAX_SIGNIFICANT_DIGITS = 16
_MAX_DIGITS = 32

# Nearly every chunk line: a size without extensions. `_chunk_line` parses the others.
_PLAIN_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)\r\n")

# Any beginning of a chunk line: the last extension may lack its name, value or closing quote.
_QUOTED_SO_FAR = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]++|\\%b)*["\\]?+' % FIELD_CHAR
_CHUNK_LINE_SO_FAR = (  # compiled at its first use
    rb"([0-9A-Fa-f]++)((?:(?<![;=]);(?:%b++(?:=(?:%b++|%b)?)?)?)*)" % (TCHAR, TCHAR, _QUOTED_SO_FAR)
)

# Any beginning of a field line.
_FIELD_LINE_SO_FAR = re.compile(rb"(?:%b++(:%b*+)?)?" % (TCHAR, FIELD_CHAR))

# The most steps of one call: without it, 64 KiB in chunks of a byte held the event loop for 62 ms.
_MAX_STEPS = 1000

# Values of `_left` when the next bytes to decode are not chunk-data.
_CHUNK_END = 0
_CHUNK_START = -1
_TRAILERS = -2


class LengthDecoder:
    """The decoder of a body with `Content-Length`. RFC 9112 section 6.2."""

    __slots__ = ("is_complete", "length", "remaining")

    def __init__(self, length: int) -> None:
        self.length = length
        self.is_complete = length == 0
        self.remaining = length

    def decode(self, data: bytes, position: int) -> tuple[bytes, int]:
        """Return the content in `data[position:]`, and the position after it.

        If all of `data` is content, the content is `data` itself, not a copy.
        """
        content = data[position : position + self.remaining]
        self.remaining -= len(content)
        self.is_complete = self.remaining == 0
        return content, position + len(content)


class ChunkedDecoder:
    """The decoder of a body with `Transfer-Encoding: chunked`. RFC 9112 section 7.1.

    `max_content` bounds the sum of the chunk sizes; set it before the first `decode`. `trailers`
    are complete once `is_complete` is true: names in lower case, values without surrounding
    whitespace. They are not part of the header section, so a `host` or `content-length` among them
    has no effect. Never merge them into it.

    `max_extension` bounds the extensions of one chunk, `max_extensions` those of the body. Without
    them a byte of content may cost kilobytes (CVE-2023-39326 in Go, CVE-2024-22019 in Node.js).

    `has_more` is true if a call ended early because of many small chunks. Then let other tasks run,
    and call again with the same bytes.
    """

    __slots__ = (
        "_announced",
        "_extensions_left",
        "_left",
        "_max_extension",
        "_max_trailer_fields",
        "_trailers_left",
        "has_more",
        "is_complete",
        "max_content",
        "trailers",
    )

    def __init__(
        self,
        *,
        max_extensions: int = 65536,
        max_extension: int = 128,
        max_trailers: int = 8192,
        max_trailer_fields: int = 100,
    ) -> None:
        self.max_content: int | None = None
        self.is_complete = False
        self.has_more = False
        self.trailers: list[tuple[str, str]] = []
        self._max_extension = max_extension
        self._extensions_left = max_extensions
        self._trailers_left = max_trailers
        self._max_trailer_fields = max_trailer_fields
        self._announced = 0
        self._left = _CHUNK_START

    def decode(self, data: bytes, position: int) -> tuple[bytes, int]:
        """Return the content in `data[position:]`, and the position after the decoded bytes.

        The content may be `b""`: the body is complete, or no line is whole yet. Then keep the
        bytes after that position, and call again with more appended.

        Raises: MalformedRequest; ContentTooLarge when a chunk size exceeds the limit; HeadTooLarge
        for the trailer section. A call that raises consumes nothing.
        """
        if self.is_complete:
            return b"", position
        # The state is set at the end only, so that a refused line leaves it as it was.
        left, announced, extensions_left = self._left, self._announced, self._extensions_left
        max_content = _MAX_CONTENT if self.max_content is None else self.max_content
        parts = []
        length = len(data)
        self.has_more = False
        for _ in range(_MAX_STEPS):
            if position == length:
                break
            if left > 0:
                part = data[position : position + left]
                parts.append(part)
                position += len(part)
                left -= len(part)
            elif left == _CHUNK_END:
                if not _ends_chunk(data, position):
                    break
                position += 2
                left = _CHUNK_START
            elif left == _CHUNK_START:
                if plain := _PLAIN_LINE.match(data, position):
                    size, position = int(plain[1], 16), plain.end()
                elif line := self._chunk_line(data, position, extensions_left):
                    size, position, extensions_left = line
                else:
                    break
                announced += size
                if announced > max_content:
                    raise ContentTooLarge(f"expected at most {max_content} bytes of content")
                end = position + size
                if size and data[end : end + 2] == b"\r\n":  # a whole chunk takes a third less time
                    parts.append(data[position:end])
                    position = end + 2
                else:
                    left = size or _TRAILERS
            else:
                position = self._decode_trailers(data, position)
                break
        else:
            self.has_more = True  # perhaps: this may have been the last chunk of `data`
        self._left, self._announced, self._extensions_left = left, announced, extensions_left
        return b"".join(parts), position

    def _chunk_line(
        self, data: bytes, position: int, extensions_left: int
    ) -> tuple[int, int, int] | None:
        """Return (size, end, bytes left for extensions); None while the line is unfinished."""
        allowed = min(self._max_extension, extensions_left)
        longest = position + _MAX_DIGITS + allowed + 1
        so_far = re.compile(_CHUNK_LINE_SO_FAR).match(data, position, longest)
        if so_far is None:
            raise MalformedRequest("chunk size is not 1*HEXDIG", data[position : position + 2])
        digits, extensions = so_far.groups()
        end = so_far.end()
        if len(digits[:_MAX_DIGITS].lstrip(b"0")) > _MAX_SIGNIFICANT_DIGITS:
            raise ContentTooLarge(f"expected at most {_MAX_CONTENT} bytes of content")
        if len(digits) > _MAX_DIGITS:
            raise MalformedRequest("chunk size has too many zeros", data[position:end])
        if len(extensions) > allowed:
            raise MalformedRequest("chunk extensions too long", data[position:end])
        following = data[end : end + 2]
        if not following:
            return None
        is_whole = CHUNK_LINE.fullmatch(data, position, end) is not None
        if is_whole and following == b"\r\n":
            return int(digits, 16), end + 2, extensions_left - len(extensions)
        if is_whole and following == b"\r":
            return None
        reason = _line_end_fault("a chunk line", following, is_whole) or (
            "invalid chunk extension" if extensions else "chunk size is not 1*HEXDIG"
        )
        raise MalformedRequest(reason, data[position : end + 2])

    def _decode_trailers(self, data: bytes, position: int) -> int:
        """Decode the whole lines of the trailer section; return the position after them."""
        fields: list[tuple[str, str]] = []
        start = position
        while not (is_complete := data.startswith(b"\r\n", position)):
            if data[position : position + 2] in (b"", b"\r"):
                break
            if len(self.trailers) + len(fields) == self._max_trailer_fields:
                raise HeadTooLarge("too many trailer fields")
            line = _trailer_line(data, position, self._trailers_left - (position - start))
            if line is None:
                break
            field, position = line
            fields.append(field)
        self._trailers_left -= position - start
        self.trailers += fields
        self.is_complete = is_complete
        return position + 2 if is_complete else position


def encode_chunk(data: bytes) -> bytes:
    """Return `data` as one chunk. RFC 9112 section 7.1.

    Empty data gives no bytes, because an empty chunk would end the body.
    """
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _ends_chunk(data: bytes, position: int) -> bool:
    """Return whether the CRLF after chunk-data has arrived; False while it is unfinished."""
    following = data[position : position + 2]
    if following not in (b"\r\n", b"\r"):
        raise MalformedRequest("chunk-data is longer than its chunk size", following)
    return following == b"\r\n"


def _trailer_line(data: bytes, position: int, left: int) -> tuple[tuple[str, str], int] | None:
    """Return the field and the end of its line; None while the line is unfinished."""
    so_far = _FIELD_LINE_SO_FAR.match(data, position, position + left)
    assert so_far is not None  # it always matches, perhaps nothing
    end = so_far.end()
    if end + len(b"\r\n") - position > left:
        raise HeadTooLarge("trailer section too large", data[position:end])
    following = data[end : end + 2]
    if not following:
        return None
    field = FIELD_LINE.fullmatch(data, position, end)
    if field and following == b"\r\n":
        name, value = field[1].decode("ascii"), field[2].decode("latin-1")
        return (name.lower(), value.strip(" \t")), end + 2
    if field and following == b"\r":
        return None
    reason = _line_end_fault("a trailer line", following, field is not None) or (
        "obs-fold or whitespace before a trailer field"
        if following[0] in b" \t" and end == position
        else f"invalid trailer field {'value' if so_far[1] else 'name'}"
    )
    raise MalformedRequest(reason, data[position : end + 2])


def _line_end_fault(line: str, following: bytes, is_whole: bool) -> str | None:
    """Return the reason if `following` is a bare LF or CR; None if the line has another fault."""
    if following[0] == ord("\n"):
        return f"bare LF in {line}"
    if following[0] == ord("\r") and is_whole:
        return f"bare CR in {line}"
    return None
