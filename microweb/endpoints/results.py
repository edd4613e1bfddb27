"""Convert the value that an endpoint returned into a Response, with one converter per endpoint."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import get_origin

from ..bodies.annotations import expanded_alternatives_of
from ..bodies.class_members import has_members, is_named_tuple
from ..bodies.foreign import is_foreign
from ..bodies.json import encode_json
from ..bodies.json_writers import writer_for
from ..concurrency.callables import describe
from ..http.charsets import encode_utf8
from ..http.interfaces import Fields, RequestApp
from ..http.mediatypes import HTML, JSON, OCTETS, TEXT
from ..http.response_head import check_status
from ..response import Response, plain_response
from .outcomes import JSON_SCALARS, outcomes_of
from .signature import return_hint_of


class ReturnConverter:
    """Converts the values that one endpoint returns into Responses: `convert(value)`.

    str -> text, an object with `__html__` -> a page, bytes -> octets, dict, list, sets, NamedTuples
    and objects of dataclasses and attrs classes -> JSON, None -> 204, generators -> a stream,
    (value, status), (value, headers), (value, status, headers); a Response stays itself. The JSON
    has only the fields that the endpoint's annotation declares. If that declares a number, a date,
    an Enum or another scalar, scalars are JSON. If it declares None as a content with a status,
    None is JSON's null.

    Raises: TypeError that names the endpoint for any other value.
    """

    __slots__ = (
        "_app",
        "_classes",
        "_declares_headers",
        "_declares_members",
        "_declares_scalars",
        "_endpoint",
        "_null_statuses",
        "_passes_on",
        "_write",
    )

    def __init__(
        self, endpoint: Callable[..., object], app: RequestApp[Response], *, passes_on: bool = False
    ) -> None:
        self._endpoint = endpoint
        self._passes_on = passes_on  # it may return the Response that `call_next` returned
        self._write = writer_for(return_hint_of(endpoint))
        outcomes = () if passes_on else outcomes_of(endpoint)
        kinds = [each for outcome in outcomes for each in expanded_alternatives_of(outcome.kind)]
        classes = [get_origin(each) or each for each in kinds]
        self._declares_members = any(map(has_members, classes))
        # Classes whose objects are surely JSON: a value of another one is looked at for 2 us.
        self._classes = frozenset(
            each for each in classes if has_members(each) and not hasattr(each, "__html__")
        )
        self._declares_scalars = any(each.has_scalars for each in outcomes)
        self._declares_headers = any(each.has_headers for each in outcomes)
        self._null_statuses = {each.status for each in outcomes if each.writes_null}
        self._app = app  # not its `json_default`, which the user may set later

    def convert(self, value: object) -> Response:
        """Return the Response for `value`."""
        if type(value) is str:
            return plain_response(encode_utf8(value), TEXT)
        if type(value) is tuple:
            return self._from_tuple(value)
        if type(value) in self._classes or isinstance(value, (dict, list)):
            return self._from_json(value)
        if isinstance(value, Response):
            return value
        return self._from_other(value)

    def _from_json(self, value: object, status: int = 200) -> Response:
        try:
            default = self._app.json_default
            if self._write is None:
                return plain_response(encode_json(value, default), JSON, status)
            return plain_response(self._write.encode(value, default), JSON, status)
        except (TypeError, ValueError) as error:  # also NaN, or a value that holds itself
            raise self._named(error) from error

    def _check_declared(self, value: object) -> None:
        try:
            if self._write is not None:
                self._write(value)
        except TypeError as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> Exception:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return kind(f"{describe(self._endpoint)}: {error}")

    def _from_other(self, value: object) -> Response:
        if value is None:
            return Response(b"", 204)
        as_html = getattr(value, "__html__", None)
        if as_html is not None and not isinstance(value, type):
            return plain_response(encode_utf8(str(as_html())), HTML)
        cls = type(value)
        if has_members(cls) or is_named_tuple(cls) or is_foreign(cls):
            return self._from_json(value)
        if isinstance(value, (set, frozenset, deque)) and self._write is not None:
            return self._from_json(value)
        if isinstance(value, str):
            return plain_response(encode_utf8(value), TEXT)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return plain_response(bytes(value), OCTETS)
        if self._declares_scalars and isinstance(value, JSON_SCALARS):
            return self._from_json(value)
        if isinstance(value, (AsyncIterator, Iterator)):
            return Response.stream(value)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError(
                f"{describe(self._endpoint)} returned a coroutine: did you forget await?"
            )
        return self._from_object(value)

    def _from_object(self, value: object) -> Response:
        """Return the Response for an object of another class.

        If the annotation declares members, only they are written: the whole object, as
        `json_default` writes it, may have more.
        """
        if self._write is not None and self._declares_members and not isinstance(value, tuple):
            return self._from_json(value)
        return self._by_json_default(value)

    def _by_json_default(self, value: object) -> Response:
        """Return the Response for a value that only the app's `json_default` can convert."""
        refusal = None
        if self._app.json_default is not None:
            self._check_declared(value)
            try:
                value = self._app.json_default(value)
                return plain_response(encode_json(value, self._app.json_default), JSON)
            except TypeError as error:  # `default` of the standard library's `json` refuses so too
                refusal = error
        raise TypeError(
            f"{describe(self._endpoint)} returned {type(value).__name__}: expected str, bytes, "
            "dict, list, a dataclass, None, a generator, a Response, a scalar that the return "
            "annotation names (`-> int`), or one of these in (value, status), (value, headers) or "
            "(value, status, headers)"
        ) from refusal

    def _from_tuple(self, value: tuple[object, ...]) -> Response:
        status: int | None
        if len(value) == 2 and type(last := value[1]) is int:  # `split_tuple` takes 2 us
            if type(value[0]) in self._classes:
                return self._from_json(value[0], check_status(last))
            content, status, headers = value[0], last, None
        else:
            if (meant := _meant_by(value)) is not None and not self._declares_number(value):
                raise TypeError(
                    f"{describe(self._endpoint)} returned {value!r:.80}: the value comes first, "
                    f"expected {meant}"
                )
            content, status, headers = split_tuple(value)
            if status is None and headers is None:
                return self._from_other(value)
        if content is not None or status in self._null_statuses:
            response = self._from_json(None) if content is None else self.convert(content)
        else:
            response = Response(b"", status or 204)
        if response is content:
            if not self._passes_on and response.source is not None:
                response.source.check_unclaimed()
            response = response.hand_on()  # the endpoint may return it for other requests too
        if status is not None and response.status != status:
            response.status = status
        if headers is None:
            return response
        if isinstance(headers, Mapping):
            response.headers.update(headers)
        else:
            for name, text in headers:
                if name.lower() == "content-type":
                    response.headers[name] = text
                else:
                    response.headers.add(name, text)
        return response

    def _declares_number(self, value: tuple[object, ...]) -> bool:
        """Return whether the annotation declares the number that comes first in a tuple."""
        return self._declares_scalars and self._declares_headers and isinstance(value[0], int)


def _meant_by(value: tuple[object, ...]) -> str | None:
    """Return the order that was meant if a status or headers come before the value, else None."""
    first = value[0] if value else None
    if len(value) > 1 and isinstance(value[1], int):
        return None  # that is the status
    if isinstance(first, int) and not isinstance(first, bool):
        return {2: "(value, status)", 3: "(value, status, headers)"}.get(len(value))
    if isinstance(first, dict) and len(value) == 2 and isinstance(value[1], (str, bytes)):
        return "(value, headers)"
    return None


def split_tuple(value: object) -> tuple[object, int | None, Fields | None]:
    """Split the value that an endpoint returned into content, status and header fields."""
    match value:
        case (content, int(status), Mapping() | list() as headers):
            return content, int(status), headers
        case (content, int(status)) if type(value) is tuple:
            return content, int(status), None
        case (content, Mapping() | list() as headers) if type(value) is tuple:
            return content, None, headers
    return value, None, None
