"""Responses that are made once and answer many requests: no exchange sees changes of another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.serving import get, in_memory, on_loopback, peer_of, read_all

from microweb import App, HTTPError, Request, Response
from microweb.endpoints.handler import Handler
from microweb.errors import LocalProtocolError
from microweb.middleware.compression import Compression
from microweb.middleware.conditional import ConditionalGet
from microweb.middleware.sessions import Sessions
from microweb.templating import Templates

KEY = "0123456789abcdefghijklmnopqrstuvwxyz"
NAMES = [f"client{number}" for number in range(6)]


class Meeting:
    """Middleware that holds each answer until `count` requests have one, so that they overlap."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._here = 0
        self._is_full = asyncio.Event()

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        self._here += 1
        if self._here >= self._count:
            self._is_full.set()
        await self._is_full.wait()
        return response


async def mark(request: Request, call_next: Handler) -> Response:
    """Middleware that names the client of the answer in a field and a cookie."""
    response = await call_next(request)
    name = request.query.get("name", "")
    response.headers.add("X-For", name)
    return response.set_cookie("for", name)


def fields_of(answer: Any) -> list[str]:
    """Return the fields that `mark` set in an answer of the test client."""
    return [*answer.headers.get_list("x-for"), *answer.headers.get_list("set-cookie")]


def marked(name: str) -> list[str]:
    return [name, f"for={name}; Path=/; HttpOnly; SameSite=Lax"]


async def ask_all(app: App, path: str = "/") -> list[Any]:
    """Return the answers to one client for each name, all at once."""
    async with app.test_client() as client:
        asked = [client.get(path, params={"name": name}) for name in NAMES]
        return await asyncio.gather(*asked)


# --- whole bodies


async def test_no_client_gets_the_session_of_another(nothing_is_logged: None) -> None:
    app, page = App(), Response("x")
    app.use(Meeting(len(NAMES)))
    app.use(Sessions(KEY))

    @app.get("/")
    async def index(request: Request) -> Response:
        request.session["name"] = request.query["name"]
        return page

    @app.get("/me")
    async def me(request: Request) -> str:
        return str(request.session["name"])

    async with on_loopback(app) as server:
        sessions = await asyncio.gather(*[_session_of(peer_of(server), name) for name in NAMES])
        for name, session in zip(NAMES, sessions, strict=True):
            async with peer_of(server) as peer:
                head = f"GET /me HTTP/1.1\r\nHost: a\r\nCookie: {session}\r\n"
                await peer.send(f"{head}Connection: close\r\n\r\n".encode())
                assert (await peer.read_all()).endswith(b"\r\n\r\n" + name.encode())


async def _session_of(peer: Any, name: str) -> str:
    async with peer:
        head = f"GET /?name={name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        await peer.send(head.encode())
        answer = (await peer.read_all()).decode()
        (session,) = (line for line in answer.split("\r\n") if line.startswith("Set-Cookie: "))
        return session.removeprefix("Set-Cookie: ").partition(";")[0]


MADE_ONCE: dict[str, Callable[[], Response]] = {
    "text": lambda: Response("x"),
    "with fields": lambda: Response("x", headers={"X-Own": "1"}).set_cookie("own", "1"),
    "JSON": lambda: Response.json({"a": 1}),
    "redirect": lambda: Response.redirect("/x"),
    "local redirect": lambda: Response.redirect("/x", local=True),
    "large": lambda: Response(b"x" * 100_000),
    "empty": lambda: Response(status=204),
}


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("kind", MADE_ONCE)
async def test_each_use_has_fields_and_cookies_of_its_own(
    kind: str, depth: int, nothing_is_logged: None
) -> None:
    app, page = App(), MADE_ONCE[kind]()
    app.use(Meeting(len(NAMES)))
    for _ in range(depth):
        app.use(mark)
    app.get("/")(lambda: page)
    for name, answer in zip(NAMES, await ask_all(app), strict=True):
        own = [each for each in fields_of(answer) if not each.startswith("own=")]
        assert own == [name] * depth + (marked(name)[1:] if depth else [])


@pytest.mark.parametrize("path", ["/missing", "/put"])
@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json"])
async def test_page_of_an_error_has_fields_and_cookies_of_its_own(
    path: str, accept: str, nothing_is_logged: None
) -> None:
    app = App()
    app.use(Meeting(len(NAMES)))
    app.use(mark)
    app.put("/put")(lambda: "x")
    async with app.test_client(headers={"Accept": accept}) as client:
        asked = [client.get(path, params={"name": name}) for name in NAMES]
        for name, answer in zip(NAMES, await asyncio.gather(*asked), strict=True):
            assert fields_of(answer) == marked(name)
            assert answer.status_code == (405 if path == "/put" else 404)


@pytest.mark.parametrize("has_middleware", [False, True])
@pytest.mark.parametrize("kind", MADE_ONCE)
async def test_one_answers_any_number_of_requests(
    kind: str, has_middleware: bool, nothing_is_logged: None
) -> None:
    app, page = App(), MADE_ONCE[kind]()
    if has_middleware:
        app.use(mark)
    app.get("/")(lambda: page)
    async with app.test_client() as client:
        first, *others = [await client.get("/", follow_redirects=False) for _ in range(3)]
        for other in others:
            assert (other.status_code, other.content) == (first.status_code, first.content)
            assert other.headers.multi_items() == first.headers.multi_items()
        assert first.status_code == page.status


async def test_local_redirect_is_held_against_each_request() -> None:
    app, away = App(), Response.redirect("http://a.test/x", local=True)
    app.get("/")(lambda: away)
    async with app.test_client() as client:
        for host, location in [("a.test", "http://a.test/x"), ("b.test", "/")] * 2:
            answer = await client.get("/", headers={"Host": host})
            assert answer.headers["location"] == location


async def test_local_redirect_needs_no_app() -> None:
    async def handler(request: Request) -> Response:
        return Response.redirect("//evil.test", local=True)

    async with in_memory(handler) as house:
        end = house.connect()
        await end.write(get("/", "Connection: close"))
        assert b"\r\nLocation: /\r\n" in await read_all(end)


async def test_middleware_may_set_the_body_of_a_shared_answer() -> None:
    app, page = App(), Response.text("a" * 5000)
    app.use(Compression(codings=["gzip"]))
    app.use(ConditionalGet())
    app.get("/")(lambda: page)
    async with app.test_client() as client:
        for accepted, coding in [("gzip", "gzip"), ("identity", None), ("gzip", "gzip")]:
            answer = await client.get("/", headers={"Accept-Encoding": accepted})
            assert answer.headers.get("content-encoding") == coding
            assert answer.text == "a" * 5000
        tag = answer.headers["etag"]
        assert (await client.get("/", headers={"If-None-Match": tag})).status_code == 304
        assert (await client.get("/")).text == "a" * 5000


async def test_middleware_may_keep_an_answer_and_give_it_to_others() -> None:
    app = App()
    kept: dict[str, Response] = {}
    app.use(Meeting(len(NAMES)))
    app.use(mark)

    @app.middleware
    async def cache(request: Request, call_next: Handler) -> Response:
        if request.path not in kept:
            kept[request.path] = await call_next(request)
        return kept[request.path]

    app.get("/")(lambda: "x")
    for name, answer in zip(NAMES, await ask_all(app), strict=True):
        assert fields_of(answer) == marked(name)
    assert [*kept["/"].headers] == ["content-type"]


async def test_middleware_may_keep_the_fields_of_an_answer_for_others() -> None:
    app = App()
    kept: dict[str, tuple[bytes, Mapping[str, str]]] = {}
    app.use(Meeting(len(NAMES)))
    app.use(mark)

    @app.middleware
    async def cache(request: Request, call_next: Handler) -> Response:
        if request.path in kept:
            body, fields = kept[request.path]
            return Response(body, headers=fields)
        response = await call_next(request)
        response.headers["X-Cached"] = "yes"
        kept[request.path] = response.body, response.headers
        return response

    app.get("/")(lambda: "x")
    for name, answer in zip(NAMES, await ask_all(app), strict=True):
        assert fields_of(answer) == marked(name)
    assert [*kept["/"][1]] == ["content-type", "x-cached"]


@pytest.mark.parametrize("hook", ["before_request", "after_request", "errorhandler", "tuple"])
async def test_any_part_of_an_app_may_answer_by_one_that_is_shared(hook: str) -> None:
    app, page = App(), Response("x", 503)
    app.use(Meeting(len(NAMES)))
    app.use(mark)
    if hook == "before_request":
        app.before_request(lambda request: page)
    elif hook == "after_request":
        app.after_request(lambda request, response: page)
    elif hook == "errorhandler":
        app.errorhandler(HTTPError)(lambda error: page)

    @app.get("/")
    async def index(request: Request) -> object:
        if hook == "tuple":
            return page, 503, {"X-Own": request.query["name"]}
        raise HTTPError(503, headers={"X-Own": request.query["name"]})

    for name, answer in zip(NAMES, await ask_all(app), strict=True):
        assert (answer.status_code, answer.text) == (503, "x")
        assert fields_of(answer) == marked(name)
        if hook in ("tuple", "errorhandler"):
            assert answer.headers.get_list("x-own") == [name]
    assert page.status == 503
    assert [*page.headers] == ["content-type"]


@pytest.mark.parametrize("has_status", [True, False])
async def test_middleware_may_answer_by_one_that_is_shared_in_a_tuple(has_status: bool) -> None:
    app, page = App(), Response("x")
    app.use(Meeting(len(NAMES)))
    app.use(mark)

    @app.middleware
    async def answer_by_page(request: Request, call_next: Handler) -> tuple[object, ...]:
        own = {"X-Own": request.query["name"]}
        return (page, 201, own) if has_status else (page, own)

    app.get("/")(lambda: "not reached")
    for name, answer in zip(NAMES, await ask_all(app), strict=True):
        assert (answer.status_code, answer.text) == (201 if has_status else 200, "x")
        assert answer.headers.get_list("x-own") == [name]
        assert fields_of(answer) == marked(name)
    assert (page.status, [*page.headers]) == (200, ["content-type"])


async def test_status_of_a_tuple_is_that_of_one_answer() -> None:
    app, page = App(), Response("x")
    app.get("/a")(lambda: (page, 404))
    app.get("/b")(lambda: page)
    async with app.test_client() as client:
        assert [(await client.get(path)).status_code for path in ("/a", "/b", "/a")] == [
            404,
            200,
            404,
        ]


async def test_middleware_of_the_app_around_gets_a_copy_too() -> None:
    outer, inner, page = App(), App(), Response("x")
    outer.use(Meeting(len(NAMES)))
    outer.use(mark)
    inner.get("/page")(lambda: page)
    outer.mount("/in", inner)
    for name, answer in zip(NAMES, await ask_all(outer, "/in/page"), strict=True):
        assert fields_of(answer) == marked(name)


async def test_json_is_written_by_the_app_that_answers() -> None:
    page = Response.json({"number": 1j})
    for default, text in [(str, '{"number":"1j"}'), (abs, '{"number":1.0}')]:
        app = App()
        app.json_default = default  # type: ignore[assignment]
        app.get("/")(lambda: page)
        async with app.test_client() as client:
            assert (await client.get("/")).text == text


async def test_subclass_of_an_application_is_copied_whole() -> None:
    class Page(Response):
        def __init__(self, title: str) -> None:
            super().__init__(title)
            self.title = title

    app, page, seen = App(), Page("home"), list[Response]()
    app.use(mark)
    app.after_request(lambda request, response: seen.append(response))
    app.get("/")(lambda: page)
    for name, answer in zip(NAMES, await ask_all(app), strict=True):
        assert (answer.text, fields_of(answer)) == ("home", marked(name))
    assert [each.title for each in seen if isinstance(each, Page)] == ["home"] * len(NAMES)
    assert all(each is not page for each in seen)


# --- templates


@pytest.mark.parametrize("has_middleware", [False, True])
async def test_template_is_rendered_for_each_exchange(tmp_path: Path, has_middleware: bool) -> None:
    (tmp_path / "page.html").write_text("for {{ request.query['name'] }}", "utf-8")
    app, page = App(), Templates(tmp_path).render("page.html")
    if has_middleware:
        app.use(Meeting(len(NAMES)))
        app.use(mark)
    app.get("/")(lambda: page)
    for name, answer in zip(NAMES, await ask_all(app), strict=True):
        assert answer.text == f"for {name}"
        assert fields_of(answer) == (marked(name) if has_middleware else [])


async def test_template_that_somebody_looked_at_is_rendered_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("for {{ request and request.path }}", "utf-8")
    app, page = App(), Templates(tmp_path).render("page.html")
    assert page.body == b"for "
    app.get("/x")(lambda: page)
    async with app.test_client() as client:
        assert (await client.get("/x")).text == "for /x"


# --- bodies that can be sent only once


async def pieces() -> AsyncIterator[str]:
    yield "a"


ONCE: dict[str, Callable[[Path], Response]] = {
    "stream": lambda folder: Response.stream(pieces()),
    "plain stream": lambda folder: Response.stream(["a"]),
    "events": lambda folder: Response.events(pieces()),
    "file": lambda folder: Response.file(folder / "page.html"),
    "template stream": lambda folder: Templates(folder).stream("page.html"),
}


@pytest.mark.parametrize("where", ["endpoint", "error handler"])
async def test_second_use_changes_nothing_of_the_first(where: str) -> None:
    first_waits, second_failed = asyncio.Event(), asyncio.Event()

    async def late() -> AsyncIterator[str]:
        first_waits.set()
        await second_failed.wait()
        yield "a"

    app, page = App(), Response.stream(late())

    @app.get("/")
    async def index(request: Request) -> tuple[Response, dict[str, str]]:
        fields = {"X-For": request.query["name"]}
        if where == "error handler":
            raise HTTPError(401, headers=fields)
        return page, fields

    @app.errorhandler(401)
    async def login(request: Request, error: HTTPError) -> tuple[Response, dict[str, str]]:
        return page, dict(error.headers)

    async with app.test_client(raise_errors=False) as client:
        first = asyncio.create_task(client.get("/?name=ada"))
        await first_waits.wait()
        assert (await client.get("/?name=bob")).status_code == 500
        second_failed.set()
        assert (await first).headers["x-for"] == "ada"


@pytest.mark.parametrize("has_middleware", [False, True])
@pytest.mark.parametrize("kind", ONCE)
async def test_second_use_is_refused_with_the_remedy(
    kind: str, has_middleware: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "page.html").write_text("a" * 100_000, "utf-8")
    app, page = App(), ONCE[kind](tmp_path)
    if has_middleware:
        app.use(Meeting(2))
    app.get("/")(lambda: page)
    async with app.test_client(raise_errors=False) as client:
        answers = await asyncio.gather(client.get("/"), client.get("/"))
    assert sorted(answer.status_code for answer in answers) == [200, 500]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info is not None
    assert "make the Response inside the endpoint" in str(record.exc_info[1])


# --- changes


CHANGES: dict[str, Callable[[Response], object]] = {
    "field": lambda response: response.headers.add("X", "y"),
    "cookie": lambda response: response.set_cookie("a", "b"),
    "status": lambda response: setattr(response, "status", 404),
    "body": lambda response: setattr(response, "body", b"y"),
}


@pytest.mark.parametrize("has_middleware", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in MADE_ONCE if kind != "JSON"])
@pytest.mark.parametrize("change", CHANGES)
async def test_change_after_the_first_use_is_refused(
    change: str, kind: str, has_middleware: bool
) -> None:
    app, page = App(), MADE_ONCE[kind]()
    if has_middleware:
        app.use(mark)
    app.get("/")(lambda: page)
    async with app.test_client() as client:
        first = await client.get("/", follow_redirects=False)
        with pytest.raises(LocalProtocolError, match="make a new response for each request"):
            CHANGES[change](page)
        second = await client.get("/", follow_redirects=False)
    assert second.headers.multi_items() == first.headers.multi_items()
    assert (second.status_code, second.content) == (first.status_code, first.content)


async def test_endpoint_that_changes_a_shared_answer_is_told_so() -> None:
    app, page = App(), Response("x")
    app.use(mark)

    @app.get("/")
    async def index(request: Request) -> Response:
        return page.set_cookie("name", request.query["name"])

    async with app.test_client() as client:
        assert (await client.get("/?name=ada")).headers["x-for"] == "ada"
        with pytest.raises(LocalProtocolError, match="make a new response for each request"):
            await client.get("/?name=bob")
