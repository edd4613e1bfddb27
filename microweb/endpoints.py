"""A user's function -> Handler, worked out once from its signature.

`bind` says how each parameter gets its value: the request, a path parameter, or the query, by name
and annotation. `make_handler` puts around it what every endpoint needs: the call (a plain `def`
goes to a thread), the conversion of what it returned, and the answer to what it raised. What fits
nothing is a ConfigurationError at registration and not a surprise at the first request.
"""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from .errors import ConfigurationError, InvalidValue, MissingValue
from .jsoncodec import encode_json
from .multidict import parse_bool
from .patterns import BUILT_IN, Converter
from .request import Request
from .response import HTML, JSON, TEXT, Fields, Response
from .router import Route
from .threads import run_in_thread

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
OnError = Callable[[Request, Exception], Awaitable[Response]]
Finish = Callable[[object, Request], Response]
Getter = Callable[[Request], object]

_log = logging.getLogger("microweb.app")

_INT = re.compile(r"[+-]?[0-9]{1,1000}")
_MISSING = inspect.Parameter.empty
_PATH_TYPES: dict[object, str] = {str: "str", int: "int", float: "float", UUID: "uuid"}


# --- binding --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signature:
    """What an endpoint wants: its parameters with their annotations, and what kind it is."""

    function: Callable[..., object]
    parameters: Mapping[str, inspect.Parameter]
    hints: Mapping[str, object]
    is_async: bool  # call it on the loop: what it returns may have to be awaited

    def converters(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return the converter that each path parameter's annotation stands for, where it does."""
        found = {}
        for name in names:
            kind = _PATH_TYPES.get(_without_none(self.hints.get(name)))
            if kind is not None:
                found[name] = kind
        return found


def inspect_endpoint(function: Callable[..., object]) -> Signature:
    """Read a function's signature. Raises: ConfigurationError for one that has none."""
    inner = inspect.unwrap(function)
    try:
        own = inspect.signature(function, follow_wrapped=False).parameters
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{describe(function)}: expected a function as endpoint"
        ) from error
    parameters = dict(own)
    if inner is not function and _has_kind(own, inspect.Parameter.VAR_KEYWORD):
        # A decorator's `**kwargs`: by name it can take whatever the function inside wants.
        has_request = any(map(_takes_request, own, (_hints(function).get(name) for name in own)))
        for name, parameter in inspect.signature(inner).parameters.items():
            is_request = _takes_request(name, _hints(inner).get(name))
            if name not in own and not (is_request and has_request):
                parameters[name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    called = function if inspect.isroutine(function) else type(function).__call__
    is_async = any(
        check(candidate)
        for candidate in (function, called, inner)
        for check in (
            inspect.iscoroutinefunction,
            inspect.isasyncgenfunction,
            inspect.isgeneratorfunction,
        )
    )
    return Signature(function, parameters, _hints(inner) | _hints(function), is_async)


def bind(
    signature: Signature, path: Mapping[str, str], converters: Mapping[str, Converter] = BUILT_IN
) -> Callable[[Request], object]:
    """Return a function that calls the endpoint for a request; `path` is name -> converter name.

    Raises: ConfigurationError that names function, parameter and remedy.
    """
    function = signature.function
    positional: list[Getter] = []
    named: dict[str, Getter] = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            taken = set(signature.parameters)
            named |= {each: _path_getter(each) for each in path if each not in taken}
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            if _wants_bare_request(signature):
                positional.append(_itself)
        elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            positional.append(_getter(signature, name, parameter, path, converters))
        else:
            named[name] = _getter(signature, name, parameter, path, converters)
    if not _has_kind(signature.parameters, inspect.Parameter.VAR_KEYWORD):
        for name in path:
            if name not in signature.parameters:
                raise ConfigurationError(
                    f"{describe(function)}: the path has {{{name}}}, add a parameter {name!r}"
                )
    return _fastest_call(function, positional, named, path)


def _fastest_call(
    function: Callable[..., object],
    positional: list[Getter],
    named: dict[str, Getter],
    path: Mapping[str, str],
) -> Callable[[Request], object]:
    """Return the plainest call that does it: the general one costs 0.5 us more."""
    if not positional and not named:
        return lambda request: function()
    if not positional and all(getter is _itself for getter in named.values()) and len(named) == 1:
        (only,) = named
        if _is_first(function, only):
            return function
    if not positional and named.keys() == path.keys():
        return lambda request: function(**request.match.params)  # type: ignore[union-attr]

    def call(request: Request) -> object:
        arguments = {name: getter(request) for name, getter in named.items()}
        return function(*[getter(request) for getter in positional], **arguments)

    return call


def _getter(
    signature: Signature,
    name: str,
    parameter: inspect.Parameter,
    path: Mapping[str, str],
    converters: Mapping[str, Converter],
) -> Getter:
    hint = signature.hints.get(name, parameter.annotation)
    if name in path:
        _check_path_type(signature, name, hint, path[name])
        return _path_getter(name)
    if _takes_request(name, hint):
        return _itself
    getter = _query_getter(name, hint, parameter.default)
    if getter is None:
        raise ConfigurationError(
            f"{describe(signature.function)}: parameter {name!r} fits nothing: name it as a path "
            "parameter or 'request', or annotate it with str, int, float, bool, UUID, an Enum or "
            "a list of one to have it from the query"
        )
    return getter


def _itself(request: Request) -> object:
    return request


def _path_getter(name: str) -> Getter:
    return lambda request: request.match.params[name]  # type: ignore[union-attr]


def _check_path_type(signature: Signature, name: str, hint: object, converter: str) -> None:
    said = _PATH_TYPES.get(_without_none(hint))
    fits = said in (None, converter) or (said == "str" and converter == "path")
    if not fits and converter in BUILT_IN:
        raise ConfigurationError(
            f"{describe(signature.function)}: {name!r} is {said} by its annotation and "
            f"{converter} by the path: make them agree"
        )


def _query_getter(name: str, hint: object, default: object) -> Getter | None:
    """Return how a query parameter is read; None where its annotation is not one of those."""
    hint = _without_annotated(hint)
    if get_origin(hint) is list or hint is list:
        parse_item = _scalar_parser(*(get_args(hint) or (str,)))
        if parse_item is None:
            return None

        def get_list(request: Request) -> object:
            texts = request.query.get_all(name)
            if not texts and default is not _MISSING:
                return default
            return [_parsed(name, text, parse_item) for text in texts]

        return get_list
    parse = _scalar_parser(_without_none(hint))
    if parse is None:
        return None
    if default is _MISSING and _without_none(hint) is not hint:
        default = None

    def get(request: Request) -> object:
        text = request.query.get(name)
        if text is not None:
            return _parsed(name, text, parse)
        if default is _MISSING:
            raise MissingValue(f"missing query parameter {name!r}")
        return default

    return get


def _parsed(name: str, text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidValue(f"query parameter {name!r}: {error}") from error


def _scalar_parser(kind: object) -> Callable[[str], object] | None:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_parse_enum, {str(member.value): member for member in kind})
    return _SCALARS.get(kind)


def _parse_int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError(f"expected an integer, got {text[:80]!r}")
    return int(text)


def _parse_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise ValueError(f"expected a number, got {text[:80]!r}")
    return value


def _parse_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError(f"expected a UUID, got {text[:80]!r}") from None


def _parse_enum(members: Mapping[str, Enum], text: str) -> Enum:
    member = members.get(text)
    if member is None:
        raise ValueError(f"expected one of {', '.join(members)}, got {text[:80]!r}")
    return member


_SCALARS: dict[object, Callable[[str], object]] = {
    str: str,
    int: _parse_int,
    float: _parse_float,
    bool: parse_bool,
    UUID: _parse_uuid,
}


def _takes_request(name: str, hint: object) -> bool:
    if isinstance(hint, type):
        return issubclass(hint, Request)
    return name == "request"


def _wants_bare_request(signature: Signature) -> bool:
    """Whether `*args` should be given the request: nothing else takes it."""
    return (
        not any(_takes_request(name, signature.hints.get(name)) for name in signature.parameters)
        and inspect.unwrap(signature.function) is signature.function
    )


def _is_first(function: Callable[..., object], name: str) -> bool:
    first = next(iter(inspect.signature(function, follow_wrapped=False).parameters.values()))
    return first.name == name and first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def _has_kind(parameters: Mapping[str, inspect.Parameter], kind: object) -> bool:
    return any(parameter.kind is kind for parameter in parameters.values())


def _hints(function: Callable[..., object]) -> dict[str, object]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return get_type_hints(getattr(target, "func", target), include_extras=True)
    except (NameError, TypeError, AttributeError):
        # A name that exists for type checkers alone: judged by what can be read.
        return {
            name: hint
            for name, hint in getattr(target, "__annotations__", {}).items()
            if not isinstance(hint, str)
        }


def _without_annotated(hint: object) -> object:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _without_none(hint: object) -> object:
    hint = _without_annotated(hint)
    if get_origin(hint) in (Union, UnionType):
        members = [member for member in get_args(hint) if member is not NoneType]
        if len(members) == 1:
            return members[0]
    return hint


def describe(function: Callable[..., object]) -> str:
    """Return what a person finds a function by: `show_user (app.py:12)`."""
    inner = inspect.unwrap(function)
    name = getattr(inner, "__qualname__", type(inner).__name__).removeprefix("<locals>.")
    code = getattr(inner, "__code__", None)
    if code is None:
        return f"{name}()"
    return f"{name}() at {code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}"


# --- calling --------------------------------------------------------------------------


def make_handler(
    route: Route,
    call: Callable[[Request], object],
    is_async: bool,
    finish: Finish,
    on_error: OnError,
) -> Handler:
    """Return the handler of an endpoint: call, convert, and answer what it raised."""
    if not is_async:
        call = in_thread(str(route), call)

    async def handle(request: Request) -> Response:
        try:
            value = call(request)
            if hasattr(value, "__await__"):
                value = await value
            response = finish(value, request)
            return response if type(response) is Response else await response.prepare(request)
        except Exception as error:
            return await on_error(request, error)

    return handle


def in_thread(label: str, call: Callable[..., object]) -> Callable[..., Awaitable[object]]:
    """Return `call` as a function that runs it in the pool of threads."""
    return lambda *arguments: run_in_thread(label, partial(call, *arguments))


# --- what was returned ----------------------------------------------------------------


class ReturnConverter:
    """Turns what one endpoint returns into a Response: `finish(value, request)`.

    str -> text, what has `__html__` -> a page, bytes -> octets, dict, list and dataclasses -> JSON,
    None -> 204, generators -> a stream, (value, status), (value, headers), (value, status,
    headers); a Response as it is. Raises: TypeError that names the endpoint for anything else.
    """

    __slots__ = ("_endpoint", "_hints_left", "_json_default", "_says_none")

    def __init__(
        self,
        endpoint: Callable[..., object],
        json_default: Callable[[object], object] | None,
        *,
        debug: bool = False,
    ) -> None:
        self._endpoint = endpoint
        self._json_default = json_default
        self._hints_left = {"none", "markup"} if debug else set()
        self._says_none = "return" in getattr(endpoint, "__annotations__", {})

    def __call__(self, value: object, request: Request | None) -> Response:
        if self._hints_left and request is not None:
            self._hint(value, request)
        kind = type(value)
        if kind is str:
            return Response(value.encode(), content_type=TEXT)  # type: ignore[attr-defined]
        if kind is Response:
            return value  # type: ignore[return-value]
        if kind is dict or kind is list:
            return Response(encode_json(value, self._json_default), content_type=JSON)
        if kind is tuple:
            return self._from_tuple(value, request)  # type: ignore[arg-type]
        return self._from_other(value)

    def _from_other(self, value: object) -> Response:
        if isinstance(value, Response):
            return value
        if value is None:
            return Response(b"", 204)
        as_html = getattr(value, "__html__", None)
        if as_html is not None:
            return Response(str(as_html()).encode(), content_type=HTML)
        if isinstance(value, (dict, list)) or (is_dataclass(value) and not isinstance(value, type)):
            return Response(encode_json(value, self._json_default), content_type=JSON)
        if isinstance(value, str):
            return Response(value.encode(), content_type=TEXT)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return Response(bytes(value), content_type="application/octet-stream")
        if isinstance(value, (AsyncIterator, Iterator)):
            return Response.stream(value)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError(f"{describe(self._endpoint)} returned a coroutine: forgot await?")
        raise TypeError(
            f"{describe(self._endpoint)} returned {type(value).__name__}: expected str, bytes, "
            "dict, list, a dataclass, None, a generator, a Response or a tuple of these"
        )

    def _from_tuple(self, value: tuple[object, ...], request: Request | None) -> Response:
        content, status, headers = _parts(value)
        if status is None and headers is None:
            raise TypeError(
                f"{describe(self._endpoint)} returned a tuple that is none of (value, status), "
                "(value, headers) and (value, status, headers)"
            )
        response = self(content, request) if content is not None else Response(b"", status or 204)
        if status is not None and response.status != status:
            response.status = status
        if headers is not None:
            pairs = headers.items() if isinstance(headers, Mapping) else headers
            for name, text in pairs:
                response.headers[name] = text
        return response

    def _hint(self, value: object, request: Request) -> None:
        """Say once what is probably a slip: only in debug."""
        endpoint = describe(self._endpoint)
        if value is None and request.method == "GET" and not self._says_none:
            self._tell("none", "%s returned None: forgot return? (annotate -> None)", endpoint)
        elif type(value) is str and value.lstrip().startswith("<"):
            self._tell("markup", "%s returned markup as text: return html(...)", endpoint)

    def _tell(self, hint: str, text: str, endpoint: str) -> None:
        if hint in self._hints_left:
            self._hints_left.discard(hint)
            _log.warning(text, endpoint)


def _parts(value: tuple[object, ...]) -> tuple[object, int | None, Fields | None]:
    """Split what an endpoint returned into content, status and header fields."""
    if len(value) == 3 and isinstance(value[1], int) and isinstance(value[2], (Mapping, list)):
        return value[0], int(value[1]), value[2]
    if len(value) == 2 and isinstance(value[1], int):
        return value[0], int(value[1]), None
    if len(value) == 2 and isinstance(value[1], (Mapping, list)):
        return value[0], None, value[1]
    return value, None, None
