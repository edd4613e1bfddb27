"""Quart: templates, sessions, forms, streams, background tasks, WebSockets."""

from __future__ import annotations

import socket

import pytest
from support.applications import Serve, Site, both_ways
from support.processes import DEADLINE_S
from support.supervising import until
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.applications
pytest.importorskip("quart")


@pytest.fixture
def site(serve: Serve, is_mounted: bool) -> Site:
    return serve("quart_app:app", is_mounted=is_mounted)


@both_ways
def test_requests(site: Site) -> None:
    page = site.post("/login", data={"name": "Ann"}, follow_redirects=True)
    below = f"{site.prefix}/static/style.css"
    assert page.text == f"Ann {below} {site.url}{site.prefix}/"
    assert "teal" in site.get("/static/style.css").text
    made = site.post("/json", json={"a": [1]})
    assert (made.status_code, made.json()) == (201, {"got": {"a": [1]}})
    files = {"a": b"x" * 3_000_000, "b": b"y"}
    assert site.post("/upload", files=files).json() == {"a": 3_000_000, "b": 1}
    assert site.post("/body", content=b"x" * 10_000_000).text == "10000000"
    assert site.post("/body", content=iter([b"a", b"bc"])).text == "3"
    assert (site.get("/teapot").status_code, site.get("/nowhere").status_code) == (418, 404)
    head = site.head("/work")
    assert (head.status_code, head.content) == (200, b"")


@both_ways
def test_lifespan_tasks_and_clients_that_leave(site: Site) -> None:
    assert site.get("/events").json() == ["opened"]
    assert site.get("/work").text == "begun"
    until(lambda: "worked" in site.get("/events").json())
    port = int(site.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as leaving:
        leaving.sendall(f"GET {site.prefix}/ticks HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert b"200" in leaving.recv(1000)
    until(lambda: "ticks ended" in site.get("/events").json())
    site.program.stop()
    assert site.program.out.rest().endswith("closed")


@both_ways
def test_a_websocket(site: Site) -> None:
    with site.socket("/echo/ann") as echo:
        echo.send("a")
        assert echo.recv() == "ann a"
        echo.send("é" * 30_000)
        assert echo.recv() == "ann " + "é" * 30_000
    until(lambda: "ann left" in site.get("/events").json())
    with pytest.raises(InvalidStatus) as refused:
        site.socket("/echo/nobody")
    assert refused.value.response.status_code == 401
    assert refused.value.response.body == b"who are you?"
