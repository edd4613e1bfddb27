"""How log records tell which request they are about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Protocol

from .exchange import Exchange
from .interfaces import MatchInfo
from .request_head import RequestLine


class LoggedRequest(Protocol):
    """The parts of a request that log records name."""

    line: RequestLine

    @property
    def match(self) -> MatchInfo | None: ...
    @property
    def _state(self) -> SimpleNamespace | None: ...
    @property
    def _exchange(self) -> Exchange | None: ...


def name_in_log(request: LoggedRequest) -> str:
    """Return `GET /path`, followed by the request's id in brackets if it has one."""
    request_id = request_id_of(request)
    name = f"{request.line.method} {request.line.raw_path}"
    return name if request_id is None else f"{name} [{request_id}]"


def request_id_of(request: LoggedRequest) -> str | None:
    """Return the id that the middleware `RequestID` gave a request."""
    return None if request._state is None else getattr(request._state, "request_id", None)


def route_of(request: LoggedRequest) -> str | None:
    """Return the pattern of the route, with the prefix of its app; None if no route matched."""
    match = request.match
    return None if match is None or match.route is None else match.prefix + match.route.path


def log_fields(request: LoggedRequest | None) -> dict[str, object]:
    """Return the attributes of a record about a request: see docs/reference/logging.md."""
    if request is None:
        return {"request_id": None}
    exchange = request._exchange
    return {
        "request_id": request_id_of(request),
        "route": route_of(request),
        "trace_id": None if exchange is None else exchange.trace_id,
        "span_id": None if exchange is None else exchange.span_id,
    }
