"""Spans by the real SDK of OpenTelemetry, kept in memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from support.processes import ENVIRONMENT
from support.serving import DEADLINE_S, QUICK_S, get, on_loopback, peer_of, statuses

from microweb import App, HTTPError, Request, Response, WebSocket, abort
from microweb.middleware.tracing import Tracing
from microweb.testing.misbehaving import Misbehaving

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
CLOSED = "Connection: close"


class Traced:
    """An app whose spans are kept."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(**options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.current: list[str] = []  # the names of the spans that code of the application saw
        self.release = asyncio.Event()
        self.app = app = App()
        app.use(Tracing(tracer_provider=self.provider))
        app.get("/users/{id}")(self.user)
        app.post("/users/{id}")(self.user)
        app.get("/threaded")(self.threaded)
        app.get("/fail")(self.fail)
        app.get("/missing")(self.missing)
        app.get("/unavailable")(self.unavailable)
        app.get("/value")(self.value)
        app.get("/stream")(self.stream)
        app.get("/cut")(self.cut)
        app.get("/wait")(self.wait)
        app.websocket("/socket")(self.socket)
        app.errorhandler(ValueError)(self.on_value)

    def see(self) -> None:
        span = trace.get_current_span()
        self.current.append(getattr(span, "name", "none"))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    async def until_ended(self, count: int = 1) -> list[ReadableSpan]:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.spans) < count:
                await asyncio.sleep(QUICK_S)
        return list(self.spans)

    async def user(self, request: Request, id: int) -> dict[str, object]:
        self.see()
        return {"trace": request.exchange.trace_id, "span": request.exchange.span_id}

    def threaded(self) -> str:
        self.see()
        return "in a thread"

    async def fail(self) -> None:
        raise LookupError("of the application")

    async def missing(self) -> None:
        abort(404)

    async def unavailable(self) -> None:
        raise HTTPError(503)

    async def value(self) -> None:
        raise ValueError("of the client")

    async def on_value(self, error: ValueError) -> Response:
        return Response("no", 400)

    async def stream(self) -> AsyncIterator[str]:
        self.see()
        yield "first"
        await self.release.wait()
        self.see()
        yield "last"

    async def cut(self) -> AsyncIterator[str]:
        yield "first"
        await self.release.wait()
        raise LookupError("in the middle")

    async def wait(self) -> str:
        self.see()
        await self.release.wait()
        return "at last"

    async def socket(self, socket: WebSocket) -> None:
        self.see()
        await socket.accept()
        self.see()
        text = await socket.receive()
        if text == "fail":
            raise LookupError("in the middle")
        if text == "deny":
            raise HTTPError(403)
        await socket.send(text)


@pytest.fixture
def traced() -> Traced:
    return Traced()


async def ask(traced: Traced, *requests: bytes) -> bytes:
    """Send the requests in one write, the last one with `Connection: close`."""
    async with on_loopback(traced.app) as server, peer_of(server) as peer:
        await peer.send(b"".join(requests))
        answer = await peer.read_all()
    return answer


async def span_of(traced: Traced, request: bytes) -> ReadableSpan:
    await ask(traced, request)
    (span,) = await traced.until_ended()
    return span


def ids(span: ReadableSpan) -> tuple[str, str]:
    found = span.context
    assert found is not None
    return f"{found.trace_id:032x}", f"{found.span_id:016x}"


def exception_types(span: ReadableSpan) -> list[object]:
    return [dict(each.attributes or {})["exception.type"] for each in span.events]


# --- the name, the attributes and the parent


async def test_span_has_the_name_of_the_route_and_its_parent(traced: Traced) -> None:
    fields = (f"traceparent: {PARENT}", "tracestate: congo=t61,rojo=00f0", "User-Agent: curl")
    answer = await ask(traced, get("/users/7?page=2&sig=secret", *fields, CLOSED))
    (span,) = traced.spans
    assert (span.name, span.kind) == ("GET /users/{id}", SpanKind.SERVER)
    assert span.parent is not None and span.parent.is_remote
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.context is not None
    assert span.context.trace_state.to_header() == "congo=t61,rojo=00f0"
    assert span.status.status_code is StatusCode.UNSET and not span.events
    trace_id, span_id = ids(span)
    assert answer.endswith(f'{{"trace":"{trace_id}","span":"{span_id}"}}'.encode())
    attributes = dict(span.attributes or {})
    assert isinstance(attributes.pop("network.peer.port"), int)
    assert attributes == {
        "http.request.method": "GET",
        "http.route": "/users/{id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/users/7",
        "url.query": "page=2&sig=REDACTED",
        "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1",
        "client.address": "127.0.0.1",
        "server.address": "a",
        "user_agent.original": "curl",
    }


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        PARENT[:-1],
        f"00-{TRACE.upper()}-{SPAN}-01"[:-3],
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"{PARENT}-more",
        f"00-{TRACE}-{SPAN}-zz",
        "x" * 8000,
        "\xff" * 55,
    ],
)
async def test_a_malformed_parent_begins_a_new_trace(traced: Traced, value: str) -> None:
    lines = f"GET /users/7 HTTP/1.1\r\nHost: a\r\ntraceparent: {value}\r\n{CLOSED}\r\n\r\n"
    answer = await ask(traced, lines.encode("latin-1"))
    assert statuses(answer) == [200]
    (span,) = traced.spans
    assert span.parent is None and ids(span)[0] != TRACE


async def test_two_parents_begin_a_new_trace(traced: Traced) -> None:
    fields = (f"traceparent: {PARENT}", f"Traceparent: {PARENT}", CLOSED)
    span = await span_of(traced, get("/users/7", *fields))
    assert span.parent is None


async def test_tracestate_in_two_fields_is_joined(traced: Traced) -> None:
    fields = (f"traceparent: {PARENT}", "tracestate: a=1", "tracestate: b=2", CLOSED)
    span = await span_of(traced, get("/users/7", *fields))
    assert span.context is not None and span.context.trace_state.to_header() == "a=1,b=2"


@pytest.mark.parametrize("value", ["=", "a", "a=1,a=2", "\xff=1", "a=1," * 500])
async def test_a_malformed_tracestate_does_no_harm(
    traced: Traced, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"GET /users/7 HTTP/1.1\r\nHost: a\r\ntraceparent: {PARENT}\r\n"
    rest = f"tracestate: {value}\r\n{CLOSED}\r\n\r\n"
    assert statuses(await ask(traced, (head + rest).encode("latin-1"))) == [200]
    (span,) = traced.spans
    assert ids(span)[0] == TRACE


async def test_a_path_without_a_route_has_the_method_as_name(traced: Traced) -> None:
    span = await span_of(traced, get("/nowhere/1", CLOSED))
    attributes = dict(span.attributes or {})
    assert span.name == "GET"
    assert attributes["http.response.status_code"] == 404 and "http.route" not in attributes
    assert span.status.status_code is StatusCode.UNSET and not span.events


async def test_an_unknown_method_is_no_part_of_the_name(traced: Traced) -> None:
    span = await span_of(traced, get("/users/7", CLOSED).replace(b"GET", b"BREW"))
    attributes = dict(span.attributes or {})
    assert span.name.split()[0] == "HTTP"
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"


async def test_host_with_a_port(traced: Traced) -> None:
    raw = f"GET /users/7 HTTP/1.0\r\nHost: [::1]:8080\r\n{CLOSED}\r\n\r\n".encode()
    attributes = dict((await span_of(traced, raw)).attributes or {})
    assert (attributes["server.address"], attributes["server.port"]) == ("::1", 8080)
    assert attributes["network.protocol.version"] == "1.0"


async def test_a_host_of_digits_is_no_port(traced: Traced) -> None:
    raw = f"GET /users/7 HTTP/1.0\r\nHost: 2130706433\r\n{CLOSED}\r\n\r\n".encode()
    attributes = dict((await span_of(traced, raw)).attributes or {})
    assert attributes["server.address"] == "2130706433"
    assert "server.port" not in attributes


async def test_a_mounted_app_is_one_span_with_its_prefix(traced: Traced) -> None:
    inner = App()
    inner.use(Tracing(tracer_provider=traced.provider))

    @inner.get("/items/{id}")
    async def item(id: int) -> str:
        traced.see()
        return "an item"

    traced.app.mount("/shop", inner)
    span = await span_of(traced, get("/shop/items/3", CLOSED))
    assert span.name == "GET /shop/items/{id}" and traced.current == [span.name]


# --- the current span


async def test_the_span_is_current_in_endpoints_and_not_after_them(traced: Traced) -> None:
    assert await ask(traced, get("/users/1"), get("/threaded"), get("/users/2", CLOSED))
    assert traced.current == ["GET /users/{id}", "GET /threaded", "GET /users/{id}"]
    assert [span.parent for span in traced.spans] == [None] * 3
    assert len({ids(span)[0] for span in traced.spans}) == 3


async def test_a_span_of_the_endpoint_is_a_child(traced: Traced) -> None:
    tracer = traced.provider.get_tracer("shop")

    @traced.app.get("/query")
    async def query() -> str:
        with tracer.start_as_current_span("select"):
            return "rows"

    await ask(traced, get("/query", CLOSED))
    child, server = traced.spans
    assert (child.name, server.name) == ("select", "GET /query")
    assert child.parent is not None and f"{child.parent.span_id:016x}" == ids(server)[1]


# --- the outcome


async def test_an_exception_is_recorded_once(traced: Traced) -> None:
    span = await span_of(traced, get("/fail", CLOSED))
    assert (exception_types(span), span.status.status_code) == (["LookupError"], StatusCode.ERROR)
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == "LookupError"
    assert attributes["http.response.status_code"] == 500


async def test_the_record_of_an_error_has_the_id_of_the_trace(
    traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    await ask(traced, get("/fail", f"traceparent: {PARENT}", CLOSED))
    (record,) = caplog.records
    assert record.__dict__["trace_id"] == TRACE


async def test_a_404_of_the_endpoint_is_no_error(traced: Traced) -> None:
    span = await span_of(traced, get("/missing", CLOSED))
    assert (exception_types(span), span.status.status_code) == ([], StatusCode.UNSET)
    assert "error.type" not in dict(span.attributes or {})


async def test_a_503_of_the_endpoint_is_an_error(traced: Traced) -> None:
    span = await span_of(traced, get("/unavailable", CLOSED))
    assert exception_types(span) == ["microweb.errors.HTTPError"]
    assert span.status.status_code is StatusCode.ERROR


async def test_an_exception_that_is_answered_is_recorded_without_an_error(traced: Traced) -> None:
    span = await span_of(traced, get("/value", CLOSED))
    assert (exception_types(span), span.status.status_code) == (["ValueError"], StatusCode.UNSET)


async def test_a_client_that_leaves_ends_the_span(traced: Traced) -> None:
    async with on_loopback(traced.app) as server:
        async with peer_of(server) as peer:
            await peer.send(get("/wait"))
            while not traced.current:
                await asyncio.sleep(QUICK_S)
            await peer.reset()
        (span,) = await traced.until_ended()
    assert (span.name, span.status.status_code) == ("GET /wait", StatusCode.UNSET)
    assert "http.response.status_code" not in dict(span.attributes or {})


# --- streams and sockets


async def test_a_stream_ends_its_span_and_has_it(traced: Traced) -> None:
    async with on_loopback(traced.app) as server, peer_of(server) as peer:
        await peer.send(get("/stream"))
        await peer.read_until(b"first")
        assert not traced.spans
        traced.release.set()
        await peer.read_until(b"0\r\n\r\n")
        (span,) = await traced.until_ended()
        await peer.send(get("/users/1", CLOSED))
        await peer.read_all()
    assert span.name == "GET /stream"
    assert traced.current == ["GET /stream", "GET /stream", "GET /users/{id}"]
    assert [each.parent for each in traced.spans] == [None, None]


async def test_a_stream_that_fails_is_an_error(traced: Traced) -> None:
    async with on_loopback(traced.app) as server, peer_of(server) as peer:
        await peer.send(get("/cut"))
        await peer.read_until(b"first")
        traced.release.set()
        (span,) = await traced.until_ended()
    assert (exception_types(span), span.status.status_code) == (["LookupError"], StatusCode.ERROR)
    assert dict(span.attributes or {})["http.response.status_code"] == 200


async def test_a_stream_whose_client_leaves_ends_its_span(traced: Traced) -> None:
    async with on_loopback(traced.app) as server:
        async with peer_of(server) as peer:
            await peer.send(get("/stream"))
            await peer.read_until(b"first")
            await peer.reset()
        (span,) = await traced.until_ended()
    assert (span.name, span.status.status_code) == ("GET /stream", StatusCode.UNSET)


async def upgraded(peer: Misbehaving) -> bytes:
    fields = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    await peer.send(get("/socket", *fields, f"traceparent: {PARENT}"))
    return await peer.read_until(b"\r\n\r\n")


async def test_a_websocket_is_one_span_until_it_closes(traced: Traced) -> None:
    async with on_loopback(traced.app) as server, peer_of(server) as peer:
        assert statuses(await upgraded(peer)) == [101]
        while len(traced.current) < 2:
            await asyncio.sleep(QUICK_S)
        assert not traced.spans
        await peer.send(b"\x81\x82" + bytes(4) + b"hi")
        assert await peer.read_until(b"hi") == b"\x81\x02hi"
        (span,) = await traced.until_ended()
    assert (span.name, ids(span)[0]) == ("GET /socket", TRACE)
    assert dict(span.attributes or {})["http.response.status_code"] == 101
    assert traced.current == ["GET /socket"] * 2


@pytest.mark.parametrize(
    ("text", "status"), [(b"fail", StatusCode.ERROR), (b"deny", StatusCode.UNSET)]
)
async def test_a_websocket_that_fails(traced: Traced, text: bytes, status: StatusCode) -> None:
    async with on_loopback(traced.app) as server, peer_of(server) as peer:
        assert statuses(await upgraded(peer)) == [101]
        await peer.send(b"\x81\x84" + bytes(4) + text)
        assert (await peer.receive()).startswith(b"\x88")
        (span,) = await traced.until_ended()
    assert span.status.status_code is status


# --- other servers, samplers, and no SDK


async def test_a_request_that_is_not_sampled_keeps_its_trace() -> None:
    traced = Traced(sampler=ALWAYS_OFF)
    answer = await ask(traced, get("/users/7", f"traceparent: {PARENT}", CLOSED))
    assert f'"trace":"{TRACE}"'.encode() in answer and not traced.spans


async def test_under_another_server_a_stream_has_its_span(traced: Traced) -> None:
    traced.release.set()
    transport = httpx.ASGITransport(app=traced.app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        answer = await client.get("/stream", headers={"traceparent": PARENT})
        assert answer.text == "firstlast"
        (span,) = await traced.until_ended()
    assert (span.name, ids(span)[0]) == ("GET /stream", TRACE)
    assert traced.current == ["GET /stream"] * 2


def test_without_an_sdk_the_trace_of_the_client_is_current(tmp_path: Path) -> None:
    program = f"""
import asyncio
from opentelemetry import trace
from microweb import App
from microweb.middleware.tracing import Tracing

app = App()
app.use(Tracing())

@app.get("/")
async def index() -> str:
    return format(trace.get_current_span().get_span_context().trace_id, "032x")

async def main() -> None:
    async with app.test_client() as client:
        print((await client.get("/", headers={{"traceparent": {PARENT!r}}})).text)

asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=ENVIRONMENT,
        cwd=tmp_path,
    )
    assert (ran.stdout, ran.stderr) == (f"{TRACE}\n", "")
