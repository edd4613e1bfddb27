"""Cookies: Set-Cookie is checked strictly, Cookie is parsed leniently. RFC 6265 and its successor.

The Cookie field is split on `;` before anything else, so that quotes can't hide one cookie inside
another. A Set-Cookie that browsers would drop silently is refused when it is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Literal

from .dates import format_http_date
from .grammar import TOKEN_TEXT

SameSite = Literal["lax", "strict", "none"]

_OWS = " \t"
_MAX_COOKIES = 1000  # of a request; browsers keep at most 180 for a domain
_SHOWN_CHARACTERS = 80
MAX_NAME_AND_VALUE = 4096  # bytes; browsers ignore a larger one (RFC 6265bis)
_MAX_ATTRIBUTE = 1024  # bytes; browsers ignore a longer path or domain, and use their default

# cookie-octet = %x21 / %x23-2B / %x2D-3A / %x3C-5B / %x5D-7E               RFC 6265 section 4.1.1
_NOT_COOKIE_OCTET = re.compile(r"[^\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]")

# av-octet = any CHAR except CTLs or ";"                                    RFC 6265 section 4.1.1
# Browsers ignore a path that does not begin with "/", and an empty domain.
_AV_OCTET = r"[\x20-\x3a\x3c-\x7e]"
_PATH = re.compile(rf"/{_AV_OCTET}*+")
_DOMAIN = re.compile(rf"{_AV_OCTET}++")


def parse_cookies(header: str) -> dict[str, str]:
    """Return the cookies of a Cookie field value; if a name is repeated, its first value.

    Only the first 1,000 are read. No field is invalid: a pair without `=` or without a name is
    skipped. Double quotes around a value are removed; otherwise it is kept as it was sent.
    """
    cookies: dict[str, str] = {}
    for name, value in _pairs(header):
        cookies.setdefault(name, value)
    return cookies


def cookie_values(header: str, name: str, most: int) -> list[str]:
    """Return the first `most` values of cookies with this name in a Cookie field value."""
    found = islice(_values_of(name).finditer(header), most)
    return [_unquote(match[1].strip(_OWS)) for match in found]


@lru_cache(maxsize=64)
def _values_of(name: str) -> re.Pattern[str]:
    """Return a pattern that finds what `_pairs` finds for one name, in two thirds of the time."""
    return re.compile(rf"(?:^|;)[ \t]*+{re.escape(name)}[ \t]*+=([^;]*+)")


def _pairs(header: str) -> Iterator[tuple[str, str]]:
    for pair in header.split(";", _MAX_COOKIES)[:_MAX_COOKIES]:
        name, equals, value = pair.partition("=")
        # Only OWS: with U+00A0 stripped as well, "\xa0__Host-a" would pass for "__Host-a".
        name = name.strip(_OWS)
        if equals and name:
            yield name, _unquote(value.strip(_OWS))


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


class SetCookie:
    """A cookie to set, checked when it is made.

    `max_age` is in seconds, `expires` an aware datetime or seconds since the epoch. With
    `secure=None`, `encode` decides. A `__Host-` or `__Secure-` name, `samesite="none"` and
    `partitioned` make the cookie secure.

    Raises: ValueError for a value that a browser would refuse or read differently.
    """

    __slots__ = (
        "domain",
        "expires",
        "httponly",
        "max_age",
        "name",
        "partitioned",
        "path",
        "samesite",
        "secure",
        "value",
    )

    def __init__(
        self,
        name: str,
        value: str = "",
        max_age: int | None = None,
        expires: datetime | float | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool | None = None,
        httponly: bool = True,
        samesite: SameSite | None = "lax",
        partitioned: bool = False,
    ) -> None:
        _check_name_and_scope(name, path, domain, samesite)
        self.name = name
        self.value = value
        self.max_age = max_age
        self.expires = expires
        self.path = path
        self.domain = domain
        self.secure = secure
        self.httponly = httponly
        self.samesite = samesite
        self.partitioned = partitioned
        self._check_value()
        self._check_lifetime()
        if secure is False and (reason := self._reason_for_secure()):
            raise ValueError(f"expected secure=True or None for {reason}, got False")

    def encode(self, *, secure_by_default: bool) -> str:
        """Return the Set-Cookie field value; `secure_by_default` decides if `secure` is None."""
        secure = secure_by_default if self.secure is None else self.secure
        if not secure and self._reason_for_secure():
            secure = True
        expires = "" if self.expires is None else f"; Expires={_format_expires(self.expires)}"
        attributes = _format_attributes(
            self.max_age,
            self.domain,
            self.path,
            secure,
            self.httponly,
            self.samesite,
            self.partitioned,
        )
        return f"{self.name}={self.value}{expires}{attributes}"

    def is_same_as(self, other: SetCookie) -> bool:
        """Return whether a browser would keep only one of the two. RFC 6265 section 5.3, step 11.

        It keeps both if one is partitioned and the other is not.
        """
        return self._identity() == other._identity()

    def _identity(self) -> tuple[str, str | None, str, bool]:
        domain = (self.domain or "").lower().removeprefix(".")
        return self.name, self.path, domain, self.partitioned

    def _check_value(self) -> None:
        name = self.name[:_SHOWN_CHARACTERS]
        # The value may be a secret: the message shows only the invalid character.
        if bad := _NOT_COOKIE_OCTET.search(self.value):
            raise ValueError(
                "expected visible ASCII without quotes, commas, semicolons and backslashes as the "
                f"value of cookie {name!r}, got {bad[0]!r} at index {bad.start()}: encode it with "
                "urllib.parse.quote"
            )
        size = len(self.name) + len(self.value)
        if size > MAX_NAME_AND_VALUE:
            most = f"at most {MAX_NAME_AND_VALUE} bytes"
            raise ValueError(
                f"expected {most} in the name and value of cookie {name!r}, got {size}: browsers "
                "ignore a larger one"
            )

    def _check_lifetime(self) -> None:
        if self.max_age is not None and type(self.max_age) is not int:  # True is an int as well
            raise ValueError(f"expected max_age as an int of seconds, got {self.max_age!r}")
        if self.expires is not None:
            _format_expires(self.expires)

    def _reason_for_secure(self) -> str | None:
        if self.name.startswith("__") and self.name.lower().startswith(("__host-", "__secure-")):
            return "a name with __Host- or __Secure-"
        if self.samesite == "none":
            return "samesite='none'"
        return "partitioned=True" if self.partitioned else None


# An application sets few cookies, with other values each time. With these two caches a cookie is
# checked in 5.0 us in place of 7.2, and written in 2.5 in place of 4.1.
@lru_cache(maxsize=64)
def _check_name_and_scope(
    name: str, path: str | None, domain: str | None, samesite: str | None
) -> None:
    if not TOKEN_TEXT.fullmatch(name):
        raise ValueError(f"expected a token as the cookie's name, got {name[:_SHOWN_CHARACTERS]!r}")
    if path is not None and not _PATH.fullmatch(path):
        got = path[:_SHOWN_CHARACTERS]
        raise ValueError(
            f"expected path to begin with '/' and be printable ASCII without ';', got {got!r}"
        )
    if domain is not None and not _DOMAIN.fullmatch(domain):
        got = domain[:_SHOWN_CHARACTERS]
        raise ValueError(f"expected domain to be printable ASCII without ';', got {got!r}")
    for attribute, value in (("path", path), ("domain", domain)):
        if value is not None and len(value) > _MAX_ATTRIBUTE:
            raise ValueError(
                f"expected {attribute} of at most {_MAX_ATTRIBUTE} bytes, got {len(value)}"
            )
    if name.lower().startswith("__host-") and (path != "/" or domain is not None):
        got = f"path={path!r}, domain={domain!r}"
        raise ValueError(f"expected path='/' and domain=None for a name with __Host-, got {got}")
    if samesite not in (None, "lax", "strict", "none"):
        raise ValueError(f"expected samesite as 'lax', 'strict', 'none' or None, got {samesite!r}")


@lru_cache(maxsize=64)
def _format_attributes(
    max_age: int | None,
    domain: str | None,
    path: str | None,
    secure: bool,
    httponly: bool,
    samesite: str | None,
    partitioned: bool,
) -> str:
    """Return the attributes of a cookie but for Expires, each after `; `."""
    parts = [""]
    if max_age is not None:
        parts.append(f"Max-Age={max_age}")
    if domain is not None:
        parts.append(f"Domain={domain}")
    if path is not None:
        parts.append(f"Path={path}")
    if secure:
        parts.append("Secure")
    if httponly:
        parts.append("HttpOnly")
    if samesite is not None:
        parts.append(f"SameSite={samesite.capitalize()}")
    if partitioned:
        parts.append("Partitioned")
    return "; ".join(parts)


def with_cookie(cookies: Iterable[SetCookie] | None, cookie: SetCookie) -> list[SetCookie]:
    """Return `cookies` and `cookie`, without those that a browser would replace by it."""
    others = [each for each in cookies or () if not each.is_same_as(cookie)]
    return [*others, cookie]


def set_cookie_lines(cookies: Iterable[SetCookie], scheme: str) -> str:
    """Return a Set-Cookie field line for each cookie, for a request of this scheme."""
    fields = [each.encode(secure_by_default=scheme == "https") for each in cookies]
    return "".join([f"Set-Cookie: {field}\r\n" for field in fields])


def _format_expires(expires: datetime | float) -> str:
    if isinstance(expires, datetime):
        if expires.utcoffset() is None:
            raise ValueError(f"expected expires as an aware datetime, got {expires!r}")
        expires = expires.timestamp()
    return format_http_date(expires)
