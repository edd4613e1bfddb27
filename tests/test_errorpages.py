"""The default answer to an error: its form, its content, and nothing internal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest

from microweb import App, HTTPError, Request, Response, html
from microweb.errorpages import (
    Form,
    _known_page,
    default_answer,
    missing_page,
    page_response,
    plain_answer,
    preferred_form,
)
from microweb.errors import MalformedRequest, MethodNotAllowed, NotFound, UnprocessableContent
from microweb.faults import Fault

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def raising(error: Exception) -> App:
    app = App()

    @app.get("/")
    async def index() -> str:
        secret_local = "inside"
        raise error if secret_local else AssertionError

    return app


async def get(app: App, accept: str, path: str = "/") -> Any:
    async with app.test_client(raise_errors=False) as client:
        return await client.get(path, headers={"Accept": accept})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/plain", "text"),
        ("text/html;q=0.5, text/plain", "text"),
        ("image/png", "text"),
        ("text/html;q=0", "text"),
        (BROWSER, "html"),
        ("text/html", "html"),
        ("application/xhtml+xml", "html"),
        ("TEXT/HTML", "html"),
        ("application/json, text/html", "html"),
        ("text/html;q=0.8, application/json;q=0.9", "json"),
        ("application/problem+json", "json"),
        ("application/json, text/plain, */*", "json"),
        ("text/html;q=nan", "text"),
        (";,;q=1,/,,", "text"),
    ],
)
def test_form_is_the_one_that_is_named(accept: str, form: Form) -> None:
    assert preferred_form(accept) == form


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("image/png" + " " * 300, "json"),
        ("text/plain", "text"),
        ("text/plain, */*", "text"),
        (BROWSER, "html"),
    ],
)
def test_route_of_json_prefers_json_if_no_form_is_named(accept: str, form: Form) -> None:
    assert preferred_form(accept, in_json=True) == form


def test_faults_are_a_line_each_and_members_of_problem_details() -> None:
    faults = [Fault("body", "#/a", "missing"), Fault("body", "#/b", "<odd>")]
    error = UnprocessableContent(faults=faults)
    text = default_answer(error, "text/plain").body.decode()
    assert text == "Unprocessable Content\n#/a: missing\n#/b: <odd>\n"
    page = default_answer(error, "text/html").body.decode()
    assert '<p class="detail">a: missing\nb: &lt;odd&gt;</p>' in page
    problem = json.loads(default_answer(error, "application/json").body)
    assert problem["detail"] == "2 faults in the body"
    assert problem["errors"] == [fault.members() for fault in faults]


def test_page_leaves_the_mark_of_a_pointer_out() -> None:
    faults = [
        Fault("body", "#", "not both"),
        Fault("body", "#/a/1", "#/b"),
        Fault("query", "c", "d"),
    ]
    page = default_answer(UnprocessableContent(faults=faults), "text/html").body.decode()
    assert ">not both\na/1: #/b\nquery parameter &#x27;c&#x27;: d</p>" in page
    page = default_answer(UnprocessableContent("#/own text"), "text/html").body.decode()
    assert ">#/own text</p>" in page


async def test_browser_gets_a_short_page() -> None:
    response = await get(raising(NotFound("no such <user>")), BROWSER)
    assert (response.status_code, response.headers["vary"]) == (404, "Accept")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>404 Not Found</title>" in response.text
    assert '<p>404</p><h1>Not Found</h1><p class="detail">no such &lt;user&gt;</p>' in response.text


@pytest.mark.parametrize("accept", [BROWSER, "application/json", "*/*"])
async def test_nothing_of_the_inside_is_shown(accept: str) -> None:
    response = await get(raising(ValueError("inside")), accept)
    assert response.status_code == 500
    assert "Internal Server Error" in response.text
    for text in ("inside", "ValueError", "secret_local", ".py", "Traceback", "raise"):
        assert text not in response.text


async def test_debug_module_is_not_even_imported_without_debug() -> None:
    code = (
        "import asyncio, sys, microweb, microweb.cli\n"
        "app = microweb.App(); app.get('/')(lambda: 1 // 0)\n"
        "async def ask(debug):\n"
        "    app.debug = debug\n"
        "    async with app.test_client(raise_errors=False) as client:\n"
        "        assert (await client.get('/')).status_code == 500\n"
        "        assert (await client.get('/x')).status_code == 404\n"
        "asyncio.run(ask(False))\n"
        "assert not [name for name in sys.modules if name.startswith('microweb.debug')]\n"
        "app = microweb.App(); app.get('/')(lambda: 1 // 0)\n"
        "asyncio.run(ask(True))\n"
        "assert 'microweb.debug.page' in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


async def test_fields_of_the_error_are_in_each_form() -> None:
    for accept in (BROWSER, "application/json", "*/*"):
        response = await get(raising(MethodNotAllowed(["PUT", "GET"])), accept)
        assert (response.status_code, response.headers["allow"]) == (405, "GET, PUT")


@pytest.mark.parametrize("accept", [BROWSER, "application/json", "*/*"])
async def test_each_page_of_a_status_is_the_clients_own(accept: str) -> None:
    """Pages without a detail are made once."""
    first, second = (plain_answer(404, accept) for _ in range(2))
    first.headers["X-For"] = "ada"
    first.headers.add("Vary", "Cookie")
    first.set_cookie("for", "ada")
    first.status, first.body = 410, b"ada"
    third = plain_answer(404, accept)
    for other in (second, third):
        assert (other.status, other.headers.get_all("vary")) == (404, ["Accept"])
        assert "x-for" not in other.headers and b"ada" not in other.body
        assert other._cookies is None


ACCEPTS = ("", "*/*", BROWSER, "application/json", "text/plain", "text/html," + "a/b," * 99)


@pytest.mark.parametrize("accept", ACCEPTS)
async def test_kept_404_has_the_bytes_of_the_other_one(accept: str) -> None:
    """An app without middleware answers with the kept page, others with a page of their own."""
    kept, other = App(), App()

    @other.middleware
    async def pass_on(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    field = f"Accept: {accept}\r\n" if accept else ""
    for method, last in (("GET", ""), ("HEAD", ""), ("PUT", ""), ("GET", "Connection: close\r\n")):
        head = f"{method} /x HTTP/1.1\r\nHost: a\r\n{field}{last}\r\n".encode()
        answers = []
        for app in (kept, other):
            async with app.test_client() as client:
                raw = [await client.raw(head) for _ in range(3)]  # then the memos are filled
            answers += [re.sub(rb"\r\nDate: [^\r]*", b"", each) for each in raw]
        assert len(set(answers)) == 1, answers
        assert answers[0].startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"\r\nVary: Accept\r\n" in answers[0]
        assert (b"\r\nConnection: close\r\n" in answers[0]) == bool(last)
        assert answers[0].endswith(b"\r\n\r\n") == (method == "HEAD")


@pytest.mark.parametrize("accept", ACCEPTS)
def test_kept_page_takes_no_change_of_a_client(accept: str) -> None:
    first, second = missing_page(accept), missing_page(accept)
    first.headers["X-For"] = "ada"
    first.headers.add("Vary", "Cookie")
    first.set_cookie("for", "ada")
    first.status, first.body = 410, b"ada"
    for other in (second, missing_page(accept), second.hand_on()):
        assert (other.status, other.headers.get_all("vary")) == (404, ["Accept"])
        assert other.headers.pairs() == plain_answer(404, accept).headers.pairs()
        assert other.body == plain_answer(404, accept).body
        assert other._cookies is None


async def test_kept_page_may_be_changed_around_the_app() -> None:
    """Code that calls the app gets a response of its own, also the second time."""
    app, outer = App(), App()

    async def change(request: Request, path: str) -> Response:
        response: Response = await app(request)
        if name := request.query.get("for"):
            response.headers["X-For"] = name
            response.set_cookie("for", name)
            response.body = name.encode()
        return response

    outer.get("/{path:path}")(change)
    async with outer.test_client() as client:
        answers = [await client.get(f"/x{query}") for query in ("", "?for=ada", "?for=eve", "")]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert [answer.text for answer in answers] == ["Not Found\n", "ada", "eve", "Not Found\n"]
    assert [answer.headers.get("x-for") for answer in answers] == [None, "ada", "eve", None]
    assert ["set-cookie" in answer.headers for answer in answers] == [False, True, True, False]
    assert {answer.headers["vary"] for answer in answers} == {"Accept"}


async def test_each_client_gets_the_404_in_its_own_form() -> None:
    app, types = App(), []
    async with app.test_client() as client:
        for accept in (*ACCEPTS, *ACCEPTS):
            answer = await client.get("/x", headers={"Accept": accept})
            types.append(answer.headers["content-type"].partition(";")[0])
    html, text, problem = "text/html", "text/plain", "application/problem+json"
    assert types == [text, text, html, problem, text, html] * 2


def test_memo_of_accept_fields_is_bounded() -> None:
    size = _known_page.cache_info().maxsize
    assert size is not None
    for number in range(2 * size):
        missing_page(f"text/a{number}")
    assert _known_page.cache_info().currsize == size
    before = _known_page.cache_info()
    missing_page("text/html," + "a/b," * 99)  # longer than those of browsers
    assert _known_page.cache_info() == before


def test_status_form_and_detail_are_not_mixed_up() -> None:
    cases = [
        (status, accept) for status in (404, 405) for accept in (None, "*/*", BROWSER, "a/json")
    ]
    for _ in range(2):
        answers = [plain_answer(status, accept) for status, accept in cases]
        bodies = {(answer.status, answer.body) for answer in answers}
        assert len(bodies) == 6  # None is text, as `*/*`
        assert [answer.status for answer in answers] == [status for status, _ in cases]
        varying = ["vary" in answer.headers for answer in answers]
        assert varying == [accept is not None for _, accept in cases]
        assert b"mine" in plain_answer(404, "a/json", extra={"mine": 1}).body
        assert b"mine" in plain_answer(404, BROWSER, detail="mine").body
        assert plain_answer(405, BROWSER, headers={"Allow": "PUT"}).headers["allow"] == "PUT"


async def test_vary_of_the_error_stays() -> None:
    response = await get(raising(HTTPError(406, headers={"Vary": "Accept-Language"})), BROWSER)
    assert response.headers.get_list("vary") == ["Accept-Language", "Accept"]


async def test_handler_that_fails_is_a_500_in_the_wanted_form() -> None:
    app = App()

    @app.errorhandler(404)
    async def missing() -> str:
        raise NotFound("inside")

    for accept, text in ((BROWSER, "<h1>Internal"), ("application/json", '"status":500')):
        response = await get(app, accept)
        assert response.status_code == 500
        assert text in response.text and "inside" not in response.text


def test_page_allows_its_style_and_nothing_else() -> None:
    response = page_response(404, "Not Found", html("<p>x</p>"), "p { color: red }")
    digest = b64encode(sha256(b"p { color: red }").digest()).decode()
    policy = response.headers["content-security-policy"]
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert b"<style>p { color: red }</style>" in response.body
    assert b"<script" not in response.body


def test_what_broke_http_has_no_request_that_could_vary() -> None:
    response = default_answer(MalformedRequest("no host", b"x"), None)
    assert (response.status, response.body) == (400, b"Bad Request\n")
    assert "vary" not in response.headers
    assert b"no host" in default_answer(MalformedRequest("no host"), None, debug=True).body
    error = MalformedRequest("no host", b"Host: secret\r\xff")
    assert b"got b'Host: secret\\r\\xff'" in default_answer(error, None, debug=True).body
    assert b"ecret" not in default_answer(error, None).body


def test_lone_surrogate_is_no_fault() -> None:
    for accept in ("", BROWSER, "application/json"):
        assert plain_answer(400, accept, detail="\ud800").body


def test_extra_members_are_those_of_the_application() -> None:
    response = default_answer(HTTPError(402, "declined", card="4242"), "application/json")
    assert response.body == (
        b'{"status":402,"title":"Payment Required","detail":"declined","card":"4242"}'
    )
