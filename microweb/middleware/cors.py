"""Cross-origin requests: which other origins' scripts may read the responses.

Fetch Standard, section 3.3, "CORS protocol" (https://fetch.spec.whatwg.org/#http-cors-protocol).

Order: outermost, so that every response has the fields, errors too, and so that a preflight, which
carries no credentials, is answered before authentication.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import isawaitable, iscoroutine

from ..concurrency.callables import check_parameters, describe, is_async
from ..errors import ConfigurationError
from ..http.grammar import is_method
from ..http.headers import add_vary, check_name
from ..http.origins import EXPECTED, NULL, is_origin
from ..remedies import names_keywords
from ..request import Handler, Request
from ..response import Response


class CORS:
    """Middleware that lets scripts of other origins read the responses, errors too.

    `origins` is "*", one origin, several, or a function that returns whether the given origin may
    read. Origins look like "https://shop.example", "capacitor://app", "file://" or "null". Every
    page can have the origin "null", so it never gets credentials.
    `methods` are the methods that a preflight allows, None for all of the path; `headers` the
    request fields that it allows. `expose` are the response fields that a script may read.
    `credentials` allows cookies, and `max_age` is how many seconds a browser keeps a preflight.

    A response that already has `Access-Control-Allow-Origin` stays as it is. CORS restrains no
    client: it tells browsers which responses a script may read.

    Raises: ConfigurationError for an invalid argument, and for `*` or "null" with credentials.

        app.use(CORS("https://shop.example", credentials=True))
    """

    @names_keywords
    def __init__(
        self,
        origins: str | Iterable[str] | Callable[[str], bool],
        *,
        methods: Iterable[str] | None = None,
        headers: Iterable[str] = ("Authorization", "Content-Type"),
        expose: Iterable[str] = (),
        credentials: bool = False,
        max_age: int = 600,
    ) -> None:
        allowed, exposed = _names("headers", headers), _names("expose", expose)
        self._methods = None if methods is None else _methods(methods)
        self._allows: Callable[[str], bool]
        self._only: str | None = None  # sent to all clients, so that no response varies by origin
        if callable(origins):
            self._allows = _for_valid_origins(origins, may_be_null=not credentials)
        else:
            listed = frozenset([origins] if isinstance(origins, str) else origins)
            if listed != {"*"}:
                for origin in listed:
                    _check_origin(origin)
            if credentials and NULL in listed:
                raise ConfigurationError(
                    "CORS: every page can have the origin 'null', so it can't get credentials: "
                    "remove 'null' or credentials=True"
                )
            if len(listed) == 1:
                (self._only,) = listed
            self._allows = listed.__contains__
        if credentials and "*" in (self._only, *allowed, *exposed):
            raise ConfigurationError(
                "CORS: browsers refuse '*' together with credentials: list each origin and field "
                "instead of '*'"
            )
        shared = {"Access-Control-Allow-Credentials": "true"} if credentials else {}
        self._fields = dict(shared)
        if exposed:
            self._fields["Access-Control-Expose-Headers"] = ", ".join(exposed)
        self._preflight_fields = shared | {"Access-Control-Max-Age": str(max_age)}
        if allowed:
            self._preflight_fields["Access-Control-Allow-Headers"] = ", ".join(allowed)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.line.method == "OPTIONS":
            method = request.headers.get("access-control-request-method")
            if method is not None and "origin" in request.headers:
                allowed = self._methods_at(request, method)
                if allowed is not None:
                    fields = {"Access-Control-Allow-Methods": ", ".join(allowed)}
                    answer = Response(b"", 204)
                    return self._permit(request, answer, self._preflight_fields | fields)
        return self._permit(request, await call_next(request), self._fields)

    def _permit(self, request: Request, response: Response, fields: dict[str, str]) -> Response:
        """Add the fields that let the request's origin read the response, if it is allowed."""
        headers = response.headers
        if "access-control-allow-origin" in headers.lines:
            return response
        origin = self._only
        if origin is None:
            # A cache must not give one origin's response to another, or to a client without one.
            add_vary(headers, "Origin")
            origin = request.headers.get("origin")
            if origin is None or not self._allows(origin):
                return response
        headers["Access-Control-Allow-Origin"] = origin
        for name, value in fields.items():
            headers[name] = value
        return response

    def _methods_at(self, request: Request, wanted: str) -> tuple[str, ...] | None:
        """Return the methods that a preflight allows at its path; None if it has no route."""
        match = request.match
        there = match.allowed if match is not None else ()
        if not there:
            if match is None or match.route is None:
                return None
            there = (wanted,)  # the application's own OPTIONS route: other methods are unknown
            if not is_method(wanted):
                return None
        if self._methods is None:
            return there
        return tuple(method for method in there if method in self._methods)


def _for_valid_origins(
    function: Callable[[str], bool], *, may_be_null: bool
) -> Callable[[str], bool]:
    """Return a function that calls `function` for valid origins, and refuses all others."""

    check_parameters(function, "CORS: the function of origins", "origin")
    if is_async(function):
        raise _must_be_plain(function)

    def allows(origin: str) -> bool:
        if not is_origin(origin) or (origin == NULL and not may_be_null):
            return False
        is_allowed = function(origin)
        if isawaitable(is_allowed):  # an awaitable is true even if its result is False
            if iscoroutine(is_allowed):
                is_allowed.close()
            raise _must_be_plain(function)
        return bool(is_allowed)

    return allows


def _must_be_plain(function: Callable[[str], bool]) -> ConfigurationError:
    return ConfigurationError(
        f"CORS: {describe(function)}: expected a plain def that returns whether the origin may "
        "read, got an async one: load the origins before, and keep them in a set"
    )


def _check_origin(origin: str) -> None:
    shown = f"CORS: origin {origin!r:.80}"
    if origin == "*":
        raise ConfigurationError(f"{shown} allows every origin: leave the others out")
    if not is_origin(origin):
        raise ConfigurationError(f"{shown}: expected it {EXPECTED}; for a pattern pass a function")


def _methods(methods: Iterable[str]) -> frozenset[str]:
    given = frozenset([methods] if isinstance(methods, str) else methods)
    for method in given:
        if method == "*":
            raise ConfigurationError(
                "CORS: expected methods such as 'PUT', got '*': leave `methods` out to allow every "
                "method of the path"
            )
        if is_method(method):
            continue
        raise ConfigurationError(f"CORS: expected methods such as 'PUT', got {method!r:.80}")
    return given


def _names(option: str, names: Iterable[str]) -> tuple[str, ...]:
    given = (names,) if isinstance(names, str) else tuple(names)
    try:
        return tuple(check_name(name) for name in given)
    except ValueError as error:
        raise ConfigurationError(f"CORS: {option}: {error}") from error
