"""The error boundary: turn an exception into a Response.

A boundary is around the endpoint and around each middleware, so `call_next` always returns a
Response. The application's own handlers (`errorhandler`) come first. Without a handler, an
`HTTPError` gets its default answer; any other exception is logged once and becomes a 500 without
details.
"""

from __future__ import annotations

from collections.abc import Callable

from ..endpoints.error_handler import ErrorHandler, ErrorKey
from ..endpoints.handler import UNANSWERED
from ..errorpages import default_answer, missing_page, plain_answer, status_of
from ..errors import (
    ClientDisconnected,
    ConfigurationError,
    HTTPError,
    MicrowebError,
    NotFound,
    ProtocolError,
    is_disconnect,
    sole_error,
)
from ..http.interfaces import RequestApp
from ..http.negotiation import accept_of
from ..http.request_log import log_fields, name_in_log
from ..logs import Log
from ..remedies import add_remedy
from ..request import Request
from ..response import Response

_log = Log("microweb.error")

_MAX_CAUSES = 10


class ErrorHandlers:
    """One application's handlers of errors, by class and by status."""

    def __init__(self) -> None:
        self._by_class: dict[type[Exception], ErrorHandler] = {}
        self._by_status: dict[int, ErrorHandler] = {}

    def register(self, key: ErrorKey, function: Callable[..., object]) -> None:
        """Answer errors of this class or status with `function`. Raises: ConfigurationError."""
        handler = ErrorHandler(key, function)
        if isinstance(key, int) and 400 <= key <= 599:
            self._by_status[key] = handler
        elif isinstance(key, type) and issubclass(key, Exception):
            if issubclass(key, ProtocolError) and handler.takes_request:
                raise ConfigurationError(
                    f"{handler}: a {key.__name__} has no request: take only 'error'"
                )
            self._by_class[key] = handler
        else:
            raise ConfigurationError(
                f"{handler}: expected errorhandler(status from 400 to 599) or "
                f"errorhandler(class of Exception), got {key!r:.80}"
            )

    def find(self, error: BaseException, *, has_request: bool = True) -> ErrorHandler | None:
        """Return the handler of the most specific class, else the handler of the status.

        For an HTTPError or a ProtocolError, handlers of Exception and MicrowebError come after the
        handler of the status, because they are for unexpected errors.
        """
        if not self._by_class and not self._by_status:
            return None
        return self.find_for(type(error), status_of(error), has_request=has_request)

    def find_for(
        self, cls: type[BaseException], status: int, *, has_request: bool = True
    ) -> ErrorHandler | None:
        """Return the handler of an error of a class, with a status."""
        wide = (MicrowebError, Exception) if issubclass(cls, (HTTPError, ProtocolError)) else ()
        kinds = [kind for kind in cls.__mro__ if kind not in wide]
        candidates = [self._by_class.get(kind) for kind in kinds]
        candidates.append(self._by_status.get(status))
        candidates += [self._by_class.get(kind) for kind in wide]
        for handler in candidates:
            if handler is not None and (has_request or not handler.takes_request):
                return handler
        return None


def _forget_tracebacks(error: BaseException | None) -> None:
    """Remove the tracebacks of an error and of its causes.

    Their frames refer to the request, which refers to the error: a cycle.
    """
    for _ in range(_MAX_CAUSES):
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def bare_not_found() -> NotFound:
    """Return `NotFound()` in 1 us in place of 8, because bots request many missing paths."""
    error = _new_error(NotFound, *_NOT_FOUND.args)
    fields = error.__dict__ = _NOT_FOUND_FIELDS.copy()
    fields["headers"], fields["_extra"] = {}, {}  # of this error alone
    return error


_NOT_FOUND = NotFound()
_NOT_FOUND_FIELDS = vars(_NOT_FOUND)
_new_error = NotFound.__new__


async def answer_missing(request: Request) -> Response:
    """Answer a request without a route, if no middleware is around and no error handler fits.

    With a head from the server's cache a 404 takes 6 us, by `ErrorBoundary.answer_bare` 15.
    """
    request.error = bare_not_found()
    if request._incoming is not None:  # a caller of the app has read the body
        request._incoming.close_form()
    return missing_page(accept_of(request.section))


class ErrorBoundary:
    """Answers the errors of one app at the prefix where it is mounted.

    If none of the app's own handlers fits an error, those of the outer apps are tried.
    """

    def __init__(
        self,
        handlers: ErrorHandlers,
        app: RequestApp[Response],
        outer: ErrorBoundary | None,
        *,
        debug: bool,
    ) -> None:
        self._handlers = handlers
        self._app = app
        self._outer = outer
        self._debug = debug

    async def answer(self, request: Request, error: BaseException) -> Response:
        """Return the answer to an error. Raises: ClientDisconnected if the client has left."""
        if not isinstance(error, HTTPError):
            if is_disconnect(error):
                raise ClientDisconnected("the client has left") from error
            error = sole_error(error)
        request.error = error
        handler = self._find(error, has_request=True)
        is_fault = not isinstance(error, (HTTPError, ProtocolError))
        if is_fault and (handler is None or isinstance(handler.key, int)):
            fields = log_fields(request)
            add_remedy(error)
            _log.error("%s failed", name_in_log(request), exc_info=error, extra=fields)
        if handler is None:
            response = self._unhandled(request, error, status_of(error))
        else:
            response = await self._answer_by(handler, request, error)
        if response.status == 405 and request.match is not None:  # RFC 9110 section 15.5.6
            allowed = request.match.allowed_beside(request.method, request.raw_path)
            response.headers.setdefault("Allow", ", ".join(allowed))
        request.incoming.close_form()  # else the traceback keeps the form's files open
        if not is_fault:
            _forget_tracebacks(error)
        return response

    @property
    def answers_missing(self) -> bool:
        """Whether a request without a route gets the default 404."""
        return not self._debug and self._find(_NOT_FOUND, has_request=True) is None

    def answer_bare(self, request: Request, error: HTTPError) -> Response:
        """Return the answer to an error of routing that has no detail, as `answer` does.

        Without a raise, and with the cached page, a 404 takes 16 us in place of 32.

        Raises: `error` if the application answers it, and in debug mode.
        """
        if self._debug or self._find(error, has_request=True) is not None:
            raise error
        request.error = error
        if request._incoming is not None:  # middleware has read the body
            request._incoming.close_form()
        return plain_answer(error.status, accept_of(request.section), headers=error.headers)

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to bytes that are not a request."""
        handler = self._find(error, has_request=False)
        if handler is None:
            return default_answer(error, None, debug=self._debug)
        return await self._answer_by(handler, None, error)

    def _find(self, error: BaseException, *, has_request: bool) -> ErrorHandler | None:
        handler = self._handlers.find(error, has_request=has_request)
        if handler is None and self._outer is not None:
            return self._outer._find(error, has_request=has_request)
        return handler

    async def _answer_by(
        self, handler: ErrorHandler, request: Request | None, error: BaseException
    ) -> Response:
        try:
            return await handler.answer(request, error, self._app)
        except (ClientDisconnected, *UNANSWERED):
            raise
        except BaseException as failure:  # code of the application may raise anything
            fields = log_fields(request)
            _log.exception("%s failed for %r", handler, error, extra=fields)
            if request is None:
                return plain_answer(500, None)
            request.error = failure
            return self._unhandled(request, failure, 500)

    def _unhandled(self, request: Request, error: BaseException, status: int) -> Response:
        """Return the answer to an error without a handler, or to an error handler's failure."""
        accept = accept_of(request.section)
        in_json = request.match is not None and request.match.uses_json
        if self._debug:
            from ..debug.page import debug_answer, is_forwarded

            try:
                if not is_forwarded(request.headers):
                    return debug_answer(request, error, status)
            except Exception:  # of a repr in the page: the answer is then that of production
                _log.exception("the debug page for %r failed", error)
        if status != status_of(error):
            return plain_answer(status, accept, in_json=in_json)
        return default_answer(error, accept, debug=self._debug, in_json=in_json)
