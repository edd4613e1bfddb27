"""multipart/form-data: parts as they come, and the form that is made of them.

Strategy: `parts` finds the parts; what they mean is decided here. `Content-Disposition` must be
exactly parameters, each given once; names are escaped as browsers do (WHATWG HTML,
multipart/form-data encoding algorithm). A part with a file name is a file, also if its name is in
`filename*` alone, as old clients send it against RFC 7578 section 4.2, or in the client's code
page. Fields are in the charset of their part, else UTF-8. All that is counted is over the limit
with 413, all that is malformed 400; the raw total, boundaries and all, is what the body's own limit
counts.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import NoReturn

from ..errors import BadRequest, BodyConsumed, ContentTooLarge, MicrowebError
from ..http.charsets import codec_of
from ..http.filenames import safe_filename
from ..http.headers import CheckedHeaders, Headers
from ..http.mediatypes import parse_media_type
from ..http.urlencoded import percent_decode
from .forms import Form, Spool, UploadFile
from .parts import PartHeaders, PartParser

# parameter = token "=" ( token / quoted-string )                           RFC 9110 section 5.6.6
# Browsers write a quote as %22 and a backslash as itself, also as the last character; and many
# clients leave out the quotes where RFC 2045 wants them.
_PARAMETER = re.compile(
    r"[ \t]*+;[ \t]*+([!#$%&'*+\-.^_`|~0-9A-Za-z]++)="
    r'("[^"\\]*+(?:\\.[^"\\]*+)*"|"[^"]*"|[^\s;"]++)(?=[ \t]*+(?:;|\Z))'
)
# Up to 70 characters, the last of which is no space. RFC 2046 section 5.1.1 has fewer, clients send
# any that may stand in a token, or in quotes.
_BOUNDARY = re.compile(r"[0-9A-Za-z!#$%&'()*+,\-./:=?^_`|~]{1,70}")
_QUOTED_BOUNDARY = re.compile(r"[\x20-\x7e]{0,69}[\x21-\x7e]")

_LENGTH = re.compile(r"[0-9]{1,18}")
_AS_IT_IS = frozenset(("binary", "8bit", "7bit"))

_PIECE = 64 * 1024  # bytes, of a longer piece of a body

_ONCE = "a part is read once, and before the next one is asked for"

Keep = Callable[[int], None]

_Events = AsyncIterator[PartHeaders | bytes | None]


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

    def __init__(self, headers: PartHeaders, events: _Events, max_text: int) -> None:
        self.headers = _checked_headers(headers)
        # As latin-1, so that a name in another code page than UTF-8 does not hide the others.
        raw = dict(headers).get("content-disposition", b"").decode("latin-1")
        disposition = _parameters(raw, "form-data")
        if "name" not in disposition:
            _refuse("a part without a name")
        self.name = _decoded(_unescaped(disposition["name"]))
        self.raw_filename = _raw_filename(disposition)
        self.filename = None if self.raw_filename is None else safe_filename(self.raw_filename)
        default = "text/plain" if self.raw_filename is None else "application/octet-stream"
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
        """Return the content of a field, in the charset of its part, else UTF-8.

        Raises: ContentTooLarge past `max_form_text`; BadRequest for other bytes; as `__aiter__`.
        """
        return await self.text_within(self._max_text, of=self._max_text)

    async def text_within(self, limit: int, *, of: int, keep: Keep | None = None) -> str:
        """Return the text as `text()`, of at most `limit` bytes that are left of `of`.

        `keep` is called with the bytes so far.
        """
        codec = _codec(self.content_type)
        content = bytearray()
        try:
            async for piece in self:
                content += piece
                if len(content) > limit:
                    _refuse_text(of)
                if keep is not None:
                    keep(len(content))
        except MicrowebError:
            content.clear()  # which the traceback would keep
            raise
        try:
            return content.decode(codec)
        except UnicodeError as error:
            raise BadRequest(f"expected {codec} in {self.name[:80]!r}") from error

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

    What is kept of its fields and of the parts' headers is at most `max_text` bytes together.
    `keep` is called with the bytes that are in memory.

    Raises: as `read_parts`; nothing is left on the disk then.
    """
    fields, files = [], []
    spool = Spool()
    room = max_text

    def count(text: int = 0) -> None:
        if keep is not None:
            keep(max_text - room + text + spool.in_memory)

    try:
        async for part in read_parts(pieces, content_type, max_parts=max_parts, max_text=max_text):
            room -= sum([len(name) + len(value) for name, value in part.headers.pairs()])
            if room < 0:
                _refuse_text(max_text)
            if part.raw_filename is None:
                text = await part.text_within(room, of=max_text, keep=count)
                room -= len(text.encode())
                if part.name == "_charset_" and codec_of(text) not in (
                    "utf-8",
                    "ascii",
                ):  # RFC 7578 section 4.6
                    _refuse("its fields are not in UTF-8")
                fields.append((part.name, text))
            elif upload := await _spooled(part, part.raw_filename, spool, count):
                files.append((part.name, upload))
        await spool.finish()
    except Exception:
        spool.close()  # a traceback that is kept would keep it
        raise
    return Form(fields, files)


async def _spooled(
    part: Part, raw_filename: str, spool: Spool, count: Callable[[], None]
) -> UploadFile | None:
    """Return the file, None where nothing was chosen: browsers send it empty and without a name."""
    start = spool.size
    async for piece in part:
        await spool.write(piece)
        count()
    size = spool.size - start
    if not size and not raw_filename:
        return None
    return UploadFile(raw_filename, part.headers, spool, start, size)


async def _parse(
    pieces: AsyncIterator[bytes], boundary: bytes, max_parts: int
) -> AsyncIterator[PartHeaders | bytes | None]:
    """Yield the headers of each part, then its bytes, then None. Raises: as `PartParser`."""
    parser = PartParser(boundary, max_parts=max_parts)
    length: int | None = None
    async for whole in pieces:
        # A body that was read before comes whole, and the parser copies what it is given.
        for piece in (whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE)):
            for event in parser.parse(piece):
                if isinstance(event, list):
                    length = _declared_length(event)
                elif length is not None:
                    length -= len(event or b"")
                    if length < 0 or (event is None and length):
                        _refuse("a part of another length than its Content-Length")
                yield event
    parser.close()


def _declared_length(headers: PartHeaders) -> int | None:
    declared = dict(headers).get("content-length")
    if declared is None:
        return None
    if not _LENGTH.fullmatch(declared.decode("latin-1")):
        _refuse("a part whose Content-Length is no number")
    return int(declared)


def _boundary(content_type: str) -> bytes:
    boundary = _parameters(content_type, "multipart/form-data").get("boundary", "")
    allowed = _BOUNDARY
    if boundary.startswith('"'):
        boundary, allowed = re.sub(r"\\(.)", r"\1", boundary[1:-1]), _QUOTED_BOUNDARY
    if not allowed.fullmatch(boundary):
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


def _raw_filename(disposition: dict[str, str]) -> str | None:
    """Return the name of a part that is a file, else None."""
    if "filename" in disposition:
        name = _unescaped(disposition["filename"])
        try:
            return _decoded(name)
        except BadRequest:
            return name  # in the client's code page: nobody says in which
    if "filename*" not in disposition:
        return None
    charset, _, rest = disposition["filename*"].strip('"').partition("'")  # RFC 8187 section 3.2.1
    _, quote, name = rest.partition("'")
    try:
        if not quote or charset.lower() != "utf-8":
            raise ValueError("not in the form of RFC 8187")
        return percent_decode(name)
    except ValueError as error:
        _refuse("a filename* that is not UTF-8''name: send the name as filename", error)


def _unescaped(value: str) -> str:
    """Return a name as it was before a browser, or curl in its way of old, has written it."""
    if value.startswith('"'):
        value = value[1:-1]
        if '\\"' in value:
            # NUL is in no header. `re.sub` takes 1 us for each quote, and 4 KiB may be quotes.
            return value.replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")
    return value.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"')


def _decoded(name: str) -> str:
    """Return a name, of which latin-1 stands for its bytes, decoded. Raises: BadRequest."""
    try:
        return name.encode("latin-1").decode()
    except UnicodeError as error:
        _refuse("a name that is not UTF-8", error)


def _checked_headers(headers: PartHeaders) -> Headers:
    try:
        decoded = [
            (name, value.decode(errors="replace" if name == "content-disposition" else "strict"))
            for name, value in headers
        ]
    except UnicodeError as error:
        _refuse("a header of a part is not UTF-8", error)
    checked = CheckedHeaders(decoded)
    # RFC 7578 section 4.7 has done away with it; what does not change the bytes is harmless.
    coding = checked.get("content-transfer-encoding", "binary")
    if coding.lower() not in _AS_IT_IS:
        _refuse(
            f"a part with Content-Transfer-Encoding {coding[:40]!r}: send its bytes as they are"
        )
    return checked


def _codec(content_type: str) -> str:
    """Return the codec of a field: of its charset if that is known. Raises: BadRequest."""
    if parse_media_type(content_type)[0].startswith("multipart/"):
        _refuse("a multipart body inside a part")
    _, _, parameters = content_type.partition(";")  # strictly, as all in a form
    label = _parameters(f";{parameters}" if parameters else "", "").get("charset", "")
    codec = codec_of(label.strip('"'))
    return "utf-8" if codec in (None, "ascii") else codec


def _refuse(reason: str, cause: Exception | None = None) -> NoReturn:
    raise BadRequest(f"malformed multipart form: {reason}") from cause


def _refuse_text(limit: int) -> NoReturn:
    raise ContentTooLarge(f"the fields of this form are larger than {limit} bytes")
