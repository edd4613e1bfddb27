"""multipart/form-data: parts as they come, and the form that is made of them.

Strategy: defnull's push parser finds the parts, in its strict mode; what it leaves open is decided
here. A body begins with its boundary and ends with its last one: what stands before or behind
(RFC 2046 section 5.1.1) no browser sends, and the parser takes or refuses it by where reads happen
to be cut. `Content-Disposition` must be exactly parameters, each given once; names are escaped as
browsers do (WHATWG HTML, multipart/form-data encoding algorithm), `filename*` is looked over (RFC
7578 section 4.2). Fields are UTF-8. All that is counted is over the limit with 413, all that is
malformed 400; the raw total, boundaries and all, is what the body's own limit counts.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import NoReturn

from .errors import BadRequest, BodyConsumed, ContentTooLarge, MissingExtra
from .filenames import safe_filename
from .headers import CheckedHeaders, Headers
from .uploads import Form, Spool, UploadFile

try:
    from multipart import (
        MultipartError,
        MultipartSegment,
        ParserLimitReached,
        PushMultipartParser,
    )
except ImportError as error:
    raise MissingExtra("a multipart form", "multipart") from error

_MAX_HEADER_LINE = 4096  # a name of 255 characters takes 3 KiB where each is percent-encoded
_MAX_HEADER_LINES = 8  # RFC 7578 section 4 knows three

# parameter = token "=" ( token / quoted-string )                           RFC 9110 section 5.6.6
# Browsers write a quote as %22 and a backslash as itself, also as the last character; and many
# clients leave out the quotes where RFC 2045 wants them.
_PARAMETER = re.compile(
    r"[ \t]*+;[ \t]*+([!#$%&'*+\-.^_`|~0-9A-Za-z]++)="
    r'("(?:[^"\\]++|\\.)*"|"[^"]*"|[^\s;"]++)(?=[ \t]*+(?:;|\Z))'
)
# bchars, the last of which is no space                                     RFC 2046 section 5.1.1
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}(?<! )[0-9A-Za-z'()+_,\-./:=?]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_UTF_8 = frozenset(("utf-8", "utf8", "us-ascii", "ascii"))
# What clients of old say of text that is ASCII: then it makes no difference.
_NEARLY_UTF_8 = frozenset(("iso-8859-1", "latin1", "windows-1252"))
_AS_IT_IS = frozenset(("binary", "8bit", "7bit"))

_ONCE = "a part is read once, and before the next one is asked for"

_Events = AsyncIterator[MultipartSegment | bytes | None]


class Part:
    """One part of a form while it comes: `async for part in request.parts()`.

    `name` is its field's; `filename` and `raw_filename` are None where it is no file, else as those
    of an `UploadFile`, as are `content_type` and `headers`. It is there until the next is asked
    for, and is read once.
    """

    __slots__ = (
        "_events",
        "_is_begun",
        "_max_text",
        "content_type",
        "filename",
        "headers",
        "is_left",
        "name",
        "raw_filename",
    )

    def __init__(self, segment: MultipartSegment, events: _Events, max_text: int) -> None:
        self.headers = _checked_headers(segment)
        disposition = _parameters(self.headers["content-disposition"], "form-data")
        if "name" not in disposition:
            _refuse("a part without a name")
        self.name = _unescaped(disposition["name"])
        raw = disposition.get("filename")
        self.raw_filename = None if raw is None else _unescaped(raw)
        self.filename = None if self.raw_filename is None else safe_filename(self.raw_filename)
        default = "text/plain" if raw is None else "application/octet-stream"
        self.content_type = self.headers.get("content-type", default)
        self._events = events
        self._max_text = max_text
        self._is_begun = False
        self.is_left = False  # the next one was asked for

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces as they come.

        Raises: BodyConsumed where it was read or left behind; as `request.parts()`.
        """
        if self._is_begun or self.is_left:
            raise BodyConsumed(_ONCE)
        self._is_begun = True
        async for event in self._events:
            if not isinstance(event, bytes):
                return
            yield event
            if self.is_left:
                raise BodyConsumed(_ONCE)

    async def text(self) -> str:
        """Return the content of a field, which is UTF-8.

        Raises: ContentTooLarge past `max_form_text`; BadRequest for other bytes, and for a charset
        that is no ASCII; as `__aiter__`.
        """
        return await self.text_within(self._max_text, of=self._max_text)

    async def text_within(self, limit: int, *, of: int) -> str:
        """Return the text as `text()`, of at most `limit` bytes that are left of `of`."""
        charset = _charset(self.content_type)
        content = bytearray()
        async for piece in self:
            content += piece
            if len(content) > limit:
                _refuse_text(of)
        try:
            return content.decode(charset)
        except UnicodeError as error:
            raise BadRequest(f"expected {charset} in {self.name[:80]!r}") from error

    def __repr__(self) -> str:
        return f"<Part {self.name!r}>"


async def read_parts(
    pieces: AsyncIterator[bytes], content_type: str, *, max_parts: int, max_text: int
) -> AsyncIterator[Part]:
    """Yield the parts of a multipart form, whose body comes in `pieces`.

    Raises: BadRequest for what is no such form, ContentTooLarge past a limit; as `pieces`.
    """
    boundary = _boundary(content_type)
    events = _parse(pieces, boundary, max_parts)
    async for event in events:  # those of a part that was left half-way are passed over
        if isinstance(event, MultipartSegment):
            part = Part(event, events, max_text)
            yield part
            part.is_left = True


async def read_form(
    pieces: AsyncIterator[bytes], content_type: str, *, max_parts: int, max_text: int
) -> Form:
    """Return a whole multipart form.

    What is kept of its fields and of the parts' headers is at most `max_text` bytes together.

    Raises: as `read_parts`; nothing is left on the disk then.
    """
    fields, files = [], []
    spool = Spool()
    room = max_text
    try:
        async for part in read_parts(pieces, content_type, max_parts=max_parts, max_text=max_text):
            room -= sum([len(name) + len(value) for name, value in part.headers.pairs()])
            if room < 0:
                _refuse_text(max_text)
            if part.raw_filename is None:
                text = await part.text_within(room, of=max_text)
                room -= len(text.encode())
                if part.name == "_charset_" and text.lower() not in _UTF_8:  # RFC 7578 section 4.6
                    _refuse("its fields are not in UTF-8")
                fields.append((part.name, text))
            elif upload := await _spooled(part, part.raw_filename, spool):
                files.append((part.name, upload))
        await spool.finish()
    except Exception:
        spool.close()  # a traceback that is kept would keep it
        raise
    return Form(fields, files)


async def _spooled(part: Part, raw_filename: str, spool: Spool) -> UploadFile | None:
    """Return the file, None where nothing was chosen: browsers send it empty and without a name."""
    start = spool.size
    async for piece in part:
        await spool.write(piece)
    size = spool.size - start
    if not size and not raw_filename:
        return None
    return UploadFile(raw_filename, part.headers, spool, start, size)


async def _parse(
    pieces: AsyncIterator[bytes], boundary: bytes, max_parts: int
) -> AsyncIterator[MultipartSegment | bytes | None]:
    """Yield a segment for each part, then its bytes, then None."""
    parser = PushMultipartParser(
        boundary,
        max_header_size=_MAX_HEADER_LINE,
        max_header_count=_MAX_HEADER_LINES,
        max_segment_count=max_parts,
        strict=True,
    )
    begin, end = b"--" + boundary, b"--" + boundary + b"--"
    held = last = b""
    has_begun = False
    try:
        async for piece in pieces:
            data = held + piece
            if not has_begun:
                if len(data) < len(begin) + 2:
                    held = data
                    continue
                if not data.startswith((begin, b"\r\n" + begin)):
                    _refuse("it does not begin with its boundary")
                has_begun = True
            # The parser takes the line's end behind the last boundary for more data, where it comes
            # by itself: what can be it waits for the next piece.
            kept = len(data) - (2 if data.endswith(b"\r\n") else data.endswith(b"\r"))
            data, held = data[:kept], data[kept:]
            if data:
                last = data[-len(end) :] if len(data) >= len(end) else (last + data)[-len(end) :]
                for event in parser.parse(data):
                    yield event
        if not has_begun or held not in (b"", b"\r\n") or last != end:
            _refuse("it does not end with its boundary")
        parser.close()  # type: ignore[no-untyped-call]
    except ParserLimitReached as error:
        raise ContentTooLarge(f"multipart form: {error.args[0]}") from error
    except MultipartError as error:
        _refuse(error.args[0], error)


def _boundary(content_type: str) -> bytes:
    boundary = _parameters(content_type, "multipart/form-data").get("boundary", "")
    if boundary.startswith('"'):
        boundary = re.sub(r"\\(.)", r"\1", boundary[1:-1])
    if not _BOUNDARY.fullmatch(boundary):
        _refuse("expected a boundary of 1 to 70 characters in Content-Type")
    return boundary.encode()


def _parameters(value: str, kind: str) -> dict[str, str]:
    """Return the parameters behind `kind`, names in lower case, values as they are written.

    Raises: BadRequest for another kind, anything else in between, and a name given twice.
    """
    at = len(kind)
    found: dict[str, str] = {}
    if value[:at].lower() == kind:
        while parameter := _PARAMETER.match(value, at):
            name, at = parameter[1].lower(), parameter.end()
            if name in found:
                _refuse(f"{kind} with a parameter given twice")
            found[name] = parameter[2]
        if not value[at:].strip("; \t"):
            return found
    _refuse(f"expected {kind} and its parameters, got {value[:80]!r}")


def _unescaped(value: str) -> str:
    """Return a name as it was before a browser, or curl in its way of old, has written it."""
    if value.startswith('"'):
        value = value[1:-1]
        if '\\"' in value:
            # NUL is in no header. `re.sub` takes 1 us for each quote, and 4 KiB may be quotes.
            return value.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")
    return value.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"')


def _checked_headers(segment: MultipartSegment) -> Headers:
    headers = [(name.lower(), value.rstrip(" \t")) for name, value in segment.headerlist]
    if any([_CONTROL.search(value) for _, value in headers]):
        _refuse("a control character in the headers of a part")
    checked = CheckedHeaders(headers)
    if len(checked) < len(headers):
        _refuse("a part with the same header twice")
    # RFC 7578 section 4.7 has done away with it; what does not change the bytes is harmless.
    if checked.get("content-transfer-encoding", "binary").lower() not in _AS_IT_IS:
        _refuse("a part with a Content-Transfer-Encoding")
    return checked


def _charset(content_type: str) -> str:
    """Return the codec of a field. Raises: BadRequest for what is not UTF-8, and nested forms."""
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower().startswith("multipart/"):
        _refuse("a multipart body inside a part")
    charset = _parameters(f";{parameters}" if parameters else "", "").get("charset", "utf-8")
    charset = charset.strip('"').lower()
    if charset in _UTF_8:
        return "utf-8"
    if charset in _NEARLY_UTF_8:
        return "ascii"
    _refuse(f"expected fields in UTF-8, got {charset[:40]!r}")


def _refuse(reason: str, cause: Exception | None = None) -> NoReturn:
    raise BadRequest(f"malformed multipart form: {reason}") from cause


def _refuse_text(limit: int) -> NoReturn:
    raise ContentTooLarge(f"the fields of this form are larger than {limit} bytes")
