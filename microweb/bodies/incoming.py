"""The body of a request: its bytes, and their content as text, JSON, or a form.

`IncomingBody` reads the bytes from the connection, in pieces or whole, once. The functions below it
decode them by the fields of the header section. Work that would hold the event loop for more than
some milliseconds is done in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ..errors import (
    BadRequest,
    BodyConsumed,
    ContentTooLarge,
    HTTPError,
    MicrowebError,
    ProtocolError,
    TooManyFields,
    UnsupportedMediaType,
)
from ..http.charsets import codec_of, decode_in_pieces
from ..http.headers import MAX_MEMBERS, Headers, list_members
from ..http.interfaces import BodyLimits, BodySource, ServerLimits
from ..http.mediatypes import parse_media_type
from ..http.request_head import HeaderSection
from ..http.urlencoded import parse_urlencoded
from .json import has_more_values, parse_json
from .json_containers import JSONArray
from .mismatches import show

if TYPE_CHECKING:
    from .forms import Form
    from .multipart import Part

T = TypeVar("T")

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_SENT_BY_ANY_PAGE = ("", "text/plain", URLENCODED, MULTIPART)

_MAX_DECODED_ON_LOOP = 1 << 20  # bytes of text: 8 ms in the slowest charset
_MAX_VALUES_ON_LOOP = 5000  # 10 ms for dataclasses of a few fields


class IncomingBody:
    """Reads the body of one request.

    In each method, `limit` is the maximum size in bytes; None means the server's limit. A body that
    was read whole is kept, and so is a form, so that a second call returns the same. `limits` are
    the server's limits for forms. Without a `source` the body is empty.
    """

    __slots__ = (
        "_buffer",
        "_form",
        "_form_error",
        "_is_streamed",
        "_limits",
        "_section",
        "_source",
        "_whole",
    )

    def __init__(
        self, section: HeaderSection, source: BodySource | None, limits: ServerLimits
    ) -> None:
        self._section = section
        self._source = source
        self._limits = limits
        self._whole: bytes | None = None
        self._buffer: BytesIO | None = None  # the bytes so far, until the body is whole
        self._is_streamed = False
        self._form: Form | None = None
        self._form_error: HTTPError | ProtocolError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the whole body was read and is kept."""
        return self._whole is not None

    @property
    def so_far(self) -> bytes | None:
        """The bytes that were read and kept; None if `read` was not called."""
        return self._whole if self._buffer is None else self._buffer.getvalue()

    def take(self, limit: int | None) -> bytes | None:
        """Return the whole body if all its bytes have arrived, else None.

        Raises: ContentTooLarge, BodyConsumed.
        """
        if self._whole is None:
            if self._source is None:
                self._whole = b""
            elif self._is_streamed:
                raise _consumed()
            elif self._buffer is None:
                self._whole = self._source.take_whole(limit)
        return self._whole

    async def read(self, limit: int | None) -> bytes:
        """Return the whole body, the same at each call. Raises: as `Request.body()`."""
        body = self.take(limit)
        if body is None:
            assert self._source is not None
            if self._buffer is None:
                # Kept here, so that no byte is lost if the caller is cancelled before the end.
                self._buffer = BytesIO()
            buffer = self._buffer
            try:
                while piece := await self._source.read(limit):
                    buffer.write(piece)
                    self._source.keep(buffer.tell())
            except MicrowebError:
                # The error's traceback and the request refer to each other and to these bytes.
                self._buffer = None
                buffer.close()
                raise
            body = self._whole = buffer.getvalue()  # does not copy
            self._buffer = None
        return body

    async def stream(self, limit: int | None) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they arrive, and keep none. After `read()`, yield its result.

        Raises: as `read()`; BodyConsumed if the body was streamed before.
        """
        if self._whole is not None or self._buffer is not None:
            if body := await self.read(limit):
                yield body
            return
        if self._is_streamed:
            raise _consumed()
        self._is_streamed = True
        if self._source is not None:
            while piece := await self._source.read(limit):
                yield piece

    async def text(self, limit: int | None, name: str) -> str:
        """Return the decoded body. `name` is the request's. Raises: as `Request.text()`."""
        headers = self._section.headers
        check_coding(headers)
        return await decode_text(await self.read(limit), charset_of(headers), name)

    async def json(
        self,
        own: BodyLimits | None,
        empty: object = None,
        *,
        plain: bool = False,
        is_checked: bool = False,
    ) -> object:
        """Return the JSON value of the body, or `empty` if that is set and the body is empty.

        `own` are the limits of the route. `plain` is as for `parse_json`. `is_checked`: the fields
        need no check. Raises: as `Request.json()`.
        """
        if not is_checked and not names_no_coding(self._section):
            check_json_fields(self._section.headers)
        limits = self._limits
        limit, max_json, max_values = None, limits.max_json, limits.max_json_values
        if own is not None:  # three attributes cost a sixth of three properties of the request
            limit = own.max_body
            max_json = max_json if own.max_json is None else own.max_json
            max_values = max_values if own.max_json_values is None else own.max_json_values
        is_short = self._section.content_length <= max_json
        body = self.take(limit) if is_short else b""
        if body is None:
            body = await self.read(limit)
        if not is_short or len(body) > max_json:
            raise ContentTooLarge(f"expected at most {max_json} bytes of JSON (max_json), got more")
        if not body and empty is not None:
            return empty
        return parse_json(body, max_values=max_values, plain=plain)

    @property
    def has_few_values(self) -> bool:
        """Whether the body, which was read whole, is JSON to convert on the event loop."""
        return not has_more_values(self._whole or b"", _MAX_VALUES_ON_LOOP)

    async def convert(
        self, value: object, convert: Callable[[object], T], name: Callable[[], str]
    ) -> T:
        """Return `convert(value)`, in a thread if the body has many values. Raises: as `convert`.

        `value` is the body's JSON value; `name` returns the request's name, which takes 0.5 us.
        """
        if self.has_few_values:
            return convert(value)
        return await convert_json(self._whole or b"", value, convert, name())

    async def form(self, limit: int | None) -> Form:
        """Return the form, with its fields and files. Raises: as `Request.form()`."""
        if self._form is None:
            media_type = self._form_type(URLENCODED, MULTIPART)
            if media_type == MULTIPART:
                self._form = await self._multipart_form(limit)
            else:
                self._form = await self._urlencoded_form(limit)
        return self._form

    def close_form(self) -> None:
        """Close the files of the form, if it was read, because the endpoint has failed.

        The traceback and the request refer to each other and the form, until the garbage collector
        runs. The disk space is freed now.
        """
        if self._form is not None:
            self._form.files.close()

    async def parts(self, limit: int | None) -> AsyncIterator[Part]:
        """Yield the parts of a multipart form as they arrive. Raises: as `Request.parts()`."""
        self._form_type(MULTIPART)
        from .multipart import read_parts

        async for part in read_parts(
            self.stream(limit),
            self._section.headers["content-type"],
            max_parts=self._limits.max_form_fields,
            max_text=self._limits.max_form_text,
        ):
            yield part

    def _form_type(self, *expected: str) -> str:
        """Return the media type, one of `expected`. Raises: UnsupportedMediaType."""
        check_coding(self._section.headers)
        media_type, _ = parse_media_type(self._section.headers.get("content-type", ""))
        if media_type not in expected:
            refuse_media_type(*expected)
        return media_type

    async def _multipart_form(self, limit: int | None) -> Form:
        from .multipart import read_form

        if self._form_error is not None:
            # The body can't be read again, so a second call raises the same error.
            raise self._form_error
        try:
            return await read_form(
                self.stream(limit),
                self._section.headers["content-type"],
                max_parts=self._limits.max_form_fields,
                max_text=self._limits.max_form_text,
                keep=self._source.keep if self._source is not None else None,
            )
        except (HTTPError, ProtocolError) as error:
            self._form_error = error
            raise

    async def _urlencoded_form(self, limit: int | None) -> Form:
        most = self._limits.max_form_text
        # A declared length is checked before the body is read.
        if self._section.content_length > most or len(await self.read(limit)) > most:
            raise ContentTooLarge(
                f"expected at most {most} bytes of form fields (max_form_text), got more"
            )
        return parse_form(await self.read(limit), self._limits.max_form_fields)


def _consumed() -> BodyConsumed:
    return BodyConsumed("the body was already streamed: to read it twice, call body() first")


# --- the header section


def check_coding(headers: Headers) -> None:
    """Raise UnsupportedMediaType if the body has a content coding. RFC 9110 section 8.4"""
    coding = headers.get("content-encoding", "").lower()
    is_long = coding.count(",") >= MAX_MEMBERS
    if coding and (is_long or not {"identity"}.issuperset(list_members(coding))):
        raise UnsupportedMediaType(
            f"expected a body without Content-Encoding, got {coding[:40]!r}",
            headers={"Accept-Encoding": "identity"},
        )


def charset_of(headers: Headers) -> str:
    """Return the charset parameter of Content-Type in lower case, by default `utf-8`."""
    _, parameters = parse_media_type(headers.get("content-type", ""))
    return parameters.get("charset", "utf-8").lower()


def refuse_media_type(*expected: str) -> NoReturn:
    """Raise UnsupportedMediaType, which names the `expected` media types."""
    wanted = ", ".join(expected)
    raise UnsupportedMediaType(f"expected {wanted}", headers={"Accept": wanted})


# --- text


async def decode_text(body: bytes, charset: str, name: str) -> str:
    """Return the decoded `body`. `name` is the request's, for reports of stuck threads.

    Raises: UnsupportedMediaType for an unknown charset; BadRequest for bytes that the charset does
    not allow.
    """
    codec = codec_of(charset)
    if codec is None:
        raise UnsupportedMediaType(f"expected a known charset, got {charset[:40]!r}")
    try:
        if len(body) <= _MAX_DECODED_ON_LOOP:
            return body.decode(codec)
        from ..concurrency.threads import run_short_work

        return await run_short_work(name, partial(decode_in_pieces, body, codec))
    except UnicodeError as error:
        raise BadRequest(f"expected a body in {charset[:40]!r}, got other bytes") from error


# --- JSON


def names_no_coding(section: HeaderSection) -> bool:
    """Return whether `check_json_fields` surely accepts the fields, which then stay unparsed.

    To parse them takes 5 us, this 0.4.
    """
    if section.parsed is not None:
        return False
    lines = section.received.lower()
    return b"content-encoding" not in lines and b"charset" not in lines


def needs_no_check(section: HeaderSection) -> bool:
    """Return whether `check_json_fields` and `check_sender` surely accept the fields."""
    if not names_no_coding(section):
        return False
    lines = section.received.lower()
    return b"origin" not in lines and b"sec-fetch" not in lines


def check_json_fields(headers: Headers) -> None:
    """Check the header fields of a JSON body, which must be UTF-8. RFC 8259 section 8.1

    A charset other than UTF-16 and UTF-32 is ignored.

    Raises: UnsupportedMediaType for a content coding; BadRequest for UTF-16 and UTF-32.
    """
    if "content-encoding" in headers.by_name:
        check_coding(headers)
    if ";" not in headers.by_name.get("content-type", ""):
        return
    charset = charset_of(headers)
    if (codec_of(charset) or "").startswith(("utf-16", "utf-32")):
        raise BadRequest(f"expected JSON in UTF-8, got charset {charset[:40]!r}")


def check_sender(headers: Headers) -> None:
    """Refuse JSON that a page of another site can send without asking.

    A browser lets any page send these media types, with the user's cookies, so a body that claims
    one of them is no request of the application's own pages. WHATWG Fetch section 2.2.2

    Raises: UnsupportedMediaType.
    """
    fields = headers.by_name
    if "sec-fetch-site" not in fields and "origin" not in fields:
        return
    if parse_media_type(fields.get("content-type", ""))[0] in _SENT_BY_ANY_PAGE:
        raise UnsupportedMediaType(
            "expected application/json as the Content-Type of JSON from a browser",
            headers={"Accept": "application/json"},
        )


def json_container(value: object) -> object:
    """Return `value` if it is a JSON object, or an array as JSONArray. Raises: BadRequest."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return JSONArray(value)
    raise BadRequest(f"expected a JSON object or array, got {show(value)}")


async def convert_json(body: bytes, value: object, convert: Callable[[object], T], name: str) -> T:
    """Return `convert(value)`, in a thread if `body` has many values. Raises: as `convert`."""
    if not has_more_values(body, _MAX_VALUES_ON_LOOP):
        return convert(value)
    from ..concurrency.threads import run_short_work

    return await run_short_work(name, partial(convert, value))


# --- forms


def parse_form(body: bytes, max_fields: int) -> Form:
    """Return a url-encoded form. It is read as UTF-8; a charset in Content-Type is ignored.

    Raises: ContentTooLarge for more than `max_fields`.
    """
    from .forms import Form

    try:
        return Form(parse_urlencoded(body.decode("utf-8", "replace"), max_fields=max_fields))
    except TooManyFields as error:
        raise ContentTooLarge(error.detail) from error
