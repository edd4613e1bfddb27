"""Cross-origin requests: which other sites' scripts may read this one's answers.

Fetch Standard, section 3.3, "CORS protocol" (https://fetch.spec.whatwg.org/#http-cors-protocol).

Order: the outermost, so that the fields are on every answer, errors too, and so that a preflight,
which carries no credentials, is answered before anything asks for them.
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
    """Middleware that lets scripts of other origins read the answers, errors too.

    `origins` is "*", one origin, several, or a function that is given the one that asks. Origins
    are such as "https://shop.example", "capacitor://app", "file://" or "null". Every page can make
    the last one, so it never has credentials.
    `methods` are those that a preflight allows, for None those that the path has; `headers` the
    request's fields that it allows. `expose` are the answer's fields that a script may read,
    `credentials` whether with cookies, `max_age` the seconds that a browser keeps a preflight.

    An answer that already says `Access-Control-Allow-Origin` is left as it is. This restrains no
    client: it tells browsers what they may hand to a script.

    Raises: ConfigurationError for `*` or "null" together with credentials; for what is no origin.

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
        self._only: str | None = None  # sent to all: then the answer depends on nobody
        if callable(origins):
            self._allows = _asked_about_origins(origins, may_be_null=not credentials)
        else:
            listed = frozenset([origins] if isinstance(origins, str) else origins)
            if listed != {"*"}:
                for origin in listed:
                    _check_origin(origin)
            if credentials and NULL in listed:
                raise ConfigurationError(
                    "CORS: every page can make the origin 'null', so it can't have credentials: "
                    "leave it out, or credentials=True"
                )
            if len(listed) == 1:
                (self._only,) = listed
            self._allows = listed.__contains__
        if credentials and "*" in (self._only, *allowed, *exposed):
            raise ConfigurationError(
                "CORS: browsers take no '*' where credentials are allowed: list what is meant"
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
        """Add the fields that let the origin that asks, if it may, read the answer."""
        headers = response.headers
        if "access-control-allow-origin" in headers.lines:
            return response
        origin = self._only
        if origin is None:
            # A cache must not hand what one origin got to another, nor to who sent none.
            add_vary(headers, "Origin")
            origin = request.headers.get("origin")
            if origin is None or not self._allows(origin):
                return response
        headers["Access-Control-Allow-Origin"] = origin
        for name, value in fields.items():
            headers[name] = value
        return response

    def _methods_at(self, request: Request, wanted: str) -> tuple[str, ...] | None:
        """Return the methods that a preflight allows at its path; None where nothing is there."""
        match = request.match
        there = match.allowed if match is not None else ()
        if not there:
            if match is None or match.route is None:
                return None
            there = (wanted,)  # an OPTIONS route of the application's: it knows of no others
            if not is_method(wanted):
                return None
        if self._methods is None:
            return there
        return tuple(method for method in there if method in self._methods)


def _asked_about_origins(
    function: Callable[[str], bool], *, may_be_null: bool
) -> Callable[[str], bool]:
    """Return `function`, which is asked only about what can be an origin."""

    check_parameters(function, "CORS: the function of origins", "origin")
    if is_async(function):
        raise _must_be_plain(function)

    def allows(origin: str) -> bool:
        if not is_origin(origin) or (origin == NULL and not may_be_null):
            return False
        is_allowed = function(origin)
        if isawaitable(is_allowed):  # it is true, whatever comes out of it
            if iscoroutine(is_allowed):
                is_allowed.close()
            raise _must_be_plain(function)
        return bool(is_allowed)

    return allows


def _must_be_plain(function: Callable[[str], bool]) -> ConfigurationError:
    return ConfigurationError(
        f"CORS: {describe(function)}: expected a plain def that returns whether the origin may "
        "read, got an async one: look origins up before, and keep them in a set"
    )


def _check_origin(origin: str) -> None:
    shown = f"CORS: origin {origin!r:.80}"
    if origin == "*":
        raise ConfigurationError(f"{shown}: it is every origin: leave the others out")
    if not is_origin(origin):
        raise ConfigurationError(f"{shown}: expected it {EXPECTED}; for a pattern give a function")


def _methods(methods: Iterable[str]) -> frozenset[str]:
    given = frozenset([methods] if isinstance(methods, str) else methods)
    for method in given:
        if method == "*":
            raise ConfigurationError(
                "CORS: expected methods such as 'PUT', got '*': leave methods out, and a preflight "
                "allows all that the path has"
            )
        if is_method(method):
            continue
        raise ConfigurationError(f"CORS: expected methods such as 'PUT', got {method!r:.80}")
    return given


def _names(what: str, names: Iterable[str]) -> tuple[str, ...]:
    given = (names,) if isinstance(names, str) else tuple(names)
    try:
        return tuple(check_name(name) for name in given)
    except ValueError as error:
        raise ConfigurationError(f"CORS: {what}: {error}") from error
