"""Validators and preconditions: is the client's copy still current? RFC 9110 sections 8.8, 13.

`validators_of` reads the validators of a response from its header fields. `evaluate` compares a
request's preconditions with them, in the order of section 13.2.2. Both work for files and for
dynamic responses.

An entity tag is kept as it is written, with its quotes: `"abc"` is strong, `W/"abc"` weak.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from .dates import parse_http_date
from .headers import MAX_MEMBERS, Headers, MutableHeaders

# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE; etagc = %x21 / %x23-7E / obs-text
#                                                                           RFC 9110 section 8.8.3
_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'  # compiled at its first use, as the next

# #entity-tag: a tag may contain a comma, so a list can't be split at its commas.
_ENTITY_TAGS = rf"[ \t,]*+(?:{_ENTITY_TAG}[ \t]*+(?:,[ \t,]*+|\Z))*"

_CONDITIONS = frozenset(
    (
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    )
)
_SAFE_METHODS = frozenset(("GET", "HEAD"))

# Fields about the content of a 200, which a 304 does not repeat. RFC 9110 section 15.4.5
_CONTENT_FIELDS = (
    "accept-ranges",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "repr-digest",
)


class Validators(NamedTuple):
    """The validators of one version of a representation; None for one that it lacks.

    `last_modified` is in whole seconds since the epoch.
    """

    etag: str | None = None
    last_modified: int | None = None


class Outcome(Enum):
    """The result of a request's preconditions."""

    PROCEED = auto()
    NOT_MODIFIED = auto()  # 304
    FAILED = auto()  # 412


def is_conditional(headers: Headers) -> bool:
    """Return whether a request has a precondition or a Range. Others need no validators."""
    return not _CONDITIONS.isdisjoint(headers.by_name)


def validators_of(headers: Mapping[str, str]) -> Validators:
    """Return the validators in a response's fields `ETag` and `Last-Modified`."""
    return Validators(headers.get("etag"), parse_http_date(headers.get("last-modified", "")))


def evaluate(method: str, headers: Headers, current: Validators | None) -> Outcome:
    """Return the outcome of a request's preconditions for the `current` representation, if any.

    Call it before anything is changed, and only if the request would succeed otherwise. RFC 9110
    section 13.2.2; CONNECT, OPTIONS and TRACE have no preconditions (section 13.2.1).
    """
    if method in ("CONNECT", "OPTIONS", "TRACE"):
        return Outcome.PROCEED
    fields = headers.by_name
    if "if-match" in fields:
        if not _has_match(fields["if-match"], current, is_strong=True):
            return Outcome.FAILED
    elif "if-unmodified-since" in fields and _is_newer(current, fields["if-unmodified-since"]):
        return Outcome.FAILED
    is_safe = method in _SAFE_METHODS
    if "if-none-match" in fields:
        if _has_match(fields["if-none-match"], current, is_strong=False):
            return Outcome.NOT_MODIFIED if is_safe else Outcome.FAILED
    elif "if-modified-since" in fields and is_safe and current is not None:
        since = parse_http_date(fields["if-modified-since"])
        if since is not None and current.last_modified is not None:
            return Outcome.PROCEED if current.last_modified > since else Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def allows_range(headers: Headers, current: Validators, now: float) -> bool:
    """Return whether a range may be sent: If-Range is missing, or names the current version.

    A tag must match strongly. A date must equal Last-Modified, and its second must be over at
    `now`, because the content could change again within that second. RFC 9110 section 13.1.5
    """
    condition = headers.by_name.get("if-range")
    if condition is None:
        return True
    if condition.endswith('"'):
        return current.etag is not None and matches_strongly(condition, current.etag)
    date = parse_http_date(condition)
    return date is not None and date == current.last_modified and date + 1 <= now


def matches_strongly(one: str, other: str) -> bool:
    """Return whether two entity tags are the same and both are strong. RFC 9110 section 8.8.3.2"""
    return one == other and not one.startswith("W/")


def matches_weakly(one: str, other: str) -> bool:
    """Return whether two entity tags are the same, weak or not. RFC 9110 section 8.8.3.2"""
    return one.removeprefix("W/") == other.removeprefix("W/")


def parse_entity_tags(value: str) -> list[str]:
    """Return the entity tags of a list; none if the list is malformed. RFC 9110 section 8.8.3

    A list of more than 100 tags counts as malformed.
    """
    if value.count('"') > 2 * MAX_MEMBERS:
        return []
    return re.findall(_ENTITY_TAG, value) if re.fullmatch(_ENTITY_TAGS, value) else []


def strip_content_fields(headers: MutableHeaders) -> None:
    """Remove the fields that a 304 does not carry. RFC 9110 section 15.4.5

    Last-Modified stays only if there is no ETag to identify the version.
    """
    for name in _CONTENT_FIELDS:
        headers.pop(name, None)
    if "etag" in headers:
        headers.pop("last-modified", None)


def _has_match(value: str, current: Validators | None, *, is_strong: bool) -> bool:
    if value == "*":
        return current is not None
    if current is None or current.etag is None:
        return False
    matches = matches_strongly if is_strong else matches_weakly
    return any(matches(tag, current.etag) for tag in parse_entity_tags(value))


def _is_newer(current: Validators | None, date: str) -> bool:
    """Return whether the representation was modified after `date`; False if a date is unknown."""
    since = parse_http_date(date)
    if since is None or current is None or current.last_modified is None:
        return False
    return current.last_modified > since
