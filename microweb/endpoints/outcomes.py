"""The outcomes of an endpoint: one description for each answer that its annotation declares.

A document can list them, and `results` builds its encoder from them. Nothing runs to read them.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterator
from enum import Enum
from http import HTTPStatus
from types import NoneType
from typing import Literal, NamedTuple, get_args, get_origin

from ..bodies.annotations import AWAITED, ITERATORS, bare, expanded_alternatives_of, metadata_of
from ..bodies.class_members import has_members
from ..bodies.constraints import annotated_alternatives_of
from ..bodies.writers import SCALARS
from ..concurrency.callables import describe
from ..errors import ConfigurationError
from ..http.mediatypes import HTML, JSON, OCTETS, TEXT
from ..response import Response
from ..typed import Content, From
from .signature import Signature, return_hint_of

_WITHOUT_CONTENT = (204, 205, 304)  # RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5

_OCTETS = (bytes, bytearray, memoryview)
JSON_SCALARS = (*(SCALARS - {NoneType, str, bytes}), Enum)  # written as JSON if declared


class Outcome(NamedTuple):
    """One answer that the return annotation of an endpoint declares.

    `status` is None if the annotation does not say it: 200, or that of a Response. `kind` is the
    type of the content. `media_type` is None without content, and if only the value decides it.
    `has_headers` says that the endpoint adds header fields.
    """

    status: int | None
    kind: object
    media_type: str | None
    has_headers: bool = False
    is_status_named: bool = False  # by a Literal
    content: Content | None = None  # of a Response, for documents

    @property
    def writes_null(self) -> bool:
        """Whether None is a value of the content, and no answer without content."""
        return self.is_status_named and self._may_be_none

    @property
    def is_always_json(self) -> bool:
        """Whether the content is JSON, whatever the value is."""
        return self.media_type == JSON and (self.is_status_named or not self._may_be_none)

    @property
    def _may_be_none(self) -> bool:
        return NoneType in expanded_alternatives_of(self.kind)

    @property
    def contents(self) -> Iterator[tuple[str | None, object]]:
        """The media type of each alternative; None if the value decides it."""
        return _contents_of(self.kind)

    @property
    def has_scalars(self) -> bool:
        """Whether an alternative is a number, a date, an Enum or another scalar of JSON."""
        return any(
            media_type == JSON and _is_scalar(each) for media_type, each in _contents_of(self.kind)
        )


def outcomes_of(endpoint: Callable[..., object]) -> tuple[Outcome, ...]:
    """Return the outcomes that the return annotation of `endpoint` declares, in its order.

    Raises: ConfigurationError for a tuple that is no answer.
    """
    return _outcomes_of_hint(endpoint, return_hint_of(endpoint))


def outcomes_in(signature: Signature) -> tuple[Outcome, ...]:
    """Return the outcomes of the endpoint of a signature, as `outcomes_of`."""
    return _outcomes_of_hint(signature.function, signature.layers[0].hints.get("return", object))


def _outcomes_of_hint(endpoint: Callable[..., object], hint: object) -> tuple[Outcome, ...]:
    try:
        return tuple(_outcomes_in(hint))
    except ConfigurationError as error:
        raise ConfigurationError(f"{describe(endpoint)}: its return annotation: {error}") from error


def uses_json(signature: Signature) -> bool:
    """Return whether an endpoint takes JSON by `Json`, or its annotation says that it returns it.

    Errors of its route are problem details, also for clients that name no media type.
    """
    returns_json = any(each.media_type == JSON for each in outcomes_in(signature))
    return returns_json or takes_json(signature)


def takes_json(signature: Signature) -> bool:
    """Return whether a parameter takes JSON by `Json`."""
    return any(
        isinstance(each, From) and each.source == "json"
        for hint in signature.hints.values()
        for each in metadata_of(hint)
    )


def _outcomes_in(hint: object) -> Iterator[Outcome]:
    if isinstance(hint, type):  # most are, and need no look inside
        yield _outcome_of(hint, None)
        return
    if get_origin(bare(hint)) in AWAITED:
        hint = get_args(bare(hint))[-1]
    for each in annotated_alternatives_of(hint):
        if get_origin(bare(each)) is tuple:
            yield from _outcomes_of_tuple(get_args(bare(each)))
        else:
            yield _outcome_of(each, _content_in(each))


def _outcomes_of_tuple(arguments: tuple[object, ...]) -> Iterator[Outcome]:
    """Yield the outcomes of `tuple[content, status, headers]`; status or headers may be missing.

    Raises: ConfigurationError for any other tuple.
    """
    content, *rest = (NoneType if each is None else each for each in arguments or (None,))
    statuses: tuple[object, ...] = (None,)
    is_named = len(rest) > 0 and get_origin(rest[0]) is Literal
    if is_named:
        statuses = get_args(rest.pop(0))
    elif rest and bare(rest[0]) in (int, HTTPStatus, object):
        rest.pop(0)
    has_headers = len(rest) == 1 and _are_headers(rest[0])
    if len(arguments) < 2 or (rest and not has_headers):
        raise ConfigurationError(
            "expected tuple[content, Literal[201]], tuple[content, headers] or tuple[content, "
            f"Literal[201], headers], got tuple{list(arguments)}: return a list or a NamedTuple "
            "for a value of several items"[:400]
        )
    for status in statuses:
        _check_status(status, content)
        known = status if isinstance(status, int) else None
        found = _content_in(content)
        yield Outcome(known, content, _media_type_of(content), has_headers, is_named, found)


def _content_in(kind: object) -> Content | None:
    """Return the `Content` that describes a Response. Raises: ConfigurationError for another."""
    found = [each for each in metadata_of(kind) if isinstance(each, Content)]
    if not found:
        return None
    if not _is_response(bare(kind)):
        raise ConfigurationError(
            f"expected Content at a Response, got it at {bare(kind)!s:.80}: write Annotated["
            "Response, Content(...)], and return Response(value, content_type=...)"
        )
    return found[-1]


def _are_headers(kind: object) -> bool:
    cls = get_origin(bare(kind)) or bare(kind)
    return cls is object or cls in (dict, list, abc.Mapping, abc.Sequence, abc.Iterable)


def _check_status(status: object, content: object) -> None:
    """Raise ConfigurationError if an answer can't have this status with this content."""
    if status is None:
        return
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ConfigurationError(f"expected a status from 200 to 599, got {status!r:.80}")
    if status in _WITHOUT_CONTENT and [*expanded_alternatives_of(content)] != [NoneType]:
        raise ConfigurationError(
            f"expected no content with the status {status}, got {content!s:.80}: write "
            f"tuple[None, Literal[{status}]]"
        )


def _is_response(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Response)


def _outcome_of(kind: object, content: Content | None) -> Outcome:
    inner = bare(kind)
    if inner is NoneType:
        return Outcome(204, inner, None)
    if inner is object or _is_response(inner):
        return Outcome(None, inner, None, content=content)
    return Outcome(200, kind, _media_type_of(kind))


def _media_type_of(kind: object) -> str | None:
    """Return the media type of all values of a type; None if the value decides it."""
    found = {media_type for media_type, _ in _contents_of(kind)}
    return found.pop() if len(found) == 1 else None


def _contents_of(kind: object) -> Iterator[tuple[str | None, object]]:
    """Yield the media type of each alternative except None; also of each value of a Literal."""
    for each in annotated_alternatives_of(kind):
        inner = bare(each)
        origin = get_origin(inner)
        if origin is Literal:
            yield from ((_media_type_of_class(type(one)), Literal[one]) for one in get_args(inner))
        elif origin in ITERATORS and origin is not abc.Iterable:
            yield _media_type_of_stream(inner), each
        elif inner is not NoneType:
            yield _media_type_of_class(origin or inner), each


def _media_type_of_class(cls: object) -> str | None:
    is_open = cls in (object, tuple, *ITERATORS)
    if is_open or not isinstance(cls, type) or issubclass(cls, Response):
        return None
    if hasattr(cls, "__html__"):
        return HTML
    if issubclass(cls, str):
        return TEXT
    return OCTETS if issubclass(cls, _OCTETS) else JSON


def _media_type_of_stream(kind: object) -> str | None:
    """Return the media type of a stream, which its first piece decides.

    Raises: ConfigurationError for pieces that are no text or bytes.
    """
    pieces = [get_origin(each) or each for each in expanded_alternatives_of(get_args(kind)[0])]
    for each in pieces:
        if has_members(each) or each in (NoneType, dict, list, set, tuple, *JSON_SCALARS):
            raise ConfigurationError(
                f"expected str or bytes as the pieces of a stream, got {kind!s:.80}: encode each "
                "piece, return a list, or return Response.events(...) for events"
            )
    found = {_media_type_of_class(each) for each in pieces}
    return found.pop() if len(found) == 1 and found <= {TEXT, OCTETS} else None


def _is_scalar(kind: object) -> bool:
    kind = bare(kind)
    return get_origin(kind) is Literal or (
        isinstance(kind, type) and issubclass(kind, JSON_SCALARS)
    )
