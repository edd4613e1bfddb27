"""Trailers: the fields that follow the last chunk of a response. RFC 9110 section 6.5.

They carry values that are known only at the end of a stream, such as a digest or a duration. Only
chunks have a place for them (RFC 9112 section 7.1.2). The receiver may drop them, so fields that a
client needs before it reads the content are refused here.
"""

from __future__ import annotations

from typing import NoReturn

from ..errors import LocalProtocolError
from .framing import LAST_CHUNK
from .headers import MutableHeaders, check_name, list_members, refuse_touch

# Fields for framing, routing, authentication, caching or the content itself, and fields of
# requests. RFC 9110 section 6.5.1
FORBIDDEN = frozenset(
    """
    age authorization cache-control connection content-encoding content-length content-location
    content-range content-type cookie date expect expires host if-match if-modified-since
    if-none-match if-range if-unmodified-since keep-alive location max-forwards pragma
    proxy-authenticate proxy-authorization proxy-connection range retry-after set-cookie te trailer
    transfer-encoding upgrade vary www-authenticate
    """.split()
)


class Trailers(MutableHeaders):
    """The trailer fields of one response, checked when they are set.

    Raises: LocalProtocolError for a field that must not be a trailer, for a name or value that HTTP
    can't carry, and for a change after the last chunk.
    """

    __slots__ = ()

    def _check(self, name: str, value: str) -> str:
        key = super()._check(name, value)
        _check_allowed(key)
        return key

    def set_missing(self, fields: MutableHeaders) -> None:
        """Add each of `fields` that is not set yet."""
        if self.is_frozen:
            refuse_touch()
        for key in fields.lines:
            _check_allowed(key)
        super().set_missing(fields)

    def last_chunk(self) -> bytes:
        """Return the last chunk with these fields behind it, and refuse changes from now on."""
        self.is_frozen = True
        if not self.lines:
            return LAST_CHUNK
        return b"0\r\n%b\r\n" % "".join(self.lines.values()).encode("latin-1")


def announce(headers: MutableHeaders, trailers: Trailers | None, *, is_chunked: bool) -> None:
    """Make the field Trailer of `headers` name the trailers that may follow.

    These are the names that it holds already, and those that are set in `trailers`. A response
    that is not sent in chunks loses the field. Raises: LocalProtocolError for a name that must not
    be a trailer, and if `headers` has a Content-Length. RFC 9110 section 6.6.2
    """
    names = {name.lower(): name for name in list_members(headers.pop("trailer", ""))}
    names.update({} if trailers is None else {name.lower(): name for name, _ in trailers.pairs()})
    if not names:
        return
    for key in names:
        _check_allowed(key)
    if "content-length" in headers.lines:
        refuse_length()
    if is_chunked:
        headers["Trailer"] = ", ".join(names.values())


def refuse_length() -> NoReturn:
    """Raise LocalProtocolError for trailers on a response with a Content-Length."""
    raise LocalProtocolError(
        "expected no Content-Length on a response with trailers, because they follow the last "
        "chunk: remove the field"
    )


def _check_allowed(key: str) -> None:
    """Raise LocalProtocolError if the field `key`, in lower case, must not be a trailer."""
    try:
        check_name(key)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error
    if key in FORBIDDEN:
        raise LocalProtocolError(
            f"expected a field that may be a trailer, got {key!r}: a client needs it before the "
            "content, so set it in response.headers"
        )
