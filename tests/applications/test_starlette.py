"""Starlette: routes, middleware, sessions, files, streams, WebSockets."""

from __future__ import annotations

import socket
import struct
from functools import partial

import pytest
from support.applications import Serve, Site, both_ways
from support.processes import DEADLINE_S
from support.supervising import until
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytestmark = pytest.mark.applications
for needed in ("starlette", "itsdangerous", "python_multipart"):
    pytest.importorskip(needed)


@pytest.fixture
def site(serve: Serve, is_mounted: bool) -> Site:
    return serve("starlette_app:app", is_mounted=is_mounted)


@both_ways
def test_lifespan_state_and_sessions(site: Site) -> None:
    assert site.get("/").json() == {"pool": "open", "name": None}
    assert site.post("/login", data={"name": "Ann"}).status_code == 204
    answer = site.get("/")
    assert answer.json() == {"pool": "open", "name": "Ann"}
    assert answer.headers["X-Timed"] == "yes"
    site.program.stop()
    assert site.program.out.rest().endswith("the pool is closed")


@both_ways
def test_urls(site: Site) -> None:
    base = f"{site.url}{site.prefix}"
    asked = site.get("/users/7?q=%C3%A9")
    assert asked.text == f"7 {base}/users/7?q=%C3%A9 {base}/users/8 127.0.0.1"
    below = site.get("/sub/users/7").text
    assert below == f"7 {base}/sub/users/7 {base}/users/8 127.0.0.1"
    slash = site.get("/login/")
    assert (slash.status_code, slash.headers["Location"]) == (307, f"{base}/login")


@both_ways
def test_methods_and_errors(site: Site) -> None:
    assert site.get("/thing").text == "got"
    head = site.head("/thing")
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "3", b"")
    assert site.put("/thing", content=b"abc").text == "abc"
    assert site.delete("/thing").status_code == 405
    assert (site.get("/teapot").status_code, site.get("/teapot").text) == (418, "short and stout")
    assert (site.get("/nowhere").status_code, site.get("/nowhere").text) == (404, "Not Found")
    assert site.head("/nowhere").content == b""


@both_ways
def test_bodies(site: Site) -> None:
    whole = site.post("/body", content=b"x" * 10).json()
    assert whole == {"size": 10, "is_streamed": False}
    large = b"x" * 10_000_000
    assert site.post("/body", content=large).json() == {"size": 10_000_000, "is_streamed": True}
    chunked = site.post("/body", content=iter([b"a" * 70_000, b"b"])).json()
    assert chunked["size"] == 70_001


@both_ways
def test_streams_and_files(site: Site) -> None:
    assert len(site.get("/large").content) == 10_000_000
    style = site.get("/static/style.css")
    assert style.headers["Content-Type"] == "text/css; charset=utf-8"
    again = {"If-None-Match": style.headers["ETag"]}
    assert site.get("/static/style.css", headers=again).status_code == 304
    assert site.get("/static/nothing.css").status_code == 404
    source = site.get("/source")  # by `http.response.pathsend`, which GZipMiddleware leaves alone
    assert "Content-Encoding" not in source.headers
    assert source.headers["Content-Length"] == str(len(source.content))
    part = {"Range": "bytes=0-2", "Accept-Encoding": "identity"}
    assert site.get("/source", headers=part).content == b'"""'
    head = site.head("/source", headers={"Accept-Encoding": "identity"})
    assert head.headers["Content-Length"] == str(len(source.content))


@both_ways
def test_a_background_task(site: Site) -> None:
    assert site.get("/work").text == "begun"
    until(lambda: site.get("/events").json() == ["worked"])


@both_ways
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_leaves(serve: Serve, is_mounted: bool, is_reset: bool) -> None:
    # With BaseHTTPMiddleware, `is_disconnected` is false for ever, under other servers too.
    for app, path, event in (
        ("app", "/ticks", "the ticks have ended"),
        ("bare", "/wait", "the client has left"),
    ):
        site = serve(f"starlette_app:{app}", is_mounted=is_mounted)
        port = int(site.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as leaving:
            leaving.sendall(f"GET {site.prefix}{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            if app == "app":
                assert b"200" in leaving.recv(1000)
            else:
                until(partial(is_seen, site, "waiting"))
            if is_reset:
                linger = struct.pack("ii", 1, 0)
                leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        until(partial(is_seen, site, event))


def is_seen(site: Site, event: str) -> bool:
    return event in site.get("/events").json()


@both_ways
def test_websockets(site: Site) -> None:
    with site.socket("/echo") as echo:
        echo.send(b"abc")
        assert echo.recv() == b"cba"
    until(lambda: site.get("/events").json() == ["closed 1000"])
    with pytest.raises(InvalidStatus) as refused:
        site.socket("/chat")
    assert refused.value.response.status_code == 401
    assert refused.value.response.body == b"who are you?"
    allowed = {"Authorization": "Bearer sesame"}
    with site.socket("/chat", subprotocols=["chat"], additional_headers=allowed) as chat:
        assert chat.subprotocol == "chat"
        assert chat.response is not None
        assert chat.response.headers["X-Pool"] == "open"
        chat.send('{"a": 1}')
        assert chat.recv() == '{"got":{"a":1}}'
        chat.send('"bye"')
        with pytest.raises(ConnectionClosed) as closed:
            chat.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you like")


@both_ways
def test_an_error(site: Site) -> None:
    failed = site.get("/fail")
    assert failed.status_code == 500
    assert failed.text == "Internal Server Error"
    site.program.stop()
    assert site.program.err.rest().count("RuntimeError: no such luck") == 1
    site.program.err.seen.clear()
