"""The content of a request's body, by its header section: text in its charset, JSON, a form.

A `Request` reads the bytes, and these say what they mean. Work that would hold the event loop for
more than some milliseconds is done in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ..errors import BadRequest, ContentTooLarge, TooManyFields, UnsupportedMediaType
from ..http.charsets import codec_of, decode_in_pieces
from ..http.headers import Headers, list_members
from ..http.urlencoded import parse_urlencoded
from .json import JSONArray, has_more_values
from .json_readers import show

if TYPE_CHECKING:
    from .forms import Form

T = TypeVar("T")

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_MAX_DECODED_ON_LOOP = 1 << 20  # bytes of text: 8 ms in the slowest charset
_MAX_VALUES_ON_LOOP = 5000  # 10 ms for dataclasses of a few fields


# --- the header section


def check_coding(headers: Headers) -> None:
    """Check that a body is not coded. Raises: UnsupportedMediaType. RFC 9110 section 8.4"""
    coding = headers.get("content-encoding", "").lower()
    if coding and not {"identity"}.issuperset(list_members(coding)):
        raise UnsupportedMediaType(
            f"expected a body without Content-Encoding, got {coding[:40]!r}",
            headers={"Accept-Encoding": "identity"},
        )


def media_type_of(headers: Headers) -> str:
    """Return the media type in lower case, without parameters; empty if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def charset_of(headers: Headers) -> str:
    """Return the label of the charset in lower case; `utf-8` if there is none."""
    for parameter in headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


def refuse_media_type(*expected: str) -> NoReturn:
    """Raise UnsupportedMediaType, which names the media types that are taken."""
    wanted = ", ".join(expected)
    raise UnsupportedMediaType(f"expected {wanted}", headers={"Accept": wanted})


# --- text


async def decode_text(body: bytes, charset: str, name: str) -> str:
    """Return `body` decoded; `name` is the request's, for a thread that is stuck.

    Raises: UnsupportedMediaType for an unknown charset; BadRequest for wrong bytes.
    """
    codec = codec_of(charset)
    if codec is None:
        raise UnsupportedMediaType(f"unknown charset {charset[:40]!r}")
    try:
        if len(body) <= _MAX_DECODED_ON_LOOP:
            return body.decode(codec)
        from ..concurrency.threads import run_short_work

        return await run_short_work(name, partial(decode_in_pieces, body, codec))
    except UnicodeError as error:
        raise BadRequest(f"the body is not {charset[:40]}") from error


# --- JSON


def check_json_fields(headers: Headers) -> None:
    """Check that a body is not coded, and not labelled as UTF-16 or UTF-32, which JSON can't be.

    It is UTF-8 whatever else its label says. RFC 8259 section 8.1

    Raises: UnsupportedMediaType, BadRequest.
    """
    if "content-encoding" in headers.by_name:
        check_coding(headers)
    if ";" not in headers.by_name.get("content-type", ""):
        return
    charset = charset_of(headers)
    if (codec_of(charset) or "").startswith(("utf-16", "utf-32")):
        raise BadRequest(f"expected JSON in UTF-8, got charset {charset[:40]!r}")


def json_container(value: object) -> object:
    """Return a JSON object, or an array. Raises: BadRequest for another value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return JSONArray(value)
    raise BadRequest(f"expected a JSON object or array, got {show(value)}")


async def convert_json(body: bytes, value: object, convert: Callable[[object], T], name: str) -> T:
    """Return the value of `body`, converted: in a thread if there are many in it.

    Raises: as `convert`.
    """
    if not has_more_values(body, _MAX_VALUES_ON_LOOP):
        return convert(value)
    from ..concurrency.threads import run_short_work

    return await run_short_work(name, partial(convert, value))


# --- forms


def parse_form(body: bytes, max_fields: int) -> Form:
    """Return a url-encoded form, which is UTF-8 whatever its label says.

    Raises: ContentTooLarge for more than `max_fields`.
    """
    from .forms import Form

    try:
        return Form(parse_urlencoded(body.decode("utf-8", "replace"), max_fields=max_fields))
    except TooManyFields as error:
        raise ContentTooLarge(error.detail) from error
