"""Applications of other interfaces, mounted in an App."""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.validate import validator

import httpx
import pytest
from support.wsgi import TEXT, Environ, answer_of, answering, body_of, get, post

from microweb import WSGI, App, ConfigurationError, Request, Response, Router
from microweb.interop.wsgi_answer import StartResponse
from microweb.middleware.compression import Compression
from microweb.request import Handler


def where(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return [repr((environ["SCRIPT_NAME"], environ["PATH_INFO"])).encode()]


@pytest.mark.parametrize(
    ("target", "script", "path"),
    [
        ("/old", "/old", ""),
        ("/old/", "/old", "/"),
        ("/old/a%20b/c?d", "/old", "/a b/c"),
        ("/%6Fld/a%2Fb", "/old", "/a/b"),
        ("/old//a", "/old", "//a"),
    ],
)
async def test_the_prefix_is_the_script_name(target: str, script: str, path: str) -> None:
    app = App()
    app.mount("/old", WSGI(validator(where)))
    assert body_of(await answer_of(app, get(target))).decode() == repr((script, path))


async def test_the_script_name_has_the_prefixes_of_all_apps() -> None:
    inner, app = App(), App()
    inner.mount("/ä b", WSGI(validator(where)))
    app.mount("/in", inner)
    told = body_of(await answer_of(app, get("/in/%C3%A4%20b/x"))).decode()
    assert told == repr(("/in/\xc3\xa4 b", "/x"))


async def test_each_method_arrives() -> None:
    def method(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return [environ["REQUEST_METHOD"].encode()]

    app = App()
    app.mount("/old", WSGI(method))
    for name in ("GET", "POST", "OPTIONS", "PATCH", "PURGE"):
        assert body_of(await answer_of(app, get("/old/x", method=name))) == name.encode()


async def test_other_paths_are_the_outer_apps() -> None:
    app = App()
    app.mount("/old", WSGI(where))

    @app.get("/old/new")
    async def new() -> str:
        return "new"

    assert body_of(await answer_of(app, get("/old/new"))) == b"new"
    assert (await answer_of(app, get("/older"))).startswith(b"HTTP/1.1 404 ")
    assert (await answer_of(app, get("/"))).startswith(b"HTTP/1.1 404 ")


async def test_middleware_is_around_it() -> None:
    app = App()

    @app.middleware
    async def note(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        response.headers["X-Seen"] = f"{response.status} {request.path} {request.prefix}"
        return response

    async def refuse(request: Request, call_next: Handler) -> Response:
        if request.path == "/secret":
            return Response("no", 403)
        return await call_next(request)

    app.mount("/old", WSGI(answering(status="202 Accepted")), use=[refuse])
    assert b"\r\nX-Seen: 202 /a /old\r\n" in await answer_of(app, get("/old/a"))
    assert b"\r\nX-Seen: 403 /secret /old\r\n" in await answer_of(app, get("/old/secret"))


async def test_middleware_changes_a_stream() -> None:
    app = App()
    app.use(Compression())
    app.mount("/old", WSGI(answering(iter([b"x" * 5000, b"y" * 5000]))))
    answer = await answer_of(app, get("/old/", "Accept-Encoding: gzip"))
    assert b"\r\nContent-Encoding: gzip\r\n" in answer
    assert len(answer) < 1000


async def test_the_body_that_a_middleware_has_read_is_read_again() -> None:
    def echo(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return [environ["wsgi.input"].read(10)]

    app = App()

    @app.middleware
    async def read(request: Request, call_next: Handler) -> Response:
        assert await request.body() == b"abc"
        return await call_next(request)

    app.mount("/old", WSGI(echo))
    assert body_of(await answer_of(app, post(b"abc", target="/old/"))) == b"abc"


async def test_the_outer_app_answers_errors() -> None:
    def broken(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise KeyError("old")

    app = App()
    app.mount("/old", WSGI(broken))

    @app.errorhandler(KeyError)
    async def sorry(error: KeyError) -> tuple[str, int]:
        return f"sorry, {error}", 503

    answer = await answer_of(app, get("/old/"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert body_of(answer) == b"sorry, 'old'"


async def test_the_limit_of_the_outer_app_holds() -> None:
    app = App(max_body=3)
    app.mount("/old", WSGI(where))
    assert (await answer_of(app, post(b"abcd", target="/old/"))).startswith(b"HTTP/1.1 413 ")


async def test_the_test_client_reaches_it() -> None:
    app = App()
    app.mount("/old", WSGI(validator(where)))
    async with app.test_client() as client:
        assert (await client.get("/old/x")).text == "('/old', '/x')"


async def test_an_app_under_another_server_mounts_it_too() -> None:
    def size(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        data = environ["wsgi.input"].read(10**8)
        return iter([environ["SCRIPT_NAME"].encode(), b" %d" % len(data)])

    app = App()
    app.mount("/old", WSGI(validator(size)))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        for body in (b"abc", b"x" * 2_000_000):
            answer = await client.post("/old/x", content=body)
            assert answer.text == f"/old {len(body)}"


async def test_an_application_is_mounted_twice() -> None:
    app, old = App(), WSGI(validator(where))
    app.mount("/a", old)
    app.mount("/b", old)
    assert body_of(await answer_of(app, get("/b/x"))) == b"('/b', '/x')"


@pytest.mark.parametrize("other", [None, 1, where, "app:app"])
def test_another_object_is_refused(other: object) -> None:
    with pytest.raises(ConfigurationError, match=r"a Router, an ASGI application or WSGI\(app\)"):
        App().mount("/old", other)  # type: ignore[arg-type]


def test_a_prefix_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="expected a prefix"):
        App().mount("", WSGI(where))
    with pytest.raises(ConfigurationError, match="leave the parameters out"):
        App().mount("/{x}", WSGI(where))
    App().mount("/r", Router())
