"""The rules of RFC 9110, 9112 and 3986 as compiled regexes, the ABNF above each.

Every quantifier over characters is possessive (`++`, `*+`): what it has taken it never gives back,
so that each match is linear in its input, whatever the peer sends. Those over groups are not, since
early releases of 3.11 fail on them (gh-101955, gh-106052); each group begins with a byte that
nothing before it takes, so that giving one back ends at once. Regexes here take bytes as they come
off the wire; those for values that the application sets take `str` and end in `_TEXT`.
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
# The value's trailing OWS is stripped by the caller: a regex that did it would have to give back.
FIELD_LINE = re.compile(rb"(%b++):[ \t]*+(%b*+)" % (TCHAR, FIELD_CHAR))

# request-line = method SP request-target SP HTTP-version                   RFC 9112 section 3
# The target is checked further by its form; here it is visible ASCII without a fragment.
REQUEST_LINE = re.compile(rb"(%b++) ([\x21\x22\x24-\x7e]++) HTTP/([0-9])\.([0-9])" % TCHAR)

# A head to HTTP/1.1 as most are: a Host, and no field but `Connection`, keep-alive or close, that
# says anything of framing. Groups: the line with its CRLF, the section with its empty line, `close`
# before Host, the value of Host, `close` behind it. It takes what has as many fields before Host
# and behind it as half of those that may be.
_FRAMING = rb"[CcTtEeHh](?i:onnection|ontent-length|ransfer-encoding|xpect|ost):"
_CONNECTION = rb"Connection: (?:keep-alive|(close))"
_PLAIN_FIELD = rb"(?:(?!%b)%b++:%b*+|%b)\r\n" % (_FRAMING, TCHAR, FIELD_CHAR, _CONNECTION)


@lru_cache(maxsize=8)
def plain_head(max_fields: int, max_host: int) -> re.Pattern[bytes]:
    """Return the regex for such a head within these limits."""
    line = rb"%b++ [\x21\x22\x24-\x7e]++ HTTP/1\.1\r\n" % TCHAR
    fields = rb"(?:%b){0,%d}" % (_PLAIN_FIELD, max((max_fields - 1) // 2, 0))
    host = rb"[Hh]ost:(%b{0,%d}+)\r\n" % (FIELD_CHAR, max_host)
    return re.compile(rb"(%b)(%b%b%b\r\n)" % (line, fields, host, fields))


# Its three parts as far as they have come: bytes that can no longer become a request line are
# refused at once.
REQUEST_LINE_PARTS = (
    re.compile(rb"%b*+" % TCHAR),
    re.compile(rb"[\x21\x22\x24-\x7e]*+"),
    re.compile(rb"[HTP/0-9.]*+"),
)
BARE_CR_OR_LF = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")

# absolute-form = absolute-URI, of the schemes that an origin server has    RFC 9112 section 3.2.2
ABSOLUTE_FORM = re.compile(r"(?i:https?)://([^/?]*+)([^?]*+)\??+(.*+)")

# uri-host = IP-literal / IPv4address / reg-name                            RFC 3986 section 3.2.2
# reg-name = *( unreserved / pct-encoded / sub-delims ), but for the comma, which joins two fields
# Host = uri-host [ ":" port ]                                              RFC 9110 section 7.2
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]++)\]|[A-Za-z0-9\-._~!$&'()*+;=%]++)(?::[0-9]{0,5}+)?")

# Content-Length = 1*DIGIT                                                  RFC 9110 section 8.6
CONTENT_LENGTH = re.compile(r"[0-9]++")

# chunk-size = 1*HEXDIG                                                     RFC 9112 section 7.1
# chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ) RFC 9112 section 7.1.1
# BWS is for generating "bad" senders only: a hardened recipient takes none.
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]++|\\[\t \x21-\x7e\x80-\xff])*"'
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]++)((?:;%b++(?:=(?:%b++|%b))?)*)" % (TCHAR, TCHAR, _QUOTED))

# pct-encoded = "%" HEXDIG HEXDIG                                           RFC 3986 section 2.1
BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# method = token                                                            RFC 9110 section 9.1
# Those of the IANA registry, but for PRI, which is HTTP/2's preface: for telling a slip, such as
# "get", from a method that is not registered, such as "PURGE". RFC 9110 section 16.1
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


def is_method(name: str) -> bool:
    """Whether a route may name a method so: a token, and no registered method in lower case."""
    return TOKEN_TEXT.fullmatch(name) is not None and (
        name in METHODS or name.upper() not in METHODS
    )
