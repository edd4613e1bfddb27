"""The error boundary: what was raised -> the answer.

It stands twice in each chain: directly around the endpoint, so that middleware always gets a
Response, and outermost, for the faults of middleware. What an application registered with
`errorhandler` comes first; what nobody answers is logged once and is a 500 that says nothing.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

from ..endpoints import Handler, ReturnConverter, describe, in_thread
from ..errors import ClientDisconnected, ConfigurationError, HTTPError, ProtocolError
from ..headers import list_members
from ..jsoncodec import encode_json
from ..request import Request
from ..response import TEXT, Response, phrase_of

ErrorKey = int | type[Exception]

_log = logging.getLogger("microweb.error")


class ErrorHandlers:
    """One application's answers to what is raised, by class and by status.

    The most specific class wins, then the status, then what catches every Exception; what none of
    them answers goes to the application that this one is mounted in.
    """

    def __init__(self) -> None:
        self.parent: ErrorHandlers | None = None
        self.debug = False
        self.json_default: Callable[[object], object] | None = None
        self._by_class: dict[type[Exception], _Answerer] = {}
        self._by_status: dict[int, _Answerer] = {}

    def register(self, key: ErrorKey, function: Callable[..., object]) -> None:
        """Answer errors of this class or status by `function`. Raises: ConfigurationError."""
        answerer = _Answerer(function)
        if isinstance(key, int) and 400 <= key <= 599:
            self._by_status[key] = answerer
        elif isinstance(key, type) and issubclass(key, Exception):
            if issubclass(key, ProtocolError) and answerer.takes_request:
                raise ConfigurationError(
                    f"{describe(function)}: what broke HTTP has no request: take 'error' alone"
                )
            self._by_class[key] = answerer
        else:
            raise ConfigurationError(
                "errorhandler: expected a status from 400 to 599 or a class of Exception, "
                f"got {key!r}"
            )

    async def answer(self, request: Request, error: Exception) -> Response:
        """Return the answer to what was raised. Raises: ClientDisconnected, which has none."""
        if isinstance(error, ClientDisconnected):
            raise error
        request.error = error
        answerer = self._find(error)
        if answerer is None and not isinstance(error, (HTTPError, ProtocolError)):
            _log.error("%s %s failed", request.method, request.raw_path, exc_info=error)
            answerer = self._find_status(500)
        if answerer is None:
            return default_answer(error, request.headers.get("accept", ""), debug=self.debug)
        try:
            return await answerer.answer(request, error, self.json_default)
        except ClientDisconnected:
            raise
        except Exception:
            _log.exception("%s failed for %r", answerer, error)
            return Response(f"{phrase_of(500)}\n", 500)

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to what was no request."""
        answerer = self._find(error)
        if answerer is not None and not answerer.takes_request:
            try:
                return await answerer.answer(None, error, self.json_default)
            except Exception:
                _log.exception("%s failed for %r", answerer, error)
        return default_answer(error, "", debug=self.debug)

    def guard(self, handler: Handler) -> Handler:
        """Return `handler` with what it raises answered."""

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except Exception as error:
                return await self.answer(request, error)

        return guarded

    def _find(self, error: Exception) -> _Answerer | None:
        status = error.status if isinstance(error, (HTTPError, ProtocolError)) else None
        for kind in type(error).__mro__:
            if status is not None and issubclass(HTTPError, kind) and kind is not HTTPError:
                by_status = self._by_status.get(status)
                if by_status is not None:
                    return by_status
                status = None
            answerer = self._by_class.get(kind)
            if answerer is not None:
                return answerer
        return self.parent._find(error) if self.parent is not None else None

    def _find_status(self, status: int) -> _Answerer | None:
        answerer = self._by_status.get(status)
        if answerer is None and self.parent is not None:
            return self.parent._find_status(status)
        return answerer


class _Answerer:
    """A user's error handler: `async def missing(request, error)`, either parameter optional."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        self._names = tuple(inspect.signature(function).parameters)
        unknown = set(self._names) - {"request", "error"}
        if unknown:
            raise ConfigurationError(
                f"{describe(function)}: an error handler takes 'request' and 'error', "
                f"got {', '.join(sorted(unknown))}"
            )
        self.takes_request = "request" in self._names
        is_async = inspect.iscoroutinefunction(function)
        self._call = function if is_async else in_thread(describe(function), function)

    def __str__(self) -> str:
        return describe(self._function)

    async def answer(
        self,
        request: Request | None,
        error: Exception,
        json_default: Callable[[object], object] | None,
    ) -> Response:
        """Call it and convert what it returns; a plain value keeps the error's status."""
        given = {"request": request, "error": error}
        value: object = self._call(**{name: given[name] for name in self._names})
        if inspect.isawaitable(value):
            value = await value
        response = ReturnConverter(self._function, json_default)(value, request)
        says_status = isinstance(value, Response) or (
            isinstance(value, tuple) and len(value) > 1 and isinstance(value[1], int)
        )
        if not says_status:
            response.status = status_of(error)
        if isinstance(error, HTTPError):
            for name, text in error.headers.items():
                response.headers.setdefault(name, text)
        return response if request is None else await response.prepare(request)


def status_of(error: Exception) -> int:
    """Return the status that stands for what was raised."""
    return error.status if isinstance(error, (HTTPError, ProtocolError)) else 500


def default_answer(error: Exception, accept: str, *, debug: bool) -> Response:
    """Return the answer to what nobody handles: short text, or problem details (RFC 9457)."""
    status = status_of(error)
    detail, headers, extra = "", {}, {}
    if isinstance(error, HTTPError):
        detail, headers, extra = error.detail, error.headers, error.extra
    elif isinstance(error, ProtocolError) and debug:
        detail = str(error)
    if prefers_json(accept):
        problem = {**extra, "status": status, "title": phrase_of(status)}
        if detail:
            problem["detail"] = detail
        body = encode_json(problem, repr)
        return Response(body, status, headers, content_type="application/problem+json")
    text = f"{phrase_of(status)}\n" + (f"{detail}\n" if detail else "")
    return Response(text.encode(), status, headers, content_type=TEXT)


def prefers_json(accept: str) -> bool:
    """Whether an Accept field asks for JSON rather than for a page. RFC 9110 section 12.5.1"""
    best = {"json": 0.0, "html": 0.0}
    for member in list_members(accept.lower()):
        media_range, *parameters = (part.strip() for part in member.split(";"))
        subtype = media_range.partition("/")[2]
        kind = "json" if subtype == "json" or subtype.endswith("+json") else subtype
        if kind in best:
            best[kind] = max(best[kind], _weight(parameters))
    return best["json"] > best["html"]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
