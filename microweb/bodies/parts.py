"""Multipart bodies: bytes -> parts. RFC 2046 section 5.1.1, RFC 7578.

Strategy: a push parser that never waits. `parse` takes bytes as they come, and yields the headers
of a part, its content in pieces, and None at its end. A delimiter is CRLF, two hyphens and the
boundary; the body's first one needs no CRLF. It takes what the grammar has and clients send: text
before the first and behind the last delimiter, padding behind each, headers in folded lines. Text
behind a delimiter that is no padding is refused, because readers disagree on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NoReturn

from ..errors import BadRequest, ContentTooLarge
from ..http.grammar import TOKEN

MAX_HEADER_LINE = 4096  # a name of 255 characters takes 3 KiB if each is percent-encoded
MAX_HEADER_LINES = 8  # RFC 7578 section 4 knows three
_MAX_PADDING = 256  # RFC 2046 has it for relays that pad lines

# transport-padding = *LWSP-char                                            RFC 2046 section 5.1.1
_PADDED_END = re.compile(rb"[ \t]*+\r\n")
_PADDED_SO_FAR = re.compile(rb"[ \t]*+\r?")
_FOLD = re.compile(rb"\r\n[ \t]++")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

PartHeaders = list[tuple[str, bytes]]  # names in lower case; values without space around them


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()  # behind it, in its line
    HEADERS = auto()
    CONTENT = auto()
    LAST_DELIMITER = auto()  # behind it, in its line
    EPILOGUE = auto()


class PartParser:
    """The parts of one body.

    Raises, from `parse` and `close`: BadRequest for what is no such body; ContentTooLarge for more
    than `max_parts`, and for headers over their limits.
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
        self._buffer = b"\r\n"  # as if a line had ended before the first delimiter
        self._position = 0
        self._searched = 0  # bytes of unfinished headers, in which no end was found
        self._blank = 0  # bytes of the empty line behind headers, until content begins

    def parse(self, data: bytes) -> Iterator[PartHeaders | bytes | None]:
        """Yield what `data` brings: a part's headers, pieces of its content, None at its end."""
        self._buffer = self._buffer[self._position :] + data
        self._position = 0
        while self._position < len(self._buffer):
            match self._state:
                case _State.PREAMBLE:
                    is_done = self._skip_preamble()
                case _State.DELIMITER:
                    is_done = self._end_delimiter()
                case _State.HEADERS:
                    headers = self._take_headers()
                    is_done = headers is not None
                    if headers is not None:
                        yield headers
                case _State.CONTENT:
                    content, is_done = self._take_content()
                    if content:
                        yield content
                    if is_done:
                        yield None
                case _State.LAST_DELIMITER:
                    is_done = self._end_last_delimiter()
                case _State.EPILOGUE:
                    self._position = len(self._buffer)
                    break
            if not is_done:
                break

    def close(self) -> None:
        """Check that the body is whole."""
        rest = self._buffer[self._position :]
        is_at_end = self._state is _State.LAST_DELIMITER and not rest.endswith(b"\r")
        if not is_at_end and self._state is not _State.EPILOGUE:
            begun = self._state is not _State.PREAMBLE
            _refuse("it does not end with its boundary" if begun else "its boundary is not in it")

    # --- one step each: whether there is more to do with what is here

    def _skip_preamble(self) -> bool:
        buffer, delimiter = self._buffer, self._delimiter
        at = buffer.find(delimiter[2:], self._position)
        if at < 0:
            self._position = max(self._position, len(buffer) - len(delimiter))
            return False
        if buffer[at - 2 : at] != b"\r\n":
            # Were it skipped, a form whose lines end in LF would be an empty one.
            _refuse("its first boundary does not begin a line")
        self._position = at + len(delimiter) - 2
        self._state = _State.DELIMITER
        return True

    def _end_delimiter(self) -> bool:
        if self._buffer.startswith(b"--", self._position):
            self._position += 2
            self._state = _State.LAST_DELIMITER
            return True
        is_ended = self._buffer[self._position : self._position + 2] != b"-" and self._end_line()
        if is_ended:
            if self._parts == self._max_parts:
                raise ContentTooLarge(f"multipart form: more than {self._max_parts} parts")
            self._parts += 1
            self._state = _State.HEADERS
        return is_ended

    def _end_last_delimiter(self) -> bool:
        is_ended = self._end_line()
        if is_ended:
            self._state = _State.EPILOGUE
        return is_ended

    def _end_line(self) -> bool:
        """Go behind a delimiter's line, which ends in padding; false while it is unfinished."""
        buffer, position = self._buffer, self._position
        limit = position + _MAX_PADDING
        if end := _PADDED_END.match(buffer, position, limit):
            self._position = end.end()
        elif len(buffer) >= limit or not _PADDED_SO_FAR.fullmatch(buffer, position):
            _refuse("text behind a boundary")
        return end is not None

    def _take_headers(self) -> PartHeaders | None:
        buffer, start = self._buffer, self._position
        end = buffer.find(b"\r\n\r\n", max(start, self._searched - 3))
        if (len(buffer) if end < 0 else end) - start > MAX_HEADER_LINES * MAX_HEADER_LINE:
            raise ContentTooLarge("multipart form: the headers of a part over the limit")
        if end < 0:
            self._searched = len(buffer) - start  # the next `parse` begins at `start`
            return None
        section = buffer[start:end]
        if self._delimiter in b"\r\n" + section:
            _refuse("a boundary inside the headers of a part")
        # The empty line may be the CRLF of a delimiter: then there is no content.
        self._position, self._searched, self._blank = end + 2, 0, 2
        self._state = _State.CONTENT
        return _parse_headers(section)

    def _take_content(self) -> tuple[bytes, bool]:
        buffer, start, delimiter = self._buffer, self._position, self._delimiter
        at = buffer.find(delimiter, start)
        is_whole = at >= 0
        if is_whole:
            self._position = at + len(delimiter)
            self._state = _State.DELIMITER
        else:
            # The beginning of a delimiter, of which CR is only the first byte, waits for its rest.
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
        raise ContentTooLarge("multipart form: the headers of a part over the limit")
    headers: PartHeaders = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            _refuse("a part whose headers are no header fields")
        if _CONTROL.search(value):
            _refuse("a control character in the headers of a part")
        headers.append((name.decode("ascii").lower(), value.strip(b" \t")))
    if len(dict(headers)) < len(headers):
        _refuse("a part with the same header twice")
    return headers


def _refuse(reason: str) -> NoReturn:
    raise BadRequest(f"malformed multipart form: {reason}")
