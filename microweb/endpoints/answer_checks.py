"""Check the answers of an endpoint against its annotation, in debug mode and under test.

In production an answer is written by its annotation, and not checked: that would cost as much as
reading it. Here the JSON is read again by the types of the annotation, as a client would.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakSet

from ..bodies.json import parse_json
from ..bodies.json_types import converter_for
from ..concurrency.callables import describe
from ..errors import BadRequest, ConfigurationError, HTTPError, UnprocessableContent
from ..http.mediatypes import JSON
from ..response import Response
from .outcomes import Outcome, outcomes_of

Finish = Callable[[object], Response]
Convert = Callable[[object], object]

_TESTED: WeakSet[object] = WeakSet()


def check_answers_of(app: object) -> None:
    """Check all answers of an app that is not frozen yet. The test client calls this."""
    _TESTED.add(app)


def is_checked(app: object) -> bool:
    """Return whether `check_answers_of` was called for an app."""
    return app in _TESTED


def checking(endpoint: Callable[..., object], finish: Finish) -> Finish:
    """Return `finish` with a check of its response.

    It raises TypeError, which names the endpoint, for a status or a content that the annotation
    does not declare.
    """
    outcomes = outcomes_of(endpoint)
    statuses = {each.status for each in outcomes} if _names_statuses(outcomes) else None
    is_json = all(each.is_always_json for each in outcomes)
    contents = [(each.status, _reader_of(each)) for each in outcomes]

    def finish_checked(value: object) -> Response:
        response = finish(value)
        if response is value or isinstance(value, Response):
            return response
        if statuses is not None and response.status not in statuses:
            expected = " or ".join(sorted(map(str, statuses)))
            raise TypeError(
                f"{describe(endpoint)}: expected the status {expected} as annotated, got "
                f"{response.status}: return that status, or add it to the annotation"
            )
        readers = [read for status, read in contents if status in (None, response.status)]
        media_type = response.headers.get("content-type")
        if is_json and media_type != JSON and (readers or value is None):
            raise TypeError(
                f"{describe(endpoint)}: expected JSON as annotated, got "
                f"{media_type or 'no content'}: return a value of the annotated type, or change "
                "the return annotation"
            )
        if media_type == JSON and readers:
            _check_content(endpoint, response, readers)
        return response

    return finish_checked


def _names_statuses(outcomes: tuple[Outcome, ...]) -> bool:
    """Return whether the annotation names the status of each answer, and of one by Literal."""
    known = all(each.status is not None for each in outcomes)
    return known and any(each.is_status_named for each in outcomes)


def _reader_of(outcome: Outcome) -> Convert | None:
    """Return the reader of a content; None if JSON is not read to its type."""
    try:
        return converter_for(outcome.kind)
    except ConfigurationError:
        return None


def _check_content(
    endpoint: Callable[..., object], response: Response, readers: list[Convert | None]
) -> None:
    if None in readers:
        return
    try:
        value = parse_json(response.body, allow_surrogates=True)
    except BadRequest:  # nested more deeply than JSON is read
        return
    refusal = ""
    for read in readers:
        assert read is not None
        try:
            read(value)
            return
        except UnprocessableContent as error:
            refusal = refusal or error.text
        except HTTPError:  # raised by a __post_init__ that is for requests
            return
    raise TypeError(
        f"{describe(endpoint)}: its answer is not as annotated: {refusal}: return a value of the "
        "annotated type, or change the return annotation"
    )
