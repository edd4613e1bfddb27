"""BlackSheep: sessions, bindings, uploads, streams, its schema, WebSockets."""

from __future__ import annotations

import pytest
from support.applications import Serve, Site, both_ways
from support.supervising import until

pytestmark = pytest.mark.applications
for needed in ("blacksheep", "itsdangerous"):
    pytest.importorskip(needed)


@pytest.fixture
def site(serve: Serve, is_mounted: bool) -> Site:
    return serve("blacksheep_app:app", is_mounted=is_mounted)


@both_ways
def test_requests(site: Site) -> None:
    assert site.post("/login", data={"name": "Ann"}).status_code == 302
    assert site.get("/").text == "Ann 127.0.0.1"
    assert site.get("/items/7?size=3").json() == {"number": 7, "size": 3}
    assert site.get("/items/x").status_code == 400
    made = site.post("/items", json={"name": "tea", "price": 1.5})
    assert (made.status_code, made.json()) == (201, {"name": "tea"})
    uploaded = site.post("/upload", files={"a": ("a.bin", b"x" * 3_000_000)})
    assert uploaded.json() == [["a.bin", 3_000_000]]
    assert site.post("/body", content=b"x" * 10_000_000).text == "10000000"
    assert site.get("/ticks").text == "tick\n" * 3
    assert site.get("/events").text == "started"
    assert "teal" in site.get("/static/style.css").text
    assert site.get("/nowhere").status_code == 404
    assert "/items" in site.get("/openapi.json").json()["paths"]
    assert "<title>Shop" in site.get("/docs/").text
    site.program.stop()
    assert site.program.out.rest().endswith("stopped")
    lines = site.program.err.rest().split("\n")
    for line, status in zip(lines, ("400", "404"), strict=True):
        assert f"HTTP {status}" in line  # its own log
    site.program.err.seen.clear()


@both_ways
def test_a_websocket(site: Site) -> None:
    with site.socket("/echo/ann") as echo:
        echo.send("a")
        assert echo.recv() == "ann a"
    until(lambda: site.get("/events").text == "started,ann left")
