"""The debug answer: its form, its content, and the content that it never has."""

from __future__ import annotations

import logging
from html.parser import HTMLParser
from typing import Any

import pytest

from microweb import App, ConfigurationError, HTTPError, Request, abort
from microweb.debug import page as debug_page
from microweb.errors import NotFound, Unauthorized
from microweb.templating import Templates

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
JSON = {"Accept": "application/json"}


class Hostile:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Huge:
    def __repr__(self) -> str:
        return "<script>" * 1_000_000


@pytest.fixture
def app() -> App:
    app = App(debug=True)

    @app.get("/fault/{name}")
    async def fault(request: Request, name: str) -> str:
        password, hostile, huge = "correct horse", Hostile(), Huge()
        raise ValueError(f"<script>{name}</script> with {password}", hostile is huge)

    @app.post("/form")
    async def form(request: Request) -> None:
        await request.form()
        raise LookupError("after the form")

    @app.post("/unread")
    async def unread() -> None:
        raise LookupError("before the form")

    @app.get("/refused")
    async def refused() -> None:
        abort(403, "not for <you>", headers={"X-Why": "age"}, age=18)

    @app.get("/surrogate")
    async def surrogate() -> None:
        raise ValueError("\ud800\x00")

    return app


async def get(app: App, path: str, headers: dict[str, str] = BROWSER) -> Any:
    async with app.test_client(raise_errors=False) as client:
        return await client.get(path, headers=headers)


class Checker(HTMLParser):
    """Asserts that each open tag is closed, and collects the names of tags and attributes."""

    VOID = frozenset(("meta", "br"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# --- a fault


async def test_browser_gets_a_page_that_is_never_kept(app: App) -> None:
    response = await get(app, "/fault/x")
    assert response.status_code == 500
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["vary"] == "Accept"
    assert "default-src 'none'; style-src 'sha256-" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/fault/x", "/fault/%3Cb%3E?%3Cb%3E=<b>", "/refused", "/nowhere", "/surrogate"]
)
async def test_page_is_well_formed_without_scripts(app: App, path: str) -> None:
    checker = Checker((await get(app, path)).text)
    assert checker.open == []
    assert {"script", "b>"}.isdisjoint(checker.seen)
    assert checker.attributes <= {"lang", "charset", "name", "content", "class", "open"}


async def test_page_shows_exception_source_locals_and_request(app: App) -> None:
    text = (await get(app, "/fault/x?page=2")).text
    assert "<title>500 ValueError</title>" in text
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    assert "raise ValueError(f&quot;&lt;script&gt;{name}" in text
    assert "<tr><th>name</th><td>&#x27;x&#x27;</td></tr>" in text
    assert "&lt;Hostile whose repr raised ValueError&gt;" in text
    assert "(8,000,000 characters)" in text
    assert "/fault/{name} (fault at test_page.py:" in text
    assert '<pre class="raw">GET /fault/x?page=2 HTTP/1.1\nHost: testserver\n' in text
    assert "<q>Internal Server Error</q>" in text
    assert len(text) < 60_000


async def test_users_frames_are_open_and_others_are_folded(app: App) -> None:
    text = (await get(app, "/fault/x")).text
    assert text.count('<details class="frame own" open>') == 1
    assert '<details class="frame other" open>' not in text
    assert "frames of libraries</summary>" in text


async def test_fault_without_a_frame_of_the_user_opens_the_last(app: App) -> None:
    @app.get("/name")
    async def name(request: Request) -> object:
        return 5

    text = (await get(app, "/name")).text
    assert "returned int: expected" in text
    assert text.count('<details class="frame other" open>') == 1


async def test_secrets_are_nowhere(app: App) -> None:
    headers = {
        "Authorization": "Bearer abcdef.123456",
        "Cookie": "session=deadbeef; theme=midnight",
        "X-Api-Key": "sk-live-1",
    }
    path = "/fault/deadbeef?token=hushhush"
    for accept in (BROWSER, JSON, {}):
        text = (await get(app, path, {**accept, **headers})).text
        for secret in ("abcdef.123456", "deadbeef", "midnight", "sk-live", "hushhush", "correct"):
            assert secret not in text, (accept, secret)
    assert "[hidden]" in text


async def test_curl_gets_the_traceback_as_text(app: App) -> None:
    response = await get(app, "/fault/x", {})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    lines = response.text.splitlines()
    assert lines[:4] == [
        "Internal Server Error",
        "",
        "GET /fault/x",
        "Traceback (most recent call last):",
    ]
    assert lines[-1] == "ValueError: ('<script>x</script> with [hidden]', False)"


async def test_json_client_gets_problem_details_with_the_traceback(app: App) -> None:
    response = await get(app, "/fault/x", JSON)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["title"]) == (500, "Internal Server Error")
    assert problem["detail"].startswith("ValueError: ")
    assert problem["traceback"][0] == "Traceback (most recent call last):"
    assert problem["traceback"][-1] == problem["detail"]


async def test_fault_is_logged_as_well(app: App, caplog: pytest.LogCaptureFixture) -> None:
    await get(app, "/fault/x")
    assert [record.getMessage() for record in caplog.records] == ["GET /fault/x failed"]


async def test_page_of_much_takes_little_room(app: App) -> None:
    long = "a=b " * 100_000
    large = [{f"key{row}": long for row in range(100)} for _ in range(30)]

    def again(depth: int, **more: object) -> int:
        token, text, table = f"secret number {depth}", long, large
        return again(depth + 1, **more) if token and text and table else 0

    @app.get("/much")
    async def much() -> int:
        return again(0, **{f"name{number}": ["y" * 9000] * 100 for number in range(10)})

    text = (await get(app, "/much")).text
    assert "RecursionError" in text and "secret number 1" not in text
    assert len(text) < 2_000_000


async def test_local_whose_class_raises_does_not_end_the_page(app: App) -> None:
    class Proxy:
        """A lazy proxy without an object: `__class__` raises."""

        @property
        def __class__(self) -> Any:
            raise RuntimeError("outside of a request")

    @app.get("/proxy")
    async def proxy() -> None:
        lazy, listed = Proxy(), [Proxy(), {"password": Proxy()}]
        raise LookupError(len(listed) if lazy is not None else 0)

    text = (await get(app, "/proxy")).text
    assert "<title>500 LookupError</title>" in text
    assert "<tr><th>lazy</th><td>&lt;" in text
    assert "{&#x27;password&#x27;: [hidden]}" in text


# --- clients that get a debug page


@pytest.mark.parametrize(
    "name", ["Forwarded", "X-Forwarded-For", "x-forwarded-PROTO", "X-Forwarded-Host", "Via"]
)
async def test_request_by_a_proxy_gets_no_debug_page(app: App, name: str) -> None:
    for accept in (BROWSER, JSON, {}):
        for path in ("/fault/x", "/nowhere"):
            text = (await get(app, path, {**accept, name: "127.0.0.1"})).text
            for inside in ("ValueError", "Traceback", "/fault/{name}", "test_page.py"):
                assert inside not in text, (accept, path)
    assert "ValueError" in (await get(app, "/fault/x", {"X-Forward": "1"})).text


# --- the request as it was sent


async def test_bytes_are_shown_as_they_came(app: App) -> None:
    async with app.test_client(raise_errors=False) as client:
        answer = await client.raw(
            b"POST /form?a=%C3%BC HTTP/1.1\r\nhOsT: x\r\nX-Odd:   spaced\r\nX-Odd: again\r\n"
            b"Accept: text/html\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 29\r\nConnection: close\r\n\r\nuser=ada&password=hunter22%21"
        )
    assert (
        b'<pre class="raw">POST /form?a=%C3%BC HTTP/1.1\nhOsT: x\nX-Odd:   spaced\nX-Odd: again\n'
        in answer
    )
    assert b"Connection: close\n\nuser=ada&amp;password=[hidden]</pre>" in answer
    assert b"hunter22" not in answer


async def test_repeated_head_is_shown_as_well(app: App) -> None:
    head = b"GET /surrogate HTTP/1.1\r\nHost: x\r\nX-oDD: 1\r\nAccept: text/html\r\n\r\n"
    async with app.test_client(raise_errors=False) as client:
        for answer in (await client.raw(head), await client.raw(head * 3)):
            assert answer.count(b"GET /surrogate HTTP/1.1\nHost: x\nX-oDD: 1\n") in (1, 3)


async def test_body_that_nobody_read_is_left_alone(app: App) -> None:
    async with app.test_client(raise_errors=False) as client:
        response = await client.post("/unread", content=b"secret stuff", headers=BROWSER)
    assert "(the body was not read, or streamed)" in response.text
    assert "secret stuff" not in response.text


async def test_large_body_is_cut(app: App) -> None:
    form = {"text": "x" * 100_000}
    async with app.test_client(raise_errors=False) as client:
        response = await client.post("/form", data=form, headers=BROWSER)
    assert "… (100,005 bytes)</pre>" in response.text
    assert len(response.text) < 60_000


# --- HTTP errors


async def test_404_shows_the_routes(app: App) -> None:
    inner = App()
    inner.get("/users/{id}", name="user")(lambda id: id)
    app.mount("/admin", inner)
    for path in ("/nowhere", "/admin/nowhere"):
        response = await get(app, path)
        assert response.status_code == 404
        assert "<td>GET</td><td>/admin/users/{id}</td><td>user</td>" in response.text
        assert "<td>POST</td><td>/form</td><td>form</td><td>form at test_page" in response.text
        text = (await get(app, path, {})).text
        assert text.startswith("Not Found\n\nRoutes:\n")
        assert "\nGET   /admin/users/{id}\n" in text and "\nPOST  /form\n" in text
    assert (await get(app, "/x", JSON)).json() == {"status": 404, "title": "Not Found"}


async def test_405_shows_the_routes_and_says_allow(app: App) -> None:
    response = await get(app, "/form")
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")
    assert "None of these routes answers GET at this path." in response.text


async def test_404_of_an_endpoint_shows_where_it_was_raised(app: App) -> None:
    @app.get("/tea")
    async def tea() -> None:
        raise NotFound("we don't sell <that>")

    response = await get(app, "/tea")
    assert "<h1>Not Found</h1>" in response.text
    assert '<pre class="message">we don&#x27;t sell &lt;that&gt;</pre>' in response.text
    assert "<h2>Routes</h2>" not in response.text
    assert '<details class="raised" open>' in response.text
    assert "<q>Not Found · we don&#x27;t sell &lt;that&gt;</q>" in response.text


async def test_http_error_keeps_its_fields_and_its_problem_details(app: App) -> None:
    for accept in (BROWSER, JSON, {}):
        response = await get(app, "/refused", accept)
        assert (response.status_code, response.headers["x-why"]) == (403, "age")
        assert response.headers["cache-control"] == "no-store"
    assert response.text == "Forbidden\nnot for <you>\n"
    assert (await get(app, "/refused", JSON)).json() == {
        "status": 403,
        "title": "Forbidden",
        "detail": "not for <you>",
        "age": 18,
    }


async def test_error_of_middleware_at_no_route_is_no_miss(app: App) -> None:
    @app.before_request
    async def closed(request: Request) -> None:
        raise Unauthorized("who are you?")

    text = (await get(app, "/nowhere")).text
    assert "<h1>Unauthorized</h1>" in text and "<h2>Routes</h2>" not in text


async def test_handler_that_fails_is_shown_with_what_it_handled(app: App) -> None:
    @app.errorhandler(403)
    async def refused() -> str:
        raise HTTPError(404, "inside")

    response = await get(app, "/refused")
    assert response.status_code == 500
    assert "<title>500 microweb.errors.HTTPError</title>" in response.text
    assert "<small>raised while this was handled</small> microweb.errors.Forbidden" in response.text
    assert (await get(app, "/refused", JSON)).json()["status"] == 500


async def test_own_handlers_go_before_the_page(app: App) -> None:
    @app.errorhandler(500)
    async def sorry() -> str:
        return "sorry"

    assert (await get(app, "/fault/x")).text == "sorry"


# --- when debug is on


async def test_it_is_there_only_where_the_app_debugs(app: App) -> None:
    app.debug = False
    for path in ("/fault/x", "/nowhere", "/refused"):
        for accept in (BROWSER, JSON, {}):
            text = (await get(app, path, accept)).text
            assert not any(word in text for word in ("Traceback", "ValueError", "Routes", ".py"))


async def test_app_mounted_in_one_that_debugs_shows_it_too() -> None:
    app, inner = App(debug=True), App()
    inner.get("/x")(lambda: 1 // 0)
    app.mount("/in", inner)
    assert "ZeroDivisionError" in (await get(app, "/in/x")).text


async def test_mounted_app_that_debugs_does_not_open_its_parent() -> None:
    app, inner = App(), App(debug=True)
    for each in (app, inner):
        each.get("/x")(lambda: 1 // 0)
    app.mount("/in", inner)
    assert "ZeroDivisionError" in (await get(app, "/in/x")).text
    assert "ZeroDivisionError" not in (await get(app, "/x")).text


async def test_page_that_fails_itself_is_logged_and_a_plain_500(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the page is broken")

    monkeypatch.setattr(debug_page, "describe_exception", fail)
    response = await get(app, "/fault/x")
    assert response.status_code == 500
    assert "<h1>Internal Server Error</h1>" in response.text
    assert "the page is broken" not in response.text and "the page is broken" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


# --- templates


async def test_fault_in_a_template_shows_its_line(app: App, tmp_path: Any) -> None:
    (tmp_path / "page.html").write_text("<ul>\n<li>{{ 1 // count }}</li>\n</ul>\n")
    templates = Templates(tmp_path)

    @app.get("/page")
    async def page(count: int = 0) -> object:
        return templates.render("page.html", count=count, token="abcdefgh")

    text = (await get(app, "/page")).text
    assert "page.html<b>:2</b>" in text
    assert "&lt;li&gt;{{ 1 // count }}&lt;/li&gt;" in text
    assert "<tr><th>count</th><td>0</td></tr>" in text
    assert "abcdefgh" not in text and "lipsum" not in text


async def test_setting_that_is_missing_shows_its_remedy(app: App) -> None:
    @app.get("/page")
    async def page() -> None:
        raise ConfigurationError("app.templates is not set")

    assert "app.templates is not set" in (await get(app, "/page")).text
