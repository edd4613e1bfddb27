"""The outcomes of an endpoint: one description for each answer that its annotation declares.

A document can list them, and `results` builds its encoder from them. Nothing runs to read them.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Literal, get_args, get_origin

from ..bodies.annotations import bare, expanded_alternatives_of, metadata_of
from ..http.mediatypes import HTML, JSON, OCTETS, TEXT
from ..response import Response
from ..typed import From
from .signature import Signature, return_hint_of

_AWAITED = (abc.Awaitable, abc.Coroutine)  # annotations of a `def` that returns a coroutine
# The values of these types have any media type: they are streams, or anything at all.
_OPEN = (
    object,
    tuple,
    int,
    float,
    bool,
    abc.AsyncGenerator,
    abc.AsyncIterator,
    abc.AsyncIterable,
    abc.Generator,
    abc.Iterator,
    abc.Iterable,
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer that the return annotation of an endpoint declares.

    `status` is None if the annotation does not say it: 200, or that of a Response. `kind` is the
    type of the content. `media_type` is None without content, and if only the value decides it.
    `has_headers` says that the endpoint adds header fields.
    """

    status: int | None
    kind: object
    media_type: str | None
    has_headers: bool = False


def outcomes_of(endpoint: Callable[..., object]) -> tuple[Outcome, ...]:
    """Return the outcomes that the return annotation of `endpoint` declares, in its order."""
    return tuple(_outcomes_in(return_hint_of(endpoint)))


def uses_json(signature: Signature) -> bool:
    """Return whether an endpoint takes JSON by `Json`, or its annotation says that it returns it.

    Errors of its route are problem details, also for clients that name no media type.
    """
    for hint in signature.hints.values():
        if any(isinstance(each, From) and each.source == "json" for each in metadata_of(hint)):
            return True
    return any(each.media_type == JSON for each in outcomes_of(signature.function))


def _outcomes_in(hint: object) -> Iterator[Outcome]:
    if get_origin(bare(hint)) in _AWAITED:
        hint = get_args(bare(hint))[-1]
    for each in expanded_alternatives_of(hint):
        if get_origin(each) is tuple:
            yield from _outcomes_of_tuple(get_args(each))
        else:
            yield _outcome_of(each)


def _outcomes_of_tuple(arguments: tuple[object, ...]) -> Iterator[Outcome]:
    """Yield the outcomes of `tuple[content, status, headers]`; status or headers may be missing."""
    content, *rest = arguments
    has_headers = (
        len(rest) > 0 and bare(rest[-1]) is not int and get_origin(rest[-1]) is not Literal
    )
    statuses = get_args(rest[0]) if rest and get_origin(rest[0]) is Literal else (None,)
    for status in statuses:
        yield Outcome(status, content, _media_type_of(content), has_headers)


def _outcome_of(kind: object) -> Outcome:
    if kind is NoneType:
        return Outcome(204, kind, None)
    is_open = kind is object or (isinstance(kind, type) and issubclass(kind, Response))
    return Outcome(None if is_open else 200, kind, _media_type_of(kind))


def _media_type_of(kind: object) -> str | None:
    """Return the media type of all values of a type; None if the value decides it."""
    found = {_media_type_of_class(get_origin(each) or each) for each in _contents_of(kind)}
    return found.pop() if len(found) == 1 else None


def _contents_of(kind: object) -> Iterator[object]:
    for each in expanded_alternatives_of(kind):
        if each is not NoneType:
            yield each


def _media_type_of_class(cls: object) -> str | None:
    if not isinstance(cls, type) or cls in _OPEN or issubclass(cls, Response):
        return None
    if hasattr(cls, "__html__"):
        return HTML
    if issubclass(cls, str):
        return TEXT
    return OCTETS if issubclass(cls, (bytes, bytearray, memoryview)) else JSON
