"""Validators and preconditions: is what the client has still the same? RFC 9110 sections 8.8, 13.

`validators_of` reads the validators of an answer from its own header fields, and `evaluate` holds a
request's preconditions against them, in the order of section 13.2.2. Nothing here knows where the
content comes from: it serves files and dynamic answers alike.

An entity tag is kept as it is written, quotes and all: `"abc"` is strong, `W/"abc"` weak.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from .dates import parse_http_date
from .headers import Headers, MutableHeaders

# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE; etagc = %x21 / %x23-7E / obs-text
#                                                                           RFC 9110 section 8.8.3
_ENTITY_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
ENTITY_TAG = re.compile(_ENTITY_TAG)

# #entity-tag: a comma may stand in a tag, so that a list can't be split at each.
_ENTITY_TAGS = re.compile(rf"[ \t,]*+(?:{_ENTITY_TAG}[ \t]*+(?:,[ \t,]*+|\Z))*")

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

# What describes the content of a 200, which a 304 does not repeat. RFC 9110 section 15.4.5
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


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one version of a representation from another; None for what it lacks.

    `last_modified` is in whole seconds since the epoch.
    """

    etag: str | None = None
    last_modified: int | None = None


class Outcome(Enum):
    """What the preconditions of a request ask for."""

    PROCEED = auto()
    NOT_MODIFIED = auto()  # 304
    FAILED = auto()  # 412


def is_conditional(headers: Headers) -> bool:
    """Whether a request has a precondition or a Range: most have none, and need no validators."""
    return not _CONDITIONS.isdisjoint(headers.by_name)


def validators_of(headers: Mapping[str, str]) -> Validators:
    """Return the validators that an answer's fields `ETag` and `Last-Modified` hold."""
    return Validators(headers.get("etag"), parse_http_date(headers.get("last-modified", "")))


def evaluate(method: str, headers: Headers, current: Validators | None) -> Outcome:
    """Hold a request's preconditions against the current representation, None where there is none.

    To be asked where the answer would else be a success, before anything is changed. RFC 9110
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
    """Whether a range may be sent: there is no If-Range, or it names the current version.

    A tag must match strongly. A date must be that of Last-Modified to the second, and that second
    be over at `now`, else the content may have changed within it. RFC 9110 section 13.1.5
    """
    condition = headers.by_name.get("if-range")
    if condition is None:
        return True
    if condition.endswith('"'):
        return current.etag is not None and matches_strongly(condition, current.etag)
    date = parse_http_date(condition)
    return date is not None and date == current.last_modified and date + 1 <= now


def matches_strongly(one: str, other: str) -> bool:
    """Whether two entity tags are the same and neither is weak. RFC 9110 section 8.8.3.2"""
    return one == other and not one.startswith("W/")


def matches_weakly(one: str, other: str) -> bool:
    """Whether two entity tags are the same, weak or not. RFC 9110 section 8.8.3.2"""
    return one.removeprefix("W/") == other.removeprefix("W/")


def parse_entity_tags(value: str) -> list[str]:
    """Return the entity tags of a list; none where it is no such list. RFC 9110 section 8.8.3"""
    return ENTITY_TAG.findall(value) if _ENTITY_TAGS.fullmatch(value) else []


def strip_content_fields(headers: MutableHeaders) -> None:
    """Remove from an answer's fields what a 304 does not carry. RFC 9110 section 15.4.5

    Last-Modified stays only where there is no ETag to tell the versions apart.
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
    """Whether the representation was modified after `date`; no date, no answer: it was not."""
    since = parse_http_date(date)
    if since is None or current is None or current.last_modified is None:
        return False
    return current.last_modified > since
