"""Multipart bodies: bytes -> parts. RFC 2046 section 5.1.1, RFC 7578.

Strategy: a push parser that never waits. `parse` takes bytes in pieces of any size. For each part
it yields the headers, the content in pieces, and None at the end. A delimiter is CRLF, two hyphens
and the boundary; the first delimiter of a body needs no CRLF. The parser accepts text before the
first and after the last delimiter, spaces after each delimiter, and folded header lines, because
the grammar allows them and clients send them. Other text after a delimiter is refused, because
parsers interpret it differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from functools import lru_cache
from typing import NoReturn

from ..errors import BadRequest, ContentTooLarge
from ..http.grammar import TOKEN

MAX_HEADER_LINE = 4096  # a name of 255 characters takes 3 KiB if each is percent-encoded
MAX_HEADER_LINES = 8  # RFC 7578 section 4 defines three
KNOWN_BYTES = 256  # longer headers of a part are parsed each time
_MAX_PADDING = 256  # RFC 2046 allows padding because some relays pad lines

# transport-padding = *LWSP-char                                            RFC 2046 section 5.1.1
_PADDED_END = re.compile(rb"[ \t]*+\r\n")
_PADDED_SO_FAR = re.compile(rb"[ \t]*+\r?")
_FOLD = re.compile(rb"\r\n[ \t]++")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# Names in lower case; values without surrounding spaces. Parts may share a list: do not change it.
PartHeaders = list[tuple[str, bytes]]


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()  # after a delimiter, in its line
    HEADERS = auto()
    CONTENT = auto()
    LAST_DELIMITER = auto()  # after the last delimiter, in its line
    EPILOGUE = auto()


# Access to an Enum attribute costs 0.1 us: these are compared several times in each part.
_DELIMITER, _HEADERS, _CONTENT = _State.DELIMITER, _State.HEADERS, _State.CONTENT


class PartParser:
    """The parser of one multipart body.

    `parse` and `close` raise BadRequest if the body is malformed, and ContentTooLarge for more than
    `max_parts` parts or for headers over their limits.
    """

    __slots__ = (
        "_blank",
        "_buffer",
        "_delimiter",
        "_max_parts",
        "_parts",
        "_position",
        "_searched",
        "_state",
    )

    def __init__(self, boundary: bytes, *, max_parts: int) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._max_parts = max_parts
        self._parts = 0
        self._state = _State.PREAMBLE
        self._buffer = b"\r\n"  # the CRLF that the first delimiter may lack
        self._position = 0
        self._searched = 0  # bytes of unfinished headers that contain no end
        self._blank = 0  # bytes of the empty line after headers, until the content begins

    def parse(self, data: bytes) -> Iterator[PartHeaders | bytes | None]:
        """Yield the events in `data`: a part's headers, pieces of its content, None at its end."""
        self._buffer = self._buffer[self._position :] + data
        self._position = 0
        while self._position < len(self._buffer):
            state = self._state
            if state is _CONTENT:
                content, is_done = self._take_content()
                if content:
                    yield content
                if is_done:
                    yield None
            elif state is _DELIMITER:
                is_done = self._end_delimiter()
            elif state is _HEADERS:
                headers = self._take_headers()
                is_done = headers is not None
                if headers is not None:
                    yield headers
            elif state is _State.PREAMBLE:
                is_done = self._skip_preamble()
            elif state is _State.LAST_DELIMITER:
                is_done = self._end_last_delimiter()
            else:
                self._position = len(self._buffer)
                break
            if not is_done:
                break

    def close(self) -> None:
        """Raise BadRequest if the body is not complete."""
        rest = self._buffer[self._position :]
        is_at_end = self._state is _State.LAST_DELIMITER and not rest.endswith(b"\r")
        if not is_at_end and self._state is not _State.EPILOGUE:
            begun = self._state is not _State.PREAMBLE
            _refuse(
                "expected the last boundary at the end of the body, got a body that is cut"
                if begun
                else "expected the boundary of Content-Type in the body, got none"
            )

    # --- steps: each returns whether the buffer may hold a further step

    def _skip_preamble(self) -> bool:
        buffer, delimiter = self._buffer, self._delimiter
        at = buffer.find(delimiter[2:], self._position)
        if at < 0:
            self._position = max(self._position, len(buffer) - len(delimiter))
            return False
        if buffer[at - 2 : at] != b"\r\n":
            # If this were skipped, a form whose lines end with LF would parse as an empty form.
            _refuse("expected CRLF before the first boundary, got other bytes")
        self._position = at + len(delimiter) - 2
        self._state = _DELIMITER
        return True

    def _end_delimiter(self) -> bool:
        buffer, position = self._buffer, self._position
        if buffer.startswith(b"\r\n", position):  # without padding, as nearly always
            self._position = position + 2
        elif buffer.startswith(b"--", position):
            self._position = position + 2
            self._state = _State.LAST_DELIMITER
            return True
        elif buffer[position : position + 2] == b"-" or not self._end_line():
            return False
        if self._parts == self._max_parts:
            raise ContentTooLarge(f"multipart form: more than {self._max_parts} parts")
        self._parts += 1
        self._state = _HEADERS
        return True

    def _end_last_delimiter(self) -> bool:
        is_ended = self._end_line()
        if is_ended:
            self._state = _State.EPILOGUE
        return is_ended

    def _end_line(self) -> bool:
        """Skip the rest of a delimiter's line; return False if its end has not arrived."""
        buffer, position = self._buffer, self._position
        limit = position + _MAX_PADDING
        if end := _PADDED_END.match(buffer, position, limit):
            self._position = end.end()
        elif len(buffer) >= limit or not _PADDED_SO_FAR.fullmatch(buffer, position):
            _refuse("expected CRLF after a boundary, got other bytes")
        return end is not None

    def _take_headers(self) -> PartHeaders | None:
        buffer, start = self._buffer, self._position
        end = buffer.find(b"\r\n\r\n", max(start, self._searched - 3))
        if (len(buffer) if end < 0 else end) - start > MAX_HEADER_LINES * MAX_HEADER_LINE:
            _refuse_headers()
        if end < 0:
            self._searched = len(buffer) - start  # the next `parse` begins at `start`
            return None
        section = buffer[start:end]
        if self._delimiter in section or section.startswith(self._delimiter[2:]):
            _refuse("a boundary inside the headers of a part")
        # The empty line may be the CRLF of a delimiter: then the part has no content.
        self._position, self._searched, self._blank = end + 2, 0, 2
        self._state = _CONTENT
        is_usual = len(section) <= KNOWN_BYTES and b"filename" not in section
        return _known_headers(section) if is_usual else _parse_headers(section)

    def _take_content(self) -> tuple[bytes, bool]:
        buffer, start, delimiter = self._buffer, self._position, self._delimiter
        at = buffer.find(delimiter, start)
        is_whole = at >= 0
        if is_whole:
            self._position = at + len(delimiter)
            self._state = _DELIMITER
        else:
            # Keep bytes at the end that may begin a delimiter. Only its first byte is a CR.
            at = buffer.rfind(b"\r", max(start, len(buffer) - len(delimiter) + 1))
            if at < 0 or not delimiter.startswith(buffer[at:]):
                at = len(buffer)
            self._position = at
        if at > start:
            start, self._blank = start + self._blank, 0
        return buffer[start:at], is_whole


def _parse_headers(section: bytes) -> PartHeaders:
    lines = _FOLD.sub(b" ", section).split(b"\r\n")
    if len(lines) > MAX_HEADER_LINES or max(map(len, lines)) > MAX_HEADER_LINE:
        _refuse_headers()
    headers: PartHeaders = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            _refuse(f"expected a header field in a part, got {line[:80]!r}")
        if _CONTROL.search(value):
            _refuse("a control character in the headers of a part")
        headers.append((name.decode("ascii").lower(), value.strip(b" \t")))
    if len(dict(headers)) < len(headers):
        _refuse("a part with the same header twice")
    return headers


# A form sends the headers of its fields again each time. With `multipart.Part`, 4 fields and a file
# take 235 us in place of 326. Names of files vary.
_known_headers = lru_cache(maxsize=256)(_parse_headers)


def _refuse_headers() -> NoReturn:
    raise ContentTooLarge(
        f"multipart form: expected at most {MAX_HEADER_LINES} header lines of {MAX_HEADER_LINE} "
        "bytes in a part, got more"
    )


def _refuse(reason: str) -> NoReturn:
    raise BadRequest(f"malformed multipart form: {reason}")
