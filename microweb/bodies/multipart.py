"""multipart/form-data: the parts of a form one by one, and the whole form.

Strategy: `parts` finds the parts, and this module interprets them. `Content-Disposition` must
consist of parameters only, each given once. Names are unescaped as browsers escape them (WHATWG
HTML, multipart/form-data encoding algorithm). A part with a file name is a file. The name may be in
`filename*` alone, which old clients send against RFC 7578 section 4.2, or in the client's code
page. A field is decoded by the charset of its part, by default UTF-8. A form over a limit is a 413,
a malformed one a 400. The body's own limit counts all bytes, including the boundaries.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable
from functools import lru_cache
from typing import NoReturn

from ..errors import BadRequest, BodyConsumed, ContentTooLarge, MicrowebError
from ..http.charsets import codec_of
from ..http.filenames import safe_filename
from ..http.grammar import without_escapes
from ..http.headers import CheckedHeaders, Headers
from ..http.mediatypes import MAX_PARAMETERS, parse_media_type
from ..http.urlencoded import percent_decode
from .forms import Form, Spool, UploadFile
from .parts import KNOWN_BYTES, PartHeaders, PartParser

# parameter = token "=" ( token / quoted-string )                           RFC 9110 section 5.6.6
# Browsers write a quote as %22 and a backslash unescaped, also as the last character. Many clients
# leave out the quotes that RFC 2045 requires.
_PARAMETER = re.compile(
    r"[ \t]*+;[ \t]*+([!#$%&'*+\-.^_`|~0-9A-Za-z]++)="
    r'("[^"\\]*+(?:\\.[^"\\]*+)*"|"[^"]*"|[^\s;"]++)(?=[ \t]*+(?:;|\Z))'
)
# 1 to 70 characters, and the last is not a space. RFC 2046 section 5.1.1 allows fewer characters;
# clients send all that a token or a quoted string can hold.
_BOUNDARY = re.compile(r"[0-9A-Za-z!#$%&'()*+,\-./:=?^_`|~]{1,70}")
_QUOTED_BOUNDARY = re.compile(r"[\x20-\x7e]{0,69}[\x21-\x7e]")

_LENGTH = re.compile(r"[0-9]{1,18}")
_UNCODED = frozenset(("binary", "8bit", "7bit"))

_PIECE = 64 * 1024  # bytes for the parser at a time

_ONCE = "expected an unread part: read each part once, before the loop takes the next part"

Keep = Callable[[int], None]

_Events = AsyncIterator[PartHeaders | bytes | None]


class Part:
    """One part of a form that is being received: `async for part in request.parts()`.

    `name` is the field name. `filename` and `raw_filename` are None if the part is not a file. For
    a file, they, `content_type` and `headers` are as in `UploadFile`. A part can be read once, and
    only before the loop takes the next part.
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

    def __init__(self, headers: PartHeaders, events: _Events, max_text: int) -> None:
        self.headers, self.name, self.raw_filename = _describe(headers)
        self.filename = None if self.raw_filename is None else safe_filename(self.raw_filename)
        default = "text/plain" if self.raw_filename is None else "application/octet-stream"
        self.content_type = self.headers.get("content-type", default)
        self._events = events
        self._max_text = max_text
        self._is_begun = False
        self.is_left = False  # the loop has taken the next part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces as they arrive.

        Raises: BodyConsumed if the part was read, or the loop has taken the next part; as
        `request.parts()`.
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
        """Return the content decoded by the charset of the part, by default UTF-8.

        Raises: ContentTooLarge above `max_form_text`; BadRequest for bytes that the charset does
        not allow; as `__aiter__`.
        """
        codec = _codec(self.content_type)
        content = bytearray()
        try:
            async for piece in self:
                content += piece
                if len(content) > self._max_text:
                    _refuse_text(self._max_text)
        except MicrowebError:
            content.clear()  # the error's traceback refers to it
            raise
        return _decoded_content(content, codec, self.name)

    def __repr__(self) -> str:
        return f"<Part {self.name!r}>"


async def read_parts(
    pieces: AsyncIterator[bytes], content_type: str, *, max_parts: int, max_text: int
) -> AsyncIterator[Part]:
    """Yield the parts of a multipart form from the `pieces` of its body.

    Raises: BadRequest if the form is malformed; ContentTooLarge above a limit; as `pieces`.
    """
    boundary = _boundary(content_type)
    events = _parse(pieces, boundary, max_parts)
    async for event in events:  # skips the remaining events of a part that was not read
        if isinstance(event, list):
            part = Part(event, events, max_text)
            yield part
            part.is_left = True


async def read_form(
    pieces: AsyncIterator[bytes],
    content_type: str,
    *,
    max_parts: int,
    max_text: int,
    keep: Keep | None = None,
) -> Form:
    """Return a whole multipart form.

    The fields and the headers of all parts together are at most `max_text` bytes. `keep` is called
    with the number of bytes in memory.

    Raises: as `read_parts`. After an error no file stays on the disk.
    """
    # By a `Part` for each, 4 fields and a file took a third more instructions.
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, UploadFile]] = []
    content, spool, start, room = bytearray(), Spool(), 0, max_text
    try:
        async for event in _parse(pieces, _boundary(content_type), max_parts):
            if isinstance(event, list):
                headers, name, raw_filename = _describe(event)
                room -= sum([len(name) + len(value) for name, value in headers.pairs()])
                if room < 0:
                    _refuse_text(max_text)
                start = spool.size
            elif event is not None:
                if raw_filename is None:
                    content += event
                    if len(content) > room:
                        _refuse_text(max_text)
                else:
                    await spool.write(event)
                if keep is not None:
                    keep(max_text - room + len(content) + spool.in_memory)
            elif raw_filename is None:
                codec = _codec(headers.get("content-type", "text/plain"))
                text = _decoded_content(content, codec, name)
                if name == "_charset_" and codec_of(text) not in ("utf-8", "ascii"):
                    # RFC 7578 section 4.6
                    _refuse(f"expected UTF-8 in the field _charset_, got {text[:80]!r}")
                room -= len(content) if codec == "utf-8" else len(text.encode())
                content.clear()
                fields.append((name, text))
            elif (size := spool.size - start) or raw_filename:  # else no file was chosen
                files.append((name, UploadFile(raw_filename, headers, spool, start, size)))
        await spool.finish()
    except BaseException:  # a cancellation too
        content.clear()  # the error's traceback refers to them
        spool.close()
        raise
    return Form(fields, files)


async def _parse(
    pieces: AsyncIterator[bytes], boundary: bytes, max_parts: int
) -> AsyncIterator[PartHeaders | bytes | None]:
    """Yield the headers of each part, its content in pieces, then None. Raises: as `PartParser`."""
    parser = PartParser(boundary, max_parts=max_parts)
    length: int | None = None
    async for whole in pieces:
        # The parser copies each piece. A body that was read before is one large piece.
        for piece in (whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE)):
            for event in parser.parse(piece):
                if isinstance(event, list):
                    length = _declared_length(event)
                elif length is not None:
                    length -= len(event or b"")
                    if length < 0 or (event is None and length):
                        _refuse("expected as many bytes in a part as its Content-Length says")
                yield event
    parser.close()


def _declared_length(headers: PartHeaders) -> int | None:
    if len(headers) == 1:  # without a Content-Disposition, the part is refused anyway
        return None
    declared = dict(headers).get("content-length")
    if declared is None:
        return None
    if not _LENGTH.fullmatch(declared.decode("latin-1")):
        _refuse(f"expected 1*DIGIT as Content-Length of a part, got {declared[:80]!r}")
    return int(declared)


def _boundary(content_type: str) -> bytes:
    boundary = _parameters(content_type, "multipart/form-data").get("boundary", "")
    allowed = _BOUNDARY
    if boundary.startswith('"'):
        boundary, allowed = without_escapes(boundary[1:-1]), _QUOTED_BOUNDARY
    if not allowed.fullmatch(boundary):
        _refuse(f"expected a boundary of 1 to 70 characters in Content-Type, got {boundary[:80]!r}")
    return boundary.encode()


def _parameters(value: str, kind: str) -> dict[str, str]:
    """Return the parameters after `kind`, with names in lower case and values not unescaped.

    Raises: BadRequest if `value` does not begin with `kind`, has other text between parameters, or
    a name twice.
    """
    at = len(kind)
    found: dict[str, str] = {}
    if value[:at].lower() == kind:
        while parameter := _PARAMETER.match(value, at):
            name, at = parameter[1].lower(), parameter.end()
            if name in found:
                _refuse(f"expected each parameter of {kind} once, got {name[:80]!r} twice")
            found[name] = parameter[2]
            if len(found) > MAX_PARAMETERS:
                _refuse(f"expected at most {MAX_PARAMETERS} parameters of {kind}, got more")
        if not value[at:].strip("; \t"):
            return found
    _refuse(f"expected {kind} and its parameters, got {value[:80]!r}")


def _raw_filename(disposition: dict[str, str]) -> str | None:
    """Return the file name of a part, or None if the part is not a file."""
    if "filename" in disposition:
        name = _unescaped(disposition["filename"])
        try:
            return _decoded(name)
        except BadRequest:
            return name  # in the client's code page, which is unknown
    if "filename*" not in disposition:
        return None
    charset, _, rest = disposition["filename*"].strip('"').partition("'")  # RFC 8187 section 3.2.1
    _, quote, name = rest.partition("'")
    try:
        if not quote or charset.lower() != "utf-8":
            raise ValueError("not in the form of RFC 8187")
        return percent_decode(name)
    except ValueError as error:
        _refuse(
            f"expected UTF-8''name as filename*, got {disposition['filename*'][:80]!r}: send the "
            "name as filename",
            error,
        )


def _unescaped(value: str) -> str:
    """Return a name without the escapes of browsers, or of curl before 7.81."""
    if value.startswith('"'):
        value = value[1:-1]
        if '\\"' in value:
            # A header can't contain NUL. `re.sub` takes 1 us for each quote, and 4 KiB may be
            # quotes.
            return value.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")
    return value.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"')


def _decoded(name: str) -> str:
    """Return a name decoded as UTF-8; `name` is its bytes as latin-1. Raises: BadRequest."""
    try:
        return name.encode("latin-1").decode()
    except UnicodeError as error:
        _refuse(f"expected a name in UTF-8, got {name[:80]!r}", error)


_Description = tuple[Headers, str, str | None]  # with the name and the raw file name


def _describe(headers: PartHeaders) -> _Description:
    """Return the description of a part; that of a usual field is made once."""
    if len(headers) == 1:
        value = headers[0][1]
        if len(value) <= KNOWN_BYTES and b"filename" not in value:
            return _known_description(headers[0])
    return _description_of(*headers)


def _description_of(*headers: tuple[str, bytes]) -> _Description:
    checked = _checked_headers(headers)
    # As latin-1, so that the other parameters can be read if a name is not in UTF-8.
    raw = dict(headers).get("content-disposition", b"").decode("latin-1")
    disposition = _parameters(raw, "form-data")
    if "name" not in disposition:
        _refuse("a part without a name")
    return checked, _decoded(_unescaped(disposition["name"])), _raw_filename(disposition)


_known_description = lru_cache(maxsize=256)(_description_of)


def _checked_headers(headers: Iterable[tuple[str, bytes]]) -> Headers:
    try:
        decoded = [
            (name, value.decode(errors="replace" if name == "content-disposition" else "strict"))
            for name, value in headers
        ]
    except UnicodeError as error:
        _refuse("expected UTF-8 in the headers of a part, got other bytes", error)
    checked = CheckedHeaders(decoded)
    # RFC 7578 section 4.7 deprecates this field. These values are harmless: they change no byte.
    coding = checked.get("content-transfer-encoding", "binary")
    if coding.lower() not in _UNCODED:
        _refuse(
            f"expected no Content-Transfer-Encoding in a part, got {coding[:40]!r}: send the "
            "content without a coding"
        )
    return checked


def _codec(content_type: str) -> str:
    """Return the codec for a field's charset, or UTF-8 if it is unknown. Raises: BadRequest."""
    if content_type == "text/plain":  # most fields say nothing
        return "utf-8"
    if parse_media_type(content_type)[0].startswith("multipart/"):
        _refuse("a multipart body inside a part")
    _, _, parameters = content_type.partition(";")  # parsed strictly, as all parameters of a form
    label = _parameters(f";{parameters}" if parameters else "", "").get("charset", "")
    codec = codec_of(label.strip('"'))
    return "utf-8" if codec in (None, "ascii") else codec


def _decoded_content(content: bytearray, codec: str, name: str) -> str:
    try:
        return content.decode(codec)
    except UnicodeError as error:
        raise BadRequest(f"expected {codec} in the field {name[:80]!r}, got other bytes") from error


def _refuse(reason: str, cause: Exception | None = None) -> NoReturn:
    raise BadRequest(f"malformed multipart form: {reason}") from cause


def _refuse_text(limit: int) -> NoReturn:
    raise ContentTooLarge(
        f"expected at most {limit} bytes of form fields (max_form_text), got more"
    )
