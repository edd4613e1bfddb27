from __future__ import annotations

import pytest
from support.requesting import posted, request_of

from microweb import App, ConfigurationError, Request
from microweb.errors import (
    BodyConsumed,
    InvalidValue,
    MissingValue,
    TooManyFields,
    UnprocessableContent,
    UnsupportedMediaType,
)
from microweb.http.interfaces import Address

# --- the head -------------------------------------------------------------------------


def test_target_in_its_parts() -> None:
    request = request_of("/a%20b/c%2Fd?x=%C3%A4&y=1&x=2")
    assert (request.method, request.raw_path) == ("GET", "/a%20b/c%2Fd")
    assert (request.path, request.query_string) == ("/a b/c/d", "x=%C3%A4&y=1&x=2")
    assert request.query.pairs() == [("x", "ä"), ("y", "1"), ("x", "2")]
    assert request.url == "http://example.org/a%20b/c%2Fd?x=%C3%A4&y=1&x=2"
    assert repr(request) == "<Request GET '/a%20b/c%2Fd?x=%C3%A4&y=1&x=2'>"


def test_query_in_all_its_ways() -> None:
    query = request_of("/?a=1&b=x&a=2").query
    assert (query["a"], query.get("a"), query.get_all("a")) == ("1", "1", ["1", "2"])
    assert query.get("a", type=int) == 1
    assert query.get("c") is None and query.get("c", 7, type=int) == 7
    assert "a" in query and "c" not in query
    with pytest.raises(MissingValue, match="'c'"):
        query["c"]
    with pytest.raises(KeyError):
        query["c"]
    with pytest.raises(InvalidValue, match="'b'"):
        query.get("b", type=int)
    with pytest.raises(ValueError, match="'b'"):
        query.get("b", type=int)


def test_query_of_too_many_fields_is_400() -> None:
    assert len(request_of("/?a&b&c").query) == 3
    with pytest.raises(TooManyFields):
        _ = request_of("/?a&b&c&d").query


def test_headers_in_any_case() -> None:
    headers = request_of("/", {"X-A": "1"}).headers
    assert (headers["x-a"], headers.get("X-a"), headers.get_all("X-A")) == ("1", "1", ["1"])


def test_first_cookie_of_a_name_wins() -> None:
    request = request_of("/", {"Cookie": "a=1; b=x; a=2"})
    assert request.cookies == {"a": "1", "b": "x"}
    assert request_of("/").cookies == {}


@pytest.mark.parametrize(
    ("target", "host", "shown", "hostname"),
    [
        ("/", "Example.org:8080", "Example.org:8080", "example.org"),
        ("/", "[::1]:80", "[::1]:80", "::1"),
        ("/", "[::1]", "[::1]", "::1"),
        ("/", "", "", ""),
        ("http://other.org:81/x", "example.org", "other.org:81", "other.org"),
    ],
)
def test_host(target: str, host: str, shown: str, hostname: str) -> None:
    request = request_of(target, {"Host": host})
    assert (request.host, request.hostname) == (shown, hostname)


def test_url_of_options_asterisk_has_no_path() -> None:
    request = request_of("*", method="OPTIONS")
    assert (request.url, request.path) == ("http://example.org", "*")


def test_client_is_the_proxys_word_and_peer_the_sockets() -> None:
    direct = request_of("/")
    assert direct.client == direct.peer == Address("10.0.0.9", 4711)
    behind = request_of("/", {"X-Forwarded-For": "1.2.3.4"})
    assert behind.client == Address("1.2.3.4", 0)
    assert (behind.peer, behind.scheme) == (Address("10.0.0.9", 4711), "https")
    assert behind.url == "https://example.org/"


def test_request_outside_an_app() -> None:
    request = request_of("/a")
    assert (request.route, request.path_params, request.prefix) == (None, {}, "")
    with pytest.raises(ConfigurationError, match="did not come through an App"):
        _ = request.app


def test_state_is_its_own() -> None:
    first, second = request_of(), request_of()
    first.state.user = "bob"
    assert first.state.user == "bob"
    assert not hasattr(second.state, "user")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("args", "request.query"),
        ("get_json", "await request.json()"),
        ("remote_addr", "request.client.host"),
        ("query_params", "request.query"),
        ("path_args", "request.path_params"),
        ("user_agent", 'request.headers.get("user-agent")'),
    ],
)
def test_name_of_another_framework_says_ours(name: str, ours: str) -> None:
    with pytest.raises(AttributeError, match="in microweb it is") as caught:
        getattr(request_of(), name)
    assert f"`{ours}`" in str(caught.value)


async def test_app_route_and_path_params() -> None:
    app = App()

    @app.get("/u/{id:int}/{rest:path}")
    async def show(request: Request, id: int, rest: str) -> object:
        assert request.app is app and request.route is not None
        request.path_params.clear()  # a copy
        return [request.route.path, request.route.name, request.path_params, request.http_version]

    async with app.test_client() as client:
        for _ in range(2):
            assert (await client.get("/u/5/a")).json() == [
                "/u/{id:int}/{rest:path}",
                "show",
                {"id": 5, "rest": "a"},
                "1.1",
            ]


# --- the body -------------------------------------------------------------------------


async def test_body_is_read_by_one_reader() -> None:
    request = posted(b"a=", b"1&a=2", content_type="application/x-www-form-urlencoded")
    assert request.waits_for_body is True
    assert [piece async for piece in request.stream()] == [b"a=", b"1&a=2"]
    with pytest.raises(BodyConsumed):
        await request.body()
    request = posted(b"a=", b"1&a=2", content_type="application/x-www-form-urlencoded")
    assert await request.body() == b"a=1&a=2"
    assert request.waits_for_body is False
    assert await request.text() == "a=1&a=2"
    form = await request.form()
    assert form.get_all("a") == ["1", "2"]
    assert await request.form() is form
    assert [piece async for piece in request.stream()] == [b"a=1&a=2"]
    with pytest.raises(UnsupportedMediaType):
        _ = [part async for part in request.parts()]


async def test_json_of_the_body_by_its_type() -> None:
    request = posted(b'{"a": [1]}')
    assert await request.json() == {"a": [1]}
    assert await request.json(dict[str, list[int]]) == {"a": [1]}
    with pytest.raises(UnprocessableContent, match="expected"):
        await request.json(dict[str, str])


async def test_trailers_come_behind_the_body() -> None:
    app = App()

    @app.post("/")
    async def show(request: Request) -> object:
        before = request.trailers
        body = await request.text()
        assert request.trailers is not None
        return [before, body, request.trailers["x-sum"]]

    async with app.test_client() as client:
        answer = await client.raw(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
            b"\r\n2\r\nab\r\n0\r\nX-Sum: 5\r\n\r\n"
        )
    assert answer.endswith(b'\r\n\r\n[null,"ab","5"]')
