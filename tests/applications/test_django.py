"""Django by ASGI and by WSGI: admin with its static files and login, uploads, streams."""

from __future__ import annotations

import re
import socket

import pytest
from support.applications import PROGRAMS, Serve, Site, both_ways
from support.processes import DEADLINE_S, ENVIRONMENT, run_to_end
from support.supervising import until

pytestmark = pytest.mark.applications
pytest.importorskip("django")

both_interfaces = pytest.mark.parametrize("interface", ["asgi", "wsgi"])


@pytest.fixture
def site(serve: Serve, interface: str, is_mounted: bool, monkeypatch: pytest.MonkeyPatch) -> Site:
    # Django warns of a plain iterator in a StreamingHttpResponse, and then makes all of it.
    monkeypatch.setitem(ENVIRONMENT, "PYTHONWARNINGS", "ignore")
    prepared = run_to_end(["django_prepare.py"], PROGRAMS)
    assert prepared.returncode == 0, prepared.stderr
    return serve(f"django_{interface}:app", is_mounted=is_mounted)


def log_in(site: Site) -> None:
    form = site.get("/admin/", follow_redirects=True)
    assert form.url.path == f"{site.prefix}/admin/login/"
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
    assert token is not None
    fields = {"username": "ann", "password": "secret", "csrfmiddlewaretoken": token[1]}
    page = site.post(str(form.url), data=fields, follow_redirects=True)
    assert page.url.path == f"{site.prefix}/admin/"
    assert "Site administration" in page.text


@both_ways
@both_interfaces
def test_the_admin(site: Site) -> None:
    log_in(site)
    page = site.get("/admin/")
    style = re.search(r'href="([^"]+/admin/css/base[^"]*\.css)"', page.text)
    assert style is not None
    assert style[1].startswith(f"{site.prefix}/static/")
    sheet = site.get(f"{site.url}{style[1]}")
    assert sheet.headers["Content-Type"] == "text/css"
    assert "--primary" in sheet.text
    form = site.get("/admin/polls/question/add/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
    assert token is not None
    fields = {"text": "What is new, été?", "csrfmiddlewaretoken": token[1]}
    saved = site.post("/admin/polls/question/add/", data=fields)
    assert saved.headers["Location"] == f"{site.prefix}/admin/polls/question/"
    assert "was added successfully" in site.get("/admin/polls/question/").text
    assert site.get("/questions/").json() == {"texts": ["What is new, été?"]}
    assert site.get("/async-questions/").json() == {"texts": ["What is new, été?"]}


@both_ways
@both_interfaces
def test_paths(site: Site) -> None:
    assert site.get("/").json() == {
        "path": f"{site.prefix}/",
        "info": "/",
        "url": f"{site.url}{site.prefix}/questions/",
        "from": "127.0.0.1",
    }
    assert site.get("/questions").headers["Location"] == f"{site.prefix}/questions/"
    assert site.get("/nowhere").status_code == 404
    site.program.stop()
    # Django's own log.
    assert site.program.err.rest() == f"warning: Not Found: {site.prefix}/nowhere"
    site.program.err.seen.clear()


@both_ways
@both_interfaces
def test_bodies(site: Site) -> None:
    files = {"large": b"x" * 6_000_000, "small": b"y"}
    assert site.post("/upload", files=files).json() == {"large": 6_000_000, "small": 1}
    assert site.post("/size", content=b"x" * 2_000_000).text == "2000000"
    assert site.post("/size", content=iter([b"a" * 100, b"b"])).text == "101"


@both_ways
@both_interfaces
def test_files_and_streams(site: Site) -> None:
    assert site.get("/file").content == (PROGRAMS / "django_site/site_urls.py").read_bytes()
    assert (
        site.head("/file").headers["Content-Length"] == site.get("/file").headers["Content-Length"]
    )
    assert site.get("/numbers").text == "".join(f"{number}\n" for number in range(1000))


@both_ways
@pytest.mark.parametrize("interface", ["asgi"])
def test_a_client_that_leaves_a_stream(site: Site) -> None:
    port = int(site.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as leaving:
        leaving.sendall(f"GET {site.prefix}/ticks HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert b"200" in leaving.recv(1000)
    until(lambda: site.get("/ended").json() == ["ticks"])


@both_ways
@both_interfaces
def test_an_error(site: Site) -> None:
    failed = site.get("/fail")
    assert failed.status_code == 500
    assert "<h1>Server Error (500)</h1>" in failed.text
    site.program.stop()
    said = site.program.err.rest()
    assert said.startswith(f"error: Internal Server Error: {site.prefix}/fail\n")  # Django's own
    assert said.count("RuntimeError: no such luck") == 1
    site.program.err.seen.clear()
