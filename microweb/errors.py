"""Every exception that microweb raises on purpose.

    MicrowebError
    ├─ ProtocolError(status, reason)       the peer broke HTTP: answer, then close the connection
    │  ├─ MalformedRequest        400      ├─ HTTPSExpected           400
    │  ├─ HeadTimeout             408      ├─ BodyTimeout             408
    │  ├─ TargetTooLong           414      ├─ HeadTooLarge            431
    │  ├─ UnknownCoding           501      ├─ UnknownMethod           501
    │  └─ UnsupportedVersion      505      └─ TLSUnexpected           400
    ├─ HTTPError(status, detail)           the answer to this request
    │  ├─ BadRequest 400  ─┬─ MissingValue (also a KeyError)
    │  │                   ├─ InvalidValue (also a ValueError)
    │  │                   └─ TooManyFields
    │  ├─ Unauthorized 401, Forbidden 403, NotFound 404, MethodNotAllowed 405, NotAcceptable 406
    │  ├─ Conflict 409, Gone 410, PreconditionFailed 412
    │  ├─ ContentTooLarge 413 ─── SessionTooLarge
    │  ├─ UnsupportedMediaType 415, RangeNotSatisfiable 416
    │  ├─ UnprocessableContent 422 ─── InvalidSessionNumber
    │  └─ TooManyRequests 429, ServiceUnavailable 503 ─── BrokerUnavailable
    ├─ ClientDisconnected                  the peer left: never a 500, never an error in the log
    ├─ LocalProtocolError                  our caller broke HTTP: a bug of the application
    │  └─ BodyConsumed                     the body was streamed, or its request is answered
    ├─ ThreadsStuck                        a plain `def` endpoint keeps the server from stopping
    └─ ConfigurationError ─── RouteConflict, MissingExtra         raised before the first request

Status codes are those of RFC 9110 section 15 and RFC 6585.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from .extras import command_for
from .faults import Fault, first_faults, place_of_fault, texts_of


class MicrowebError(Exception):
    """The root of all exceptions of microweb, which can be copied and pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default the class would be called with `args`, which are not those of its `__init__`.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


# --- the peer broke HTTP --------------------------------------------------------------


class ProtocolError(MicrowebError):
    """The peer broke HTTP. The server answers `status`, logs the reason, and closes the connection.

    `reason` is stable and contains no bytes of the peer. `got` has the bytes at fault, which may be
    secret: the message names the field and the first byte that is not `allowed`, not the value.
    """

    def __init__(
        self, status: int, reason: str, got: bytes | str | None = None, allowed: Any = None
    ) -> None:
        self.status, self.reason, self.got = status, reason, got
        super().__init__(reason + place_of_fault(got, allowed))


class _ProtocolLeaf(ProtocolError):
    _status: int

    def __init__(self, reason: str, got: bytes | str | None = None, allowed: Any = None) -> None:
        super().__init__(self._status, reason, got, allowed)


class MalformedRequest(_ProtocolLeaf):
    """The bytes are no HTTP/1.1 request. RFC 9112 sections 2.2, 3.2, 5.1, 6.3."""

    _status = 400


class HTTPSExpected(_ProtocolLeaf):
    """HTTP without TLS arrived at a port that speaks HTTPS. The answer says so."""

    _status = 400


class TLSUnexpected(_ProtocolLeaf):
    """TLS arrived at a port that speaks HTTP. The log names the remedy."""

    _status = 400


class HeadTimeout(_ProtocolLeaf):
    """The head was not complete within `head_timeout_s`. RFC 9110 section 15.5.9."""

    _status = 408


class BodyTimeout(_ProtocolLeaf):
    """The body stalled for `body_timeout_s`, or was slower than `min_body_rate`."""

    _status = 408


class TargetTooLong(_ProtocolLeaf):
    """The request line is longer than `max_request_line`. RFC 9110 section 15.5.15."""

    _status = 414


class HeadTooLarge(_ProtocolLeaf):
    """The header section exceeds a limit. RFC 6585 section 5."""

    _status = 431


class UnknownCoding(_ProtocolLeaf):
    """A transfer coding other than chunked. RFC 9112 section 6.1."""

    _status = 501


class UnknownMethod(_ProtocolLeaf):
    """CONNECT, which is for proxies. RFC 9110 section 9.3.6."""

    _status = 501


class UnsupportedVersion(_ProtocolLeaf):
    """A major version other than HTTP/1. RFC 9110 section 15.6.6."""

    _status = 505


# --- the answer to this request -------------------------------------------------------


class HTTPError(MicrowebError):
    """Raise it to answer with `status`.

    `detail` is for the client. `headers` are added to the answer. A client that asks for JSON gets
    problem details (RFC 9457), and `extra` has further members of them. The first 20 `faults` are
    their member `errors`. `text` is the detail for other clients, with a line for each fault.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        faults: Iterable[Fault] = (),
        **extra: object,
    ) -> None:
        self._begin(status, detail, headers, faults, extra)

    def _begin(
        self, status: int, detail: str, headers: Any, faults: Iterable[Fault], extra: dict[str, Any]
    ) -> None:
        if not isinstance(status, int) or not 400 <= status <= 599:
            raise ValueError(
                "expected an error status from 400 to 599 as in HTTPError(404, 'no such page'), "
                f"got {status!r:.80}"
            )
        if not isinstance(detail, str):
            raise TypeError(
                f"expected detail as a str, got {detail!r:.80}: members of problem details are "
                "keywords, as in HTTPError(409, 'taken', name='ada')"
            )
        self.status = status
        self.headers = dict(headers) if headers else {}
        self.faults: tuple[Fault, ...] = ()
        self._given, self._extra = extra, None if faults else extra
        self.detail = self.text = detail
        if faults:
            self.faults, has_more = first_faults(faults)
            self.detail, self.text = texts_of(self.faults, detail, has_more)
        self.args = (f"{status} {self.text}".rstrip(),)

    @property
    def extra(self) -> dict[str, object]:
        """The members of problem details besides `status`, `title` and `detail`."""
        if self._extra is None:  # most answers are written from the faults themselves
            self._extra = {"errors": [each.members() for each in self.faults], **self._given}
        return self._extra

    def __str__(self) -> str:
        return str(self.args[0])


def has_only_faults(error: HTTPError) -> bool:
    """Return whether the `extra` of an error has only its faults; False if that was used."""
    return error._extra is None and not error._given


class _StatusLeaf(HTTPError):
    _status: int

    def __init__(
        self,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        faults: Iterable[Fault] = (),
        **extra: object,
    ) -> None:
        self._begin(self._status, detail, headers, faults, extra)


def status_of_class(error: type[HTTPError]) -> int | None:
    """Return the status of all errors of a class; None if each error has its own."""
    if issubclass(error, _StatusLeaf):
        return error._status
    return 405 if issubclass(error, MethodNotAllowed) else None


class BadRequest(_StatusLeaf):
    """400: the request can't be understood."""

    _status = 400


class MissingValue(BadRequest, KeyError):
    """400: a value is missing, and the message names it. Also a `KeyError`."""


class InvalidValue(BadRequest, ValueError):
    """400: a value is invalid, and the message names it. Also a `ValueError`."""


class TooManyFields(BadRequest):
    """400: more fields in a query or a form than `max_form_fields`."""


class Unauthorized(_StatusLeaf):
    """401: credentials are needed. Name their scheme in `headers={"WWW-Authenticate": ...}`."""

    _status = 401


class Forbidden(_StatusLeaf):
    """403: the request is understood, but refused."""

    _status = 403


class NotFound(_StatusLeaf):
    """404: nothing is at this path."""

    _status = 404


class MethodNotAllowed(HTTPError):
    """405: the path answers other methods, those in `allowed` (sent as `Allow`)."""

    def __init__(
        self,
        allowed: Iterable[str],
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        faults: Iterable[Fault] = (),
        **extra: object,
    ) -> None:
        self.allowed = tuple(sorted(allowed))
        fields = {**(headers or {}), "Allow": ", ".join(self.allowed)}
        super().__init__(405, detail, headers=fields, faults=faults, **extra)


class NotAcceptable(_StatusLeaf):
    """406: there is no representation that the client accepts."""

    _status = 406


class Conflict(_StatusLeaf):
    """409: the request conflicts with the current state of the resource."""

    _status = 409


class Gone(_StatusLeaf):
    """410: the resource was removed and will not come back."""

    _status = 410


class PreconditionFailed(_StatusLeaf):
    """412: a precondition of the request is false."""

    _status = 412


class ContentTooLarge(_StatusLeaf):
    """413: the body is larger than its limit."""

    _status = 413


class SessionTooLarge(ContentTooLarge):
    """413: the session would be longer, or nested more deeply, than its cookie or store allows."""


class UnsupportedMediaType(_StatusLeaf):
    """415: the media type or charset of the body is not supported."""

    _status = 415


class RangeNotSatisfiable(_StatusLeaf):
    """416: the requested ranges are outside the content. Send its size in `Content-Range`."""

    _status = 416


class UnprocessableContent(_StatusLeaf):
    """422: the content is well-formed, but does not have the expected shape."""

    _status = 422


class InvalidSessionNumber(UnprocessableContent):
    """422: the session would have a number that JSON can't write.

    That is NaN, an infinity, or an int with more digits than Python converts, 4300 by default.
    """


class TooManyRequests(_StatusLeaf):
    """429: the client sends too many requests. RFC 6585 section 4."""

    _status = 429


class ServiceUnavailable(_StatusLeaf):
    """503: the server can't answer this request at the moment."""

    _status = 503


class BrokerUnavailable(ServiceUnavailable):
    """503: the broker of channels does not answer, or refuses. `__cause__` is its error.

    A message whose publishing raised this may have been published or not.
    """


def abort(
    status: int,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    faults: Iterable[Fault] = (),
    **extra: object,
) -> NoReturn:
    """Raise the `HTTPError` of this status: `abort(404, "no such user")`."""
    leaf = _LEAVES.get(status)
    if leaf is not None:
        raise leaf(detail, headers=headers, faults=faults, **extra)
    raise HTTPError(status, detail, headers=headers, faults=faults, **extra)


_LEAVES: dict[int, type[_StatusLeaf]] = {
    leaf._status: leaf for leaf in _StatusLeaf.__subclasses__()
}


# --- errors that are no answer --------------------------------------------------------


class ClientDisconnected(MicrowebError):
    """The peer left before the exchange was over."""


def is_disconnect(error: BaseException) -> bool:
    """Return whether an error is a ClientDisconnected, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(ClientDisconnected)[1] is None
    return isinstance(error, ClientDisconnected)


def sole_error(error: BaseException) -> BaseException:
    """Return the HTTPError or ProtocolError that is the only leaf of a group; else `error`.

    Leaves that are a ClientDisconnected do not count.
    """
    rest = error
    while isinstance(rest, BaseExceptionGroup):
        rest = rest.split(ClientDisconnected)[1] or rest
        if len(rest.exceptions) != 1:
            return error
        rest = rest.exceptions[0]
    return rest if isinstance(rest, (HTTPError, ProtocolError)) else error


class LocalProtocolError(MicrowebError):
    """The application would have broken HTTP. The invalid part was not sent."""


class BodyConsumed(LocalProtocolError):
    """The body is no longer available: it was streamed and not kept, or its request is answered.

    Read it with `body()` before you answer: this keeps it for as long as the request.
    """


class ThreadsStuck(MicrowebError):
    """The server has stopped, but plain `def` code still runs in a thread, which can't be ended.

    `places` has a text for each thread: its code in the first line, then its stack.
    """

    def __init__(self, places: Iterable[str]) -> None:
        self.places = tuple(places)
        routes = "; ".join(place.partition("\n")[0] for place in self.places)
        super().__init__(f"still running in a thread after grace_s: {routes}")


class ConfigurationError(MicrowebError):
    """The application or the server is set up wrongly; the message names the remedy."""


class RouteConflict(ConfigurationError):
    """Two routes would answer the same method at the same shape of path."""


class MissingExtra(ConfigurationError):
    """A part of microweb needs a package that is not installed."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} needs the extra {extra}: {command_for(extra)}")
