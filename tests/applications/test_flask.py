"""Flask: the blog of its tutorial, with sqlite, sessions, login, templates and static files."""

from __future__ import annotations

import re

import pytest
from support.applications import PROGRAMS, Serve, Site, both_ways
from support.processes import run_to_end

pytestmark = pytest.mark.applications
pytest.importorskip("flask")


@pytest.fixture
def site(serve: Serve, is_mounted: bool) -> Site:
    prepared = run_to_end(["-m", "flask", "--app", "flaskr.factory", "init-db"], PROGRAMS)
    assert prepared.returncode == 0, prepared.stderr
    if is_mounted:
        return serve("flaskr_app:app", is_mounted=True)
    return serve("flaskr.factory:create_app", "--interface", "wsgi")


@both_ways
def test_the_blog(site: Site) -> None:
    assert site.get("/hello").text == "Hello, World!"
    refused = site.get("/create")
    assert (refused.status_code, refused.headers["Location"]) == (302, f"{site.prefix}/auth/login")
    ann = {"username": "Ann", "password": "secret"}
    registered = site.post("/auth/register", data=ann)
    assert registered.headers["Location"] == f"{site.prefix}/auth/login"
    assert "User Ann is already registered." in site.post("/auth/register", data=ann).text
    wrong = site.post("/auth/login", data=ann | {"password": "x"})
    assert "Incorrect username or password." in wrong.text
    page = site.post("/auth/login", data=ann, follow_redirects=True)
    assert page.url.path == f"{site.prefix}/"
    assert "<span>Ann</span>" in page.text
    assert "Title is required." in site.post("/create", data={"title": "", "body": ""}).text
    post = {"title": "été <b>", "body": "x" * 400_000}
    page = site.post("/create", data=post, follow_redirects=True)
    assert "<h1>été &lt;b&gt;</h1>" in page.text
    edit = re.search(r'href="([^"]*/1/update)"', page.text)
    assert edit is not None
    assert edit[1] == f"{site.prefix}/1/update"
    page = site.post("/1/update", data={"title": "later", "body": "y"}, follow_redirects=True)
    assert "<h1>later</h1>" in page.text
    missing = site.post("/7/delete")
    assert missing.status_code == 404
    assert "Post id 7 doesn&#39;t exist." in missing.text
    assert "<h1>" not in site.post("/1/delete", follow_redirects=True).text
    assert "Log in" in site.get("/auth/logout", follow_redirects=True).text


@both_ways
def test_methods_and_static_files(site: Site) -> None:
    link = re.search(r'href="([^"]+style.css)"', site.get("/").text)
    assert link is not None
    assert link[1] == f"{site.prefix}/static/style.css"
    style = site.get("/static/style.css")
    assert style.content == (PROGRAMS / "flaskr/static/style.css").read_bytes()
    again = {"If-None-Match": style.headers["ETag"]}
    assert site.get("/static/style.css", headers=again).status_code == 304
    head = site.head("/hello")
    assert (head.headers["Content-Length"], head.content) == ("13", b"")
    assert site.post("/hello").status_code == 405
    assert set(site.options("/hello").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert site.get("/nowhere").status_code == 404
