"""The rules of RFC 9110, 9112 and 3986 as compiled regexes, each below its ABNF.

Every quantifier over characters is possessive (`++`, `*+`): it never gives back a character, so
each match takes linear time, whatever the peer sends. Quantifiers over groups are not possessive,
because early releases of 3.11 fail on them (gh-101955, gh-106052). Each group begins with a byte
that the element before it can't match, so backtracking into it fails immediately. A name that ends
in `_TEXT` is the `str` form of a rule for bytes.
"""

from __future__ import annotations

import re
from functools import lru_cache

# tchar = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~"
#       / DIGIT / ALPHA                                                     RFC 9110 section 5.6.2
TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

# token = 1*tchar                                                           RFC 9110 section 5.6.2
TOKEN = re.compile(rb"%b++" % TCHAR)
TOKEN_TEXT = re.compile(TOKEN.pattern.decode())

# field-vchar = VCHAR / obs-text; field-content adds SP and HTAB inside     RFC 9110 section 5.5
FIELD_CHAR = rb"[\t\x20-\x7e\x80-\xff]"
FIELD_VALUE_TEXT = re.compile(r"[\t\x20-\x7e\x80-\xff]*+")

# field-line = field-name ":" OWS field-value OWS                           RFC 9112 section 5
# The caller strips the value's trailing OWS: a regex that did it would have to backtrack.
FIELD_LINE = re.compile(rb"(%b++):[ \t]*+(%b*+)" % (TCHAR, FIELD_CHAR))

# request-line = method SP request-target SP HTTP-version                   RFC 9112 section 3
# Here a target is visible ASCII without a fragment. `parse_request_line` checks its form.
REQUEST_LINE = re.compile(rb"(%b++) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])" % TCHAR)

# The usual head of an HTTP/1.1 request: one Host field, and no other field about framing except
# `Connection: keep-alive` or `close`. Groups: the request line with its CRLF, the section with its
# empty line, `close` before Host, the value of Host, `close` after Host. Each part of it may
# have as many fields as are permitted in all, so the caller counts them, if the section is long.
_FRAMING = rb"[CcTtEeHh](?i:onnection|ontent-length|ransfer-encoding|xpect|ost):"
_CONNECTION = rb"Connection: (?:keep-alive|(close))"
_OTHER_FIELD = rb"(?!%b)%b++:%b*+" % (_FRAMING, TCHAR, FIELD_CHAR)
_PLAIN_FIELD = rb"(?:%b|%b)\r\n" % (_OTHER_FIELD, _CONNECTION)
_PLAIN_LINE = rb"%b++ [\x21\x22\x24-\x7e]++ HTTP/1\.1\r\n" % TCHAR

# The same with content: a length once or twice, and no `close`.
_KEPT_FIELD = rb"(?:%b|Connection: keep-alive)\r\n" % _OTHER_FIELD
_LENGTH = rb"[Cc]ontent-[Ll]ength: ([0-9]{1,18}+)\r\n"


@lru_cache(maxsize=8)
def plain_head(max_fields: int, max_host: int) -> re.Pattern[bytes]:
    """Return the regex for a usual head within limits of fields and of bytes in Host."""
    return _head(rb"(?:%b){0,%d}" % (_PLAIN_FIELD, max(max_fields - 1, 0)), max_host)


@lru_cache(maxsize=8)
def length_head(max_fields: int, max_host: int) -> re.Pattern[bytes]:
    """Return the regex for a usual head with a length on one side of Host, or on both.

    Its groups are those of `plain_head`, with a length in place of `close`.
    """
    some = rb"(?:%b){0,%d}" % (_KEPT_FIELD, max(max_fields - 1, 0))
    return _head(rb"%b(?:%b%b)?" % (some, _LENGTH, some), max_host)


def _head(fields: bytes, max_host: int) -> re.Pattern[bytes]:
    host = rb"[Hh]ost:(%b{0,%d}+)\r\n" % (FIELD_CHAR, max_host)
    return re.compile(rb"(%b)(%b%b%b\r\n)" % (_PLAIN_LINE, fields, host, fields))


# The three parts of a request line, each perhaps unfinished: bytes that can no longer become a
# request line are refused immediately.
REQUEST_LINE_PARTS = (
    re.compile(rb"%b*+" % TCHAR),
    re.compile(rb"[\x21\x22\x24-\x7e]*+"),
    re.compile(rb"[HTP/0-9.]*+"),
)
BARE_CR_OR_LF = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")

# absolute-form = absolute-URI, with a scheme of origin servers             RFC 9112 section 3.2.2
ABSOLUTE_FORM = re.compile(r"(?i:https?)://([^/?]*+)([^?]*+)\??+(.*+)")

# uri-host = IP-literal / IPv4address / reg-name                            RFC 3986 section 3.2.2
# reg-name = *( unreserved / pct-encoded / sub-delims ), without the comma, which joins two fields
# Host = uri-host [ ":" port ]                                              RFC 9110 section 7.2
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]++)\]|[A-Za-z0-9\-._~!$&'()*+;=%]++)(?::[0-9]{0,5}+)?")

# Content-Length = 1*DIGIT                                                  RFC 9110 section 8.6
CONTENT_LENGTH = re.compile(r"[0-9]++")

# chunk-size = 1*HEXDIG                                                     RFC 9112 section 7.1
# chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ) RFC 9112 section 7.1.1
# BWS is only for old senders that generate it: this strict recipient accepts none.
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]++|\\[\t \x21-\x7e\x80-\xff])*"'
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]++)((?:;%b++(?:=(?:%b++|%b))?)*)" % (TCHAR, TCHAR, _QUOTED))

# pct-encoded = "%" HEXDIG HEXDIG                                           RFC 3986 section 2.1
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# method = token                                                            RFC 9110 section 9.1
# The methods of the IANA registry, except PRI, which is HTTP/2's preface. They distinguish a
# mistake, such as "get", from an unregistered method, such as "PURGE". RFC 9110 section 16.1
METHODS = frozenset(
    [
        "ACL",
        "BASELINE-CONTROL",
        "BIND",
        "CHECKIN",
        "CHECKOUT",
        "CONNECT",
        "COPY",
        "DELETE",
        "GET",
        "HEAD",
        "LABEL",
        "LINK",
        "LOCK",
        "MERGE",
        "MKACTIVITY",
        "MKCALENDAR",
        "MKCOL",
        "MKREDIRECTREF",
        "MKWORKSPACE",
        "MOVE",
        "OPTIONS",
        "ORDERPATCH",
        "PATCH",
        "POST",
        "PROPFIND",
        "PROPPATCH",
        "PUT",
        "QUERY",
        "REBIND",
        "REPORT",
        "SEARCH",
        "TRACE",
        "UNBIND",
        "UNCHECKOUT",
        "UNLINK",
        "UNLOCK",
        "UPDATE",
        "UPDATEREDIRECTREF",
        "VERSION-CONTROL",
    ]
)


def without_escapes(text: str) -> str:
    """Return the text of a quoted string without the backslashes of its quoted pairs.

    Only for text without NUL, as all field values are. `re.sub` takes 1 us for each pair, and
    32 KiB may be pairs. RFC 9110 section 5.6.4
    """
    if "\\" not in text:
        return text
    return text.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")


def is_method(name: str) -> bool:
    """Return whether `name` is a token, and not a registered method in the wrong case."""
    return TOKEN_TEXT.fullmatch(name) is not None and (
        name in METHODS or name.upper() not in METHODS
    )
