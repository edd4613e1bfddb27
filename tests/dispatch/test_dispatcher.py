"""The dispatcher: the handler of a request line; methods, slashes, targets with a scheme."""

from __future__ import annotations

import pytest
from support.apps import client_of, hello
from support.serving import on_loopback, peer_of

from microweb import App, HTTPError, Request

# --- methods --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_shorthand_for_each_method(method: str) -> None:
    app = App()

    @getattr(app, method.lower())("/")
    async def show(request: Request) -> str:
        return request.method

    async with client_of(app) as client:
        assert (await client.request(method, "/")).text == method
        other = "POST" if method == "GET" else "GET"
        assert (await client.request(other, "/")).status_code == 405


async def test_one_endpoint_at_several_paths_and_methods() -> None:
    app = App()

    @app.post("/b")
    @app.route("/a", ["GET", "PUT"])
    async def show(request: Request) -> str:
        return f"{request.method} {request.path}"

    async with client_of(app) as client:
        assert (await client.get("/a")).text == "GET /a"
        assert (await client.put("/a")).text == "PUT /a"
        assert (await client.post("/b")).text == "POST /b"


async def test_head_is_get_without_its_content() -> None:
    app = App()
    app.get("/")(hello)
    async with client_of(app) as client:
        response = await client.head("/")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == "2"


async def test_method_that_no_route_has_is_405_with_allow() -> None:
    app = App()
    app.get("/u/{id}")(hello)
    app.delete("/u/me")(hello)
    async with client_of(app) as client:
        response = await client.post("/u/me")
    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


async def test_options_tells_the_methods() -> None:
    app = App()
    app.post("/")(hello)
    async with client_of(app) as client:
        response = await client.options("/")
        assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, POST")
        assert (await client.options("/nowhere")).status_code == 404


async def test_own_options_route_answers_itself() -> None:
    app = App()
    app.route("/", ["OPTIONS"])(hello)
    async with client_of(app) as client:
        assert (await client.options("/")).text == "|/"


async def test_options_asterisk_tells_the_methods_of_all_routes() -> None:
    app, inner = App(), App()
    app.get("/a")(hello)
    inner.patch("/b")(hello)
    app.mount("/inner", inner)
    async with client_of(app) as client:
        answer = await client.raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"\r\nAllow: GET, HEAD, OPTIONS, PATCH\r\n" in answer


async def test_path_with_a_broken_escape_is_400() -> None:
    app = App()
    app.get("/{x}")(hello)
    async with client_of(app) as client:
        answer = await client.raw(b"GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


# --- slashes --------------------------------------------------------------------------


@pytest.mark.parametrize(("route", "asked"), [("/a/b", "/a/b/"), ("/a/b/", "/a/b")])
async def test_redirect_to_the_path_with_the_other_slash(route: str, asked: str) -> None:
    app = App(redirect_slashes=True)
    app.post(route)(hello)
    async with client_of(app) as client:
        response = await client.post(f"{asked}?x=1&y=%20")
        assert (response.status_code, response.headers["location"]) == (308, f"{route}?x=1&y=%20")
        assert (await client.get(asked)).status_code == 404


async def test_slashes_are_not_redirected_unless_asked_for() -> None:
    app = App()
    app.get("/a")(hello)
    async with client_of(app) as client:
        assert (await client.get("/a/")).status_code == 404


@pytest.mark.parametrize("target", ["//evil.example", "/%5Cevil.example", "//evil.example/.."])
async def test_redirect_never_leaves_the_origin(target: str) -> None:
    app = App(redirect_slashes=True)
    app.converter("any", ".*", str)
    app.get("/{one:any}/")(hello)
    app.get("/{one:any}/{two:any}/")(hello)
    app.get("/{one:any}/{two:any}/{three:any}/")(hello)
    async with client_of(app) as client:
        answer = await client.raw(
            f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
    assert f"\r\nLocation: /{target.lstrip('/')}/\r\n".encode() in answer


# --- methods --------------------------------------------------------------------------


async def test_any_token_is_a_method_of_a_route() -> None:
    app = App()

    @app.route("/cache", methods=["PURGE", "QUERY"])
    async def purge(request: Request) -> str:
        return f"{request.method} {await request.text()}"

    @app.get("/page")
    async def page() -> str:
        return "page"

    @app.errorhandler(501)
    async def unknown(error: HTTPError) -> str:
        return f"handled: {error.detail}"

    async with client_of(app) as client:
        answer = await client.request("PURGE", "/cache", content=b"all")
        assert (answer.status_code, answer.text) == (200, "PURGE all")
        answer = await client.request("QUERY", "/cache", content=b"q")
        assert (answer.status_code, answer.text) == (200, "QUERY q")
        answer = await client.request("PURGE", "/page")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await client.request("PURGE", "/missing")).status_code == 404
        answer = await client.get("/cache")
        assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, PURGE, QUERY")
        for method in ("PROPFIND", "BREW"):
            for path in ("/cache", "/page", "/missing"):
                answer = await client.request(method, path)
                assert answer.status_code == 501
                assert answer.text == "handled: no route has this method"
        for method in ("POST", "DELETE", "PATCH", "TRACE"):  # every server knows them
            assert (await client.request(method, "/page")).status_code == 405
            assert (await client.request(method, "/missing")).status_code == 404


async def test_a_method_of_a_mounted_app_is_known() -> None:
    app, inner = App(), App()
    inner.route("/", methods=["PURGE"])(lambda: "purged")
    app.get("/page")(lambda: "page")
    app.mount("/inner", inner)
    async with client_of(app) as client:
        assert (await client.request("PURGE", "/inner/")).text == "purged"
        assert (await client.request("PURGE", "/page")).status_code == 405


# --- targets that name a scheme


HTTPS = b"GET %b HTTP/1.1\r\nHost: a\r\n%bConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://a/", 200),
        (b"https://a/", 421),
        (b"HTTPS://a/", 421),
        (b"https://a/nowhere", 421),
        (b"/https://a/", 404),
    ],
)
async def test_target_of_https_needs_a_secure_connection(target: bytes, status: int) -> None:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        return request.url

    async with app.test_client() as client:
        for _ in range(2):  # the second time the memos are filled
            answer = await client.raw(HTTPS % (target, b""))
            assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_target_of_https_through_a_trusted_proxy() -> None:
    app = App()

    @app.get("/")
    async def index(request: Request) -> str:
        return request.url

    async with on_loopback(app, trusted_proxies=["127.0.0.1"]) as server:
        async with peer_of(server) as peer:
            await peer.send(HTTPS % (b"https://a/", b"X-Forwarded-Proto: https\r\n"))
            assert (await peer.read_all()).endswith(b"https://a/")
        async with peer_of(server) as peer:
            await peer.send(HTTPS % (b"https://a/", b"X-Forwarded-Proto: http\r\n"))
            assert (await peer.read_all()).startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
