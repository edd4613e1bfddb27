"""What an endpoint returned -> Response, by one converter per endpoint."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import is_dataclass
from types import NoneType
from typing import get_args

from .jsoncodec import encode_json
from .request import Request, RequestApp
from .response import HTML, JSON, OCTETS, Fields, Response, TextResponse
from .router import describe
from .signature import hints_of

_log = logging.getLogger("microweb.app")


class ReturnConverter:
    """Turns what one endpoint returns into a Response: `convert(value, request)`.

    str -> text, what has `__html__` -> a page, bytes -> octets, dict, list and dataclasses -> JSON,
    None -> 204, generators -> a stream, (value, status), (value, headers), (value, status,
    headers); a Response as it is. In debug, what is probably a slip is told once in the log.

    Raises: TypeError that names the endpoint for anything else.
    """

    __slots__ = ("_app", "_endpoint", "_hints_left")

    def __init__(
        self, endpoint: Callable[..., object], app: RequestApp, *, debug: bool = False
    ) -> None:
        self._endpoint = endpoint
        self._app = app  # for its `json_default`, which may be set until it is needed
        self._hints_left: set[str] = set()
        if debug:
            self._hints_left = {"markup"} if _may_be_none(endpoint) else {"markup", "none"}

    def convert(self, value: object, request: Request | None) -> Response:
        """Return the Response that `value` stands for."""
        if self._hints_left and request is not None:
            self._hint(value, request)
        if type(value) is str:
            return TextResponse(value)
        if isinstance(value, Response):
            return value
        if isinstance(value, (dict, list)):
            return self._from_json(value)
        if type(value) is tuple:
            return self._from_tuple(value, request)
        return self._from_other(value)

    def _from_json(self, value: object) -> Response:
        try:
            return Response(encode_json(value, self._app.json_default), content_type=JSON)
        except TypeError as error:
            raise self._named(error) from error

    def _named(self, error: TypeError) -> TypeError:
        return TypeError(f"{describe(self._endpoint)}: {error}")

    def _from_other(self, value: object) -> Response:
        if value is None:
            return Response(b"", 204)
        as_html = getattr(value, "__html__", None)
        if as_html is not None and not isinstance(value, type):
            return Response(str(as_html()).encode(), content_type=HTML)
        if is_dataclass(value) and not isinstance(value, type):
            return self._from_json(value)
        if isinstance(value, str):
            return TextResponse(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return Response(bytes(value), content_type=OCTETS)
        if isinstance(value, (AsyncIterator, Iterator)):
            return Response.stream(value)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError(
                f"{describe(self._endpoint)} returned a coroutine: did you forget await?"
            )
        raise TypeError(
            f"{describe(self._endpoint)} returned {type(value).__name__}: expected str, bytes, "
            "dict, list, a dataclass, None, a generator, a Response, or one of these in "
            "(value, status), (value, headers) or (value, status, headers)"
        )

    def _from_tuple(self, value: tuple[object, ...], request: Request | None) -> Response:
        content, status, headers = split_tuple(value)
        if status is None and headers is None:
            return self._from_other(value)
        response = (
            self.convert(content, request) if content is not None else Response(b"", status or 204)
        )
        if status is not None and response.status != status:
            response.status = status
        if isinstance(headers, Mapping):
            response.headers.update(headers)
        else:
            for name, text in headers or ():
                if name.lower() == "content-type":
                    response.headers[name] = text
                else:
                    response.headers.add(name, text)
        return response

    def _hint(self, value: object, request: Request) -> None:
        if value is None and request.method == "GET":
            self._tell("none", "%s returned None: did you forget return? (or annotate -> None)")
        elif type(value) is str and value.lstrip().startswith("<"):
            self._tell("markup", "%s returned markup as plain text: return html(...)")

    def _tell(self, hint: str, text: str) -> None:
        if hint in self._hints_left:
            self._hints_left.discard(hint)
            _log.warning(text, describe(self._endpoint))


def split_tuple(value: object) -> tuple[object, int | None, Fields | None]:
    """Split what an endpoint returned into content, status and header fields."""
    match value:
        case (content, int(status), Mapping() | list() as headers):
            return content, int(status), headers
        case (content, int(status)) if type(value) is tuple:
            return content, int(status), None
        case (content, Mapping() | list() as headers) if type(value) is tuple:
            return content, None, headers
    return value, None, None


def _may_be_none(endpoint: Callable[..., object]) -> bool:
    """Whether its annotation says that it returns None, at least at times."""
    hint = hints_of(endpoint).get("return", object)
    return hint is NoneType or NoneType in get_args(hint) or "None" in str(hint)
