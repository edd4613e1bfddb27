"""Falcon by ASGI: media, forms, streams, events, files, WebSockets."""

from __future__ import annotations

import pytest
from support.applications import Serve
from support.supervising import until
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.applications
pytest.importorskip("falcon")


def test_its_routes_are_those_of_whole_paths(serve: Serve) -> None:
    site = serve("falcon_app:app", is_mounted=True)
    assert site.get("/items/7").status_code == 404
    assert site.get("/prefixed").json()["number"] == 1


def test_requests(serve: Serve) -> None:
    site = serve("falcon_app:app")
    item = site.get("/items/7?q=%C3%A9")
    assert item.json() == {"number": 7, "url": f"{site.url}/items/7?q=%C3%A9", "root": ""}
    assert item.headers["X-Succeeded"] == "True"
    assert "seen=yes" in item.headers["Set-Cookie"]
    put = site.put("/items/7", json={"a": 1})
    assert (put.status_code, put.json()) == (201, {"a": 1})
    assert site.put("/items/7", content=b"{", headers={"Content-Type": "application/json"})
    forms = site.post("/forms", files={"a": b"x" * 100_000, "b": b"y"})
    assert forms.json() == {"a": 100_000, "b": 1}
    assert site.post("/body", content=b"x" * 10_000_000).text == "10000000"
    assert site.post("/body", content=iter([b"a", b"bc"])).text == "3"
    assert site.get("/ticks").text == "0\n1\n2\n"
    assert site.get("/work").text == "begun"
    until(lambda: site.get("/seen").json() == ["started", "worked"])
    assert "teal" in site.get("/static/style.css").text
    part = site.get("/static/style.css", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.text) == (206, "body")
    missing = site.get("/nowhere")
    assert (missing.status_code, missing.headers["X-Succeeded"]) == (404, "False")
    assert site.delete("/ticks").status_code == 405
    site.program.stop()
    assert site.program.out.rest().endswith("stopped")


def test_events_end_with_the_client(serve: Serve) -> None:
    site = serve("falcon_app:app")
    with site.stream("GET", "/sse") as stream:
        lines = stream.iter_lines()
        assert [next(lines) for _ in range(4)] == ["data: tick", "", "data: tick", ""]
    until(lambda: "the events have ended" in site.get("/seen").json())


def test_a_websocket(serve: Serve) -> None:
    site = serve("falcon_app:app")
    with site.socket("/echo/ann") as echo:
        echo.send("a")
        assert echo.recv() == "ann a"
    until(lambda: "ann left" in site.get("/seen").json())
    for path in ("/echo/nobody", "/nowhere"):
        with pytest.raises(InvalidStatus) as refused:
            site.socket(path)
        assert refused.value.response.status_code == 403
    site.program.stop()
    lines = site.program.err.rest().split("\n")
    assert ["[FALCON] " in line for line in lines] == [True, True]  # its own log
    site.program.err.seen.clear()
