"""The client of a request under another ASGI server: its address, and what happens if it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.asgi import Exchanged, answered, body_of, http_scope
from support.serving import DEADLINE_S

from microweb import App, Request, Response
from microweb.middleware.https import HTTPSRedirect

GONE = {"type": "http.disconnect"}


def telling(name: str) -> App:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        return repr(getattr(request, name))

    return app


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (("192.0.2.7", 5), b"Address(host='192.0.2.7', port=5)"),
        (("::ffff:192.0.2.7", 5), b"Address(host='192.0.2.7', port=5)"),
        (["2001:db8::1", None], b"Address(host='2001:db8::1', port=0)"),
        (None, b"None"),
        (["", 0], b"None"),
    ],
)
async def test_client(client: Any, shown: bytes) -> None:
    assert (await answered(telling("client"), http_scope(client=client)))[2] == shown


@pytest.mark.parametrize("server", [("192.0.2.80", 8000), ["/run/a", None], None])
async def test_the_server_is_the_one_of_the_scope(server: Any) -> None:
    app = App()

    async def show(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr(scope["server"]).encode()})

    app.mount("/old", show)
    shown = (await answered(app, http_scope(path="/old", raw_path=b"/old", server=server)))[2]
    assert shown == repr(None if server is None else tuple(server)).encode()


async def test_a_mounted_application_by_https() -> None:
    """The other server does not tell more about TLS than the scheme."""
    app = App()

    async def show(scope: Any, receive: Any, send: Any) -> None:
        told = scope["scheme"], sorted(scope["extensions"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr(told).encode()})

    app.mount("/old", show)
    scope = http_scope(path="/old", raw_path=b"/old", scheme="https")
    status, _, shown = await answered(app, scope)
    assert status == 200 and b"'https'" in shown and b"tls" not in shown


async def test_scheme_and_trusted_proxies() -> None:
    headers = [(b"host", b"a"), (b"x-forwarded-for", b"198.51.100.1")]
    for scheme in ("http", "https"):
        scope = http_scope(scheme=scheme, headers=headers)
        assert (await answered(telling("scheme"), scope))[2] == repr(scheme).encode()
    assert b"192.0.2.7" in (await answered(telling("client"), scope))[2]
    trusting = telling("client").asgi(trusted_proxies=("192.0.2.0/24",))
    assert b"198.51.100.1" in (await answered(trusting, scope))[2]


async def test_what_needs_our_own_socket_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert (await answered(telling("tls"), http_scope()))[2] == b"None"
    assert (await answered(telling("tls"), http_scope(scheme="https")))[0] == 500
    assert "request.tls: expected microweb's own server" in caplog.text
    assert b"192.0.2.7" in (await answered(telling("peer"), http_scope()))[2]
    assert (await answered(telling("peer"), http_scope(client=None)))[0] == 500
    assert "request.peer: expected a client in the ASGI scope" in caplog.text


async def test_https_redirects_a_client_that_is_unknown() -> None:
    app = App()
    app.use(HTTPSRedirect())
    headers = [(b"host", b"a.test"), (b"x-forwarded-proto", b"https")]
    status, fields, _ = await answered(app, http_scope("/x", client=None, headers=headers))
    assert status == 308 and (b"location", b"https://a.test/x") in fields


# --- clients that leave ---------------------------------------------------------------


def waiting(method: str, **route: Any) -> tuple[App, list[str], asyncio.Event]:
    app, seen, gate = App(), [], asyncio.Event()

    @app.route("/", methods=[method], **route)
    async def index(request: Request) -> str:
        try:
            await gate.wait()
            seen.append("finished")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return "x"

    return app, seen, gate


@pytest.mark.parametrize(
    ("method", "route", "end"),
    [
        ("GET", {}, "cancelled"),
        ("POST", {}, "finished"),
        ("GET", {"on_disconnect": "finish"}, "finished"),
        ("POST", {"on_disconnect": "cancel"}, "cancelled"),
    ],
)
async def test_who_is_cancelled(method: str, route: dict[str, Any], end: str) -> None:
    app, seen, gate = waiting(method, **route)
    headers = [(b"host", b"a"), (b"content-length", b"1")] if method == "POST" else None
    scope = http_scope("/", method, **({"headers": headers} if headers else {}))
    exchanged = Exchanged(app, scope)
    exchanged.put(*body_of(b"x"), GONE)
    if end == "finished":
        while not app._backgrounds or exchanged.to_app.qsize():  # until it knows
            await asyncio.sleep(0.01)
        gate.set()
    assert await exchanged.end() == []  # nobody is there to get the answer
    assert seen == [end]
    assert not exchanged.task.cancelled() and exchanged.task.cancelling() == 0


async def test_disconnected_returns_and_a_shield_holds() -> None:
    app, seen = App(), []

    @app.get("/")
    async def index(request: Request) -> str:
        async with request.shield():
            await request.disconnected()
            seen.append("left")
            await asyncio.sleep(0)
            seen.append("shielded")
        seen.append("not reached")
        return "x"

    exchanged = Exchanged(app, http_scope())
    exchanged.put(*body_of(b""), GONE)
    await exchanged.end()
    assert seen == ["left", "shielded"]


async def test_a_stream_ends_if_its_client_leaves() -> None:
    app, ended = App(), asyncio.Event()

    @app.post("/", on_disconnect="finish")
    async def events() -> Response:
        async def each() -> AsyncIterator[int]:
            try:
                number = 0
                while True:
                    yield (number := number + 1)
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        return Response.events(each())

    exchanged = Exchanged(app, http_scope("/", "POST"))
    sent = await exchanged.sent_within(4)
    assert sent[1]["body"].startswith(b"data: 1\n\n")
    exchanged.put(GONE)
    await exchanged.end()
    assert ended.is_set()


async def test_event_streams_end_when_the_server_stops() -> None:
    app = App()

    @app.get("/")
    async def events() -> Response:
        async def each() -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

        return Response.events(each())

    application = app.asgi()
    life = Exchanged(application, {"type": "lifespan"})
    life.put({"type": "lifespan.startup"})
    await life.sent_within(1)
    exchanged = Exchanged(application, http_scope())
    await exchanged.sent_within(2)
    life.put({"type": "lifespan.shutdown"})
    assert (await exchanged.end())[-1] == _last(b"")
    assert (await life.end())[-1] == {"type": "lifespan.shutdown.complete"}


def _last(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": False}


async def test_a_silent_event_stream_gets_comments() -> None:
    app = App()

    @app.get("/")
    async def events() -> Response:
        async def each() -> AsyncIterator[int]:
            await asyncio.Event().wait()
            yield 1

        return Response.events(each(), heartbeat_s=0.5)

    async with Exchanged(app, http_scope()) as exchanged:
        sent = await exchanged.sent_within(2)
        assert sent[1]["body"] == b":\n\n"


# --- early hints ----------------------------------------------------------------------


@pytest.mark.parametrize("is_offered", [False, True])
async def test_early_hints(is_offered: bool) -> None:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        await request.early_hints(["</a.css>; rel=preload"])
        return "x"

    extensions = {"http.response.early_hint": {}} if is_offered else {}
    sent = await Exchanged(app, http_scope(extensions=extensions)).end()
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    assert sent[:-2] == ([hint] if is_offered else [])


async def test_early_hints_after_the_answer_do_nothing() -> None:
    app, requests = App(), []

    @app.get("/")
    async def index(request: Request) -> str:
        requests.append(request)
        return "x"

    scope = http_scope(extensions={"http.response.early_hint": {}})
    exchanged = Exchanged(app, scope)
    await exchanged.end()
    async with asyncio.timeout(DEADLINE_S):
        await requests[0].early_hints(["</a.css>"])
        await requests[0].disconnected()
    assert len(exchanged.sent) == 2
