"""Litestar: dependencies, uploads, streams, events, files, its schema, WebSockets."""

from __future__ import annotations

import pytest
from support.applications import PROGRAMS, Serve, Site, both_ways
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.applications
pytest.importorskip("litestar")


@pytest.fixture
def site(serve: Serve, is_mounted: bool) -> Site:
    return serve("litestar_app:app", is_mounted=is_mounted)


@both_ways
def test_requests(site: Site) -> None:
    assert site.get("/").json() == {"pool": "open"}
    assert site.get("/items/7?limit=3").json() == {"number": 7, "limit": 3}
    assert site.get("/items/7?limit=x").status_code == 400
    made = site.post("/items", json={"name": "tea", "price": 2.5})
    assert (made.status_code, made.json()) == (201, {"name": "tea", "price": 2.5})
    uploaded = site.post("/upload", files={"data": ("a.bin", b"x" * 3_000_000)})
    assert uploaded.json() == {"a.bin": 3_000_000}
    assert site.get("/secret").status_code == 401
    assert (site.get("/nowhere").status_code, site.put("/").status_code) == (404, 405)
    assert site.get("/old").headers["Location"] == "/items/1"
    site.program.stop()
    assert site.program.out.rest().endswith("closed")


@both_ways
def test_answers(site: Site) -> None:
    assert site.get("/stream").text == "0\n1\n2\n3\n4\n"
    events = site.get("/events")
    assert events.headers["Content-Type"].startswith("text/event-stream")
    assert events.text == "".join(f"data: {number}\r\n\r\n" for number in range(3))
    assert site.get("/file").content == (PROGRAMS / "litestar_app.py").read_bytes()
    assert "teal" in site.get("/static/style.css").text
    assert site.head("/static/style.css").content == b""
    assert "/items/{number}" in site.get("/schema/openapi.json").json()["paths"]
    assert "<title>Litestar API" in site.get("/schema/swagger").text


@both_ways
def test_websockets(site: Site) -> None:
    with site.socket("/echo") as echo:
        echo.send('{"a":1}')
        assert echo.recv() == '{"a":2}'
    with site.socket("/raw") as raw:
        assert raw.response is not None
        assert raw.response.headers["X-Raw"] == "yes"
        raw.send(b"x" * 100_000)
        assert raw.recv() == b"x" * 100_000
    with pytest.raises(InvalidStatus) as refused:
        site.socket("/nowhere")
    assert refused.value.response.status_code in (403, 404)
