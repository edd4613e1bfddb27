"""Conditional GET for answers that are made anew each time: 304 where the client has it already.

RFC 9110 section 13 (Conditional Requests) and section 8.8 (Validators). It saves the transfer, not
the work of making the answer.

Order: inside Compression, so that the tag is of what the endpoint made and not of a coding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from ..dates import parse_http_date
from ..endpoints import Handler
from ..errors import PreconditionFailed
from ..headers import MutableHeaders
from ..request import Request
from ..response import Response
from ..streams import StreamResponse
from ..threads import run_in_thread

# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE                                RFC 9110 section 8.8.3
# etagc = %x21 / %x23-7E / obs-text
_ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"')

_KNOWN_WAYS = (Response.send_to, StreamResponse.send_to)
_INLINE_BYTES = 256 * 1024  # 0.2 ms with the processor's own SHA-256, 1 ms without
_TAG_BYTES = 16  # of the digest: two answers share a tag once in 2^64

_CONDITIONS = frozenset(("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"))

# The representation's fields that a 304 leaves out: its client has them. RFC 9110 section 15.4.5
_LEFT_OUT = (
    "content-type",
    "content-length",
    "content-encoding",
    "content-language",
    "content-digest",
    "repr-digest",
    "accept-ranges",
)


class ConditionalGet:
    """Middleware that answers 304 to a GET or HEAD whose client has the answer already.

    The endpoint runs as always. A 200 whose body is whole gets a strong `ETag` made from it, unless
    it has one or says `Cache-Control: no-store`; an `ETag` or `Last-Modified` that the endpoint set
    is used, on streams too. A false If-Match or If-Unmodified-Since is a 412. Conditions of other
    methods are the endpoint's: here, all would be over already.
    """

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        method = request.line.method
        if response.status != 200 or (method != "GET" and method != "HEAD"):
            return response
        if type(response).send_to not in _KNOWN_WAYS:  # a file sees to its conditions itself
            return response
        headers = response.headers
        is_untagged = "etag" not in headers.lines and not isinstance(response, StreamResponse)
        # An empty body may be that of a HEAD route, which stands for another.
        if is_untagged and (body := response.body) and not _is_never_stored(headers):
            headers["ETag"] = await _tag_of(body)
        if _CONDITIONS.isdisjoint(request.headers.by_name):
            return response
        verdict = evaluate(request.headers, headers.get("etag"), headers.get("last-modified"))
        if verdict == 412:
            raise PreconditionFailed("this is not the version that the request is for")
        if verdict == 304:
            _leave_out_content(response)
        return response


def _is_never_stored(headers: MutableHeaders) -> bool:
    return "cache-control" in headers.lines and "no-store" in headers["cache-control"].lower()


async def _tag_of(body: bytes) -> str:
    if len(body) <= _INLINE_BYTES:
        return make_tag(body)
    return await run_in_thread("ConditionalGet", lambda: make_tag(body))


def _leave_out_content(response: Response) -> None:
    headers = response.headers
    response.status = 304
    if not isinstance(response, StreamResponse):  # whose pieces are closed unread
        response.body = b""
    for name in _LEFT_OUT:
        headers.lines.pop(name, None)
    if "etag" in headers:
        headers.lines.pop("last-modified", None)


# --- preconditions --------------------------------------------------------------------


def make_tag(content: bytes) -> str:
    """Return a strong entity-tag of these bytes."""
    return f'"{hashlib.sha256(content).hexdigest()[: 2 * _TAG_BYTES]}"'


def evaluate(
    conditions: Mapping[str, str], tag: str | None, last_modified: str | None
) -> int | None:
    """Return the status that the conditions of a GET or HEAD lead to: 412, 304, None for neither.

    `tag` and `last_modified` are the validators of what is there, as fields have them. In the order
    of precedence. RFC 9110 section 13.2.2
    """
    wanted, had = conditions.get("if-match"), conditions.get("if-none-match")
    if wanted is not None:
        is_wrong = not matches_strongly(wanted, tag)
    else:
        is_wrong = bool(is_modified_since(conditions.get("if-unmodified-since"), last_modified))
    if is_wrong:
        return 412
    if had is not None:
        is_known = matches_weakly(had, tag)
    else:
        is_known = is_modified_since(conditions.get("if-modified-since"), last_modified) is False
    return 304 if is_known else None


def matches_strongly(field: str, tag: str | None) -> bool:
    """Whether If-Match is true of what is there: `*`, or its tag, both strong. Section 13.1.1"""
    if field.strip() == "*":
        return True
    return tag is not None and not tag.startswith("W/") and tag in _ENTITY_TAG.findall(field)


def matches_weakly(field: str, tag: str | None) -> bool:
    """Whether If-None-Match names what is there: `*`, or its tag, weak or not. Section 13.1.2"""
    if field.strip() == "*":
        return True
    if tag is None:
        return False
    opaque = tag.removeprefix("W/")
    return any(each.removeprefix("W/") == opaque for each in _ENTITY_TAG.findall(field))


def is_modified_since(field: str | None, last_modified: str | None) -> bool | None:
    """Whether what is there is newer than the date; None where one of the two is no date.

    Such a condition is ignored. Sections 13.1.3 and 13.1.4
    """
    if field is None or last_modified is None:
        return None
    date, modified = parse_http_date(field), parse_http_date(last_modified)
    return None if date is None or modified is None else modified > date
