"""FastAPI: the features of its tutorial in one application."""

from __future__ import annotations

import re

import pytest
from support.applications import Serve, Site, both_ways
from support.supervising import until
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.applications
pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")


@pytest.fixture
def site(serve: Serve, is_mounted: bool) -> Site:
    return serve("fastapi_app:app", is_mounted=is_mounted)


@both_ways
def test_its_lifespan_and_its_state(site: Site) -> None:
    assert site.get("/").json() == {"message": "Hello World", "models": ["resnet"]}
    site.program.stop()
    lines = site.program.out.rest().split("\n")
    assert (lines[0], lines[-1]) == ("startup", "shutdown")


@both_ways
def test_parameters_and_models(site: Site) -> None:
    assert site.get("/items/7?q=abc").json() == {"item_id": 7, "q": "abc"}
    assert site.get("/items/x").status_code == 422
    assert site.get("/items/7?q=toolong").status_code == 422
    assert site.get("/files/home/a%20b/%C3%A9.txt").json() == {"file_path": "home/a b/é.txt"}
    assert site.get("/filtered?limit=5").json() == {"limit": 5, "order": "created"}
    made = site.post("/items/", json={"name": "tea", "price": 2.5, "tags": ["a", "a"]})
    assert made.status_code == 201
    assert made.json() == {"name": "tea", "price": 2.5, "tax": None, "tags": ["a"]}
    assert site.post("/items/", json={"name": "tea", "price": -1}).status_code == 422
    assert site.post("/items/", content=b"{").status_code == 422
    asked = site.get("/fields", headers={"User-Agent": "me", "Cookie": "ads=no; b=c"})
    assert asked.json() == {"User-Agent": "me", "ads": "no"}


@both_ways
def test_errors(site: Site) -> None:
    missing = site.get("/items/404")
    assert missing.status_code == 404
    assert missing.headers["X-Error"] == "There goes my error"
    assert missing.json() == {"detail": "Item not found"}
    assert site.get("/nowhere").json() == {"detail": "Not Found"}
    assert site.get("/unicorn").status_code == 418
    refused = site.delete("/unicorn")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET")


@both_ways
def test_dependencies_and_security(site: Site) -> None:
    assert site.get("/users/me").status_code == 401
    token = site.post("/token", data={"username": "ann", "password": "secret"}).json()
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    assert site.get("/users/me", headers=bearer).json() == {"name": "ann", "by": "connection"}
    until(lambda: site.get("/notified").json() == ["closed"])


@both_ways
def test_a_form_with_a_large_upload(site: Site) -> None:
    files = {"file": ("a.bin", b"x" * 5_000_000), "small": b"yy"}
    answer = site.post("/upload", files=files, data={"token": "t"})
    assert answer.json() == {"size": 5_000_000, "name": "a.bin", "small": 2, "token": "t"}


@both_ways
def test_an_upload_over_the_limit_is_a_413(serve: Serve, is_mounted: bool) -> None:
    site = serve("fastapi_app:app", "--max-body", "1000000", is_mounted=is_mounted)
    files = {"file": ("a.bin", b"x" * 1_000_001), "small": b"yy"}
    assert site.post("/upload", files=files, data={"token": "t"}).status_code == 413


@both_ways
def test_a_background_task_runs(site: Site) -> None:
    assert site.post("/notify/a@b.test").json() == {"message": "sent in the background"}
    until(lambda: site.get("/notified").json() == ["a@b.test"])


@both_ways
def test_middleware_and_cors(site: Site) -> None:
    answer = site.get("/", headers={"Origin": "https://shop.test"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.test"
    assert answer.headers["X-Process-Time"] == "0.1"
    asked = {"Origin": "https://shop.test", "Access-Control-Request-Method": "PUT"}
    assert "PUT" in site.options("/", headers=asked).headers["Access-Control-Allow-Methods"]


@both_ways
def test_its_documentation(site: Site) -> None:
    page = site.get("/docs").text
    link = re.search(r"url: '([^']*openapi.json)'", page)
    assert link is not None
    assert link[1] == f"{site.prefix}/openapi.json"
    schema = site.get("/openapi.json").json()
    assert "/items/{item_id}" in schema["paths"]
    assert schema.get("servers", [{"url": ""}]) == [{"url": site.prefix}]


@both_ways
def test_redirects(site: Site) -> None:
    assert site.get("/typer").headers["Location"] == "/items/1"
    slash = site.post("/items", json={"name": "tea", "price": 1})
    assert slash.status_code == 307
    assert slash.headers["Location"] == f"{site.url}{site.prefix}/items/"


@both_ways
def test_streams_and_files(site: Site) -> None:
    assert site.get("/stream").text == "".join(f"part {number}\n" for number in range(10))
    source = site.get("/source")
    assert source.content.startswith(b'"""')
    part = site.get("/source", headers={"Range": "bytes=0-2"})
    assert (part.status_code, part.content) == (206, b'"""')
    head = site.head("/source")
    assert (head.status_code, head.headers["Allow"]) == (405, "GET")  # Starlette adds HEAD


@both_ways
def test_a_websocket(site: Site) -> None:
    with site.socket("/items/tea/ws?token=t") as socket:
        socket.send("a")
        assert socket.recv() == "tea t a"
        socket.send("é" * 30_000)
        assert socket.recv() == "tea t " + "é" * 30_000
    until(lambda: site.get("/notified").json() == ["tea left"])
    for path in ("/nowhere/at/all", "/broken/ws"):
        with pytest.raises(InvalidStatus) as refused:
            site.socket(path)
        assert refused.value.response.status_code == 403
