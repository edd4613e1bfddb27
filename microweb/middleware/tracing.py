"""Tracing: one server span for each request, by OpenTelemetry.

The span has the name `GET /users/{id}` and the attributes of the stable semantic conventions for
HTTP (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). It continues the trace of the
client that sends `traceparent` (W3C Trace Context, https://www.w3.org/TR/trace-context/). It ends
with the exchange, so that of a stream or a WebSocket ends with its last piece. There are no spans
for single reads and writes.

This module needs only the API of OpenTelemetry. The application chooses the SDK and its exporter;
without an SDK no span is recorded, but the trace of the client is still the current one.

Order: outside all middleware that takes time or answers, so that the span has all of it. Inside
`Health`, so that probes have no spans.
"""

from __future__ import annotations

import re

from ..bodies.body import WrittenBody
from ..errors import ConfigurationError, HTTPError, MissingExtra, ServiceUnavailable
from ..http.headers import Headers
from ..http.interfaces import Address
from ..http.request_log import route_of
from ..request import Handler, Request
from ..response import Response

try:
    from opentelemetry import context, propagate, trace
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as error:
    raise MissingExtra("Tracing", "opentelemetry") from error

_SCHEMA = "https://opentelemetry.io/schemas/1.23.0"  # the first one with the stable names
_METHODS = frozenset("CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE".split())

# Values of a query that are signatures; the semantic conventions name them.
_SECRET = re.compile(r"(?<![^&])(AWSAccessKeyId|Signature|sig|X-Goog-Signature)=[^&]*+")


class Tracing:
    """Record a server span for each request: `app.use(Tracing())`, before other middleware.

    The span is current in the endpoint, and in the pieces of a stream. `tracer_provider` is the
    provider of the SDK; by default it is the global one. The global propagators read the trace of
    the client, so that `OTEL_PROPAGATORS` chooses other fields than `traceparent` and `baggage`.

    An exception that is a 5xx is recorded, and sets the status of the span to error. Every other
    exception of the application is recorded too, unless it is an `HTTPError`.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("microweb", None, tracer_provider, _SCHEMA)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        exchange = request.exchange
        if exchange.trace_id is not None:  # by the same middleware of an outer app
            return await call_next(request)
        parent = propagate.extract(request.headers, getter=_FIELDS)
        span = self._tracer.start_span(
            _name_of(request), parent, SpanKind.SERVER, _attributes_of(request)
        )
        ids = span.get_span_context()
        if ids.is_valid:
            exchange.trace_id = trace.format_trace_id(ids.trace_id)
            exchange.span_id = trace.format_span_id(ids.span_id)
        token = context.attach(trace.set_span_in_context(span, parent))
        is_open = False  # whether the span ends later
        try:
            response = await call_next(request)
            status, is_open = response.status, _ends_later(request, response, span)
            if span.is_recording():
                span.set_attribute("http.response.status_code", status)
                if not is_open:
                    _record_outcome(span, request, status)
            return response
        finally:
            if not is_open:
                span.end()
                context.detach(token)
            # Otherwise the pieces of the response run in this context. The next request of the
            # connection has another one.


def _ends_later(request: Request, response: Response, span: Span) -> bool:
    """Let the span end after the last piece of a response that writes itself."""
    if not isinstance(response.source, WrittenBody):
        return False
    status, answered = response.status, request.error

    async def end() -> None:
        error = request.error
        is_cut = error is not answered and not (status == 101 and _is_answer(error))
        _record_outcome(span, request, status, is_cut=is_cut)
        span.end()

    try:
        request.after_response(end)
    except ServiceUnavailable:  # too many background tasks
        return False
    return True


def _is_answer(error: BaseException | None) -> bool:
    """Whether an endpoint has closed a WebSocket by an exception that is no fault."""
    return isinstance(error, HTTPError) and error.status < 500


def _record_outcome(span: Span, request: Request, status: int, *, is_cut: bool = False) -> None:
    """Record the exception. `is_cut`: it has ended a response after its head."""
    error = request.error
    is_fault = status >= 500 or is_cut
    if error is not None and (is_fault or not isinstance(error, HTTPError)):
        span.record_exception(error)
    if is_fault:
        span.set_attribute("error.type", str(status) if error is None else _type_of(error))
        span.set_status(Status(StatusCode.ERROR))


def _type_of(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _name_of(request: Request) -> str:
    method = request.line.method if request.line.method in _METHODS else "HTTP"
    route = route_of(request)
    return method if route is None else f"{method} {route}"


def _peer_of(request: Request) -> Address | None:
    try:
        return request.peer
    except ConfigurationError:  # another ASGI server does not tell it
        return None


def _attributes_of(request: Request) -> dict[str, str | int]:
    line = request.line
    is_known = line.method in _METHODS
    attributes: dict[str, str | int] = {
        "http.request.method": line.method if is_known else "_OTHER",
        "url.scheme": request.scheme,
        "url.path": line.raw_path,
        "network.protocol.version": f"1.{request.section.minor_version}",
    }
    if not is_known:
        attributes["http.request.method_original"] = line.method
    if line.query_string:
        attributes["url.query"] = _SECRET.sub(r"\1=REDACTED", line.query_string)
    route = route_of(request)
    if route is not None:
        attributes["http.route"] = route
    if host := request.hostname:
        attributes["server.address"] = host
        _, colon, port = request.host.rpartition(":")
        if colon and port.isdecimal():
            attributes["server.port"] = int(port)
    peer, client = _peer_of(request), request.client
    if peer is not None and peer.port:
        attributes["network.peer.address"] = peer.host
        attributes["network.peer.port"] = peer.port
    if client is not None:
        attributes["client.address"] = client.host
    agent = request.headers.by_name.get("user-agent")
    if agent:
        attributes["user_agent.original"] = agent
    return attributes


class _Fields(Getter[Headers]):
    """The header fields of a request, for the propagators."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """Return the values of a field. Two values of `traceparent` are not valid."""
        if key not in carrier:
            return None
        values = carrier.get_all(key)
        return None if key.lower() == "traceparent" and len(values) > 1 else values

    def keys(self, carrier: Headers) -> list[str]:
        """Return the names of all fields."""
        return list(carrier)


_FIELDS = _Fields()
