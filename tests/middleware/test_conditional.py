"""RFC 9110 section 13, for responses that the endpoint makes for each request."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from microweb import App, Response
from microweb.middleware import conditional
from microweb.middleware.conditional import ConditionalGet, make_tag

OLD, DATE, NEW = (
    "Mon, 01 Jan 2024 00:00:00 GMT",
    "Tue, 02 Jan 2024 00:00:00 GMT",
    "Wed, 03 Jan 2024 00:00:00 GMT",
)


def answering(make: Callable[[], Any]) -> App:
    app = App()

    @app.route("/", methods=("GET", "POST"), use=[ConditionalGet()])
    async def index() -> object:
        return make()

    return app


async def ask(app: App, method: str = "GET", **fields: str) -> httpx.Response:
    async with app.test_client() as client:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return await client.request(method, "/", headers=headers)


# --- tags -----------------------------------------------------------------------------


async def test_tag_is_made_from_the_body() -> None:
    first, same, other = [
        (await ask(answering(lambda value=value: value))).headers["etag"]
        for value in ("a", b"a", "b")
    ]
    assert first == same == make_tag(b"a") != other
    assert len(first) == 34 and first[0] == first[-1] == '"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', '"a,b" ,W/{}', "*"])
async def test_client_that_has_it_gets_a_304(method: str, form: str) -> None:
    def make() -> Response:
        fields = {
            "Cache-Control": "max-age=60",
            "Vary": "Accept",
            "Content-Language": "en",
            "Content-Location": "/x",
            "X-Other": "y",
            "Last-Modified": DATE,
        }
        return Response.json({"a": 1}, headers=fields).set_cookie("seen", "1")

    app = answering(make)
    tag = (await ask(app)).headers["etag"]
    response = await ask(app, method, if_none_match=form.format(tag))
    del response.headers["date"]
    assert (response.status_code, response.content) == (304, b"")
    assert dict(response.headers) == {
        "cache-control": "max-age=60",
        "vary": "Accept",
        "content-location": "/x",
        "x-other": "y",
        "etag": tag,
        "set-cookie": "seen=1; Path=/; HttpOnly; SameSite=Lax",
    }


@pytest.mark.parametrize("field", ['"other"', "", "W/", '"', "unquoted", '"unclosed'])
async def test_client_that_has_another_gets_it_whole(field: str) -> None:
    response = await ask(answering(lambda: "hello"), if_none_match=field)
    assert (response.status_code, response.text) == (200, "hello")


async def test_head_has_the_tag_that_get_has() -> None:
    app = answering(lambda: "hello")
    assert (await ask(app, "HEAD")).headers["etag"] == (await ask(app)).headers["etag"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ("missing", 404),
        lambda: ("created", 201),
        lambda: None,
        lambda: "",
        lambda: ("secret", {"Cache-Control": "private, No-Store"}),
        lambda: iter(["a"]),
    ],
    ids=["404", "201", "204", "empty", "no-store", "stream"],
)
async def test_no_tag_where_it_would_be_of_no_use(make: Callable[[], Any]) -> None:
    response = await ask(answering(make), if_none_match=make_tag(b"a"))
    assert "etag" not in response.headers
    assert response.status_code != 304


async def test_other_methods_are_left_alone() -> None:
    response = await ask(answering(lambda: "done"), "POST", if_none_match="*", if_match='"x"')
    assert (response.status_code, response.text) == (200, "done")
    assert "etag" not in response.headers


async def test_large_bodies_are_hashed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    where = []

    def spy(content: bytes) -> str:
        where.append(threading.current_thread() is threading.main_thread())
        return make_tag(content)

    monkeypatch.setattr(conditional, "make_tag", spy)
    size = conditional._INLINE_BYTES
    app = answering(lambda: bytes(size))
    for size in (size, size + 1):  # noqa: B020
        assert (await ask(app)).headers["etag"] == make_tag(bytes(size))
    assert where == [True, False]


# --- validators that the endpoint set -------------------------------------------------


async def test_tag_of_the_endpoint_is_used() -> None:
    app = answering(lambda: Response("x", headers={"ETag": 'W/"v1"'}))
    assert (await ask(app)).headers["etag"] == 'W/"v1"'
    assert (await ask(app, if_none_match='"v1"')).status_code == 304
    assert (await ask(app, if_match='"v1"')).status_code == 412  # a weak tag matches nothing


async def test_stream_that_the_client_has_is_closed() -> None:
    told = []

    async def pieces() -> AsyncIterator[str]:
        try:
            yield "x"
            told.append("sent")
        finally:
            told.append("closed")

    app = answering(lambda: Response.stream(pieces(), headers={"ETag": '"v1"'}))
    response = await ask(app, if_none_match='"v1"')
    assert (response.status_code, response.content, told) == (304, b"", ["closed"])
    assert (await ask(app, if_none_match='"v2"')).text == "x"


@pytest.mark.parametrize(("since", "status"), [(OLD, 200), (DATE, 304), (NEW, 304), ("?", 200)])
async def test_date_of_the_endpoint_is_used(since: str, status: int) -> None:
    app = answering(lambda: Response.stream(["x"], headers={"Last-Modified": DATE}))
    response = await ask(app, if_modified_since=since)
    assert (response.status_code, response.headers["last-modified"]) == (status, DATE)


async def test_false_precondition_is_a_412() -> None:
    app = answering(lambda: Response("x", headers={"ETag": '"1"', "Last-Modified": DATE}))
    for fields in ({"if_match": '"2"'}, {"if_unmodified_since": OLD}):
        response = await ask(app, **fields, accept="application/json")
        assert response.status_code == 412
        assert response.json()["title"] == "Precondition Failed"
