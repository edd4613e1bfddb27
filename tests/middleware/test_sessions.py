"""Sessions, through the client: in the cookie, in memory and in a real Redis."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import logging
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis.asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import TimestampSigner, base64_encode
from support.redis_server import COMMAND, redis_server

from microweb import App, ConfigurationError, Handler, Request, Response, Router, from_thread
from microweb.errors import LocalProtocolError, SessionTooLarge, TooManyRequests
from microweb.middleware.sessions import Sessions
from microweb.sessions.memory import MemoryStore
from microweb.sessions.redis import RedisStore
from microweb.sessions.session import Session
from microweb.sessions.store import SessionStore
from microweb.testing.client import TestClient
from microweb.testing.transport import MemoryTransport

KEY = "an-example-key-for-tests-0123456789"
OTHER_KEY = "another-example-key-for-tests-98765"

Do = Callable[[Session], object]
Site = Callable[..., App]


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


needs_redis = pytest.mark.skipif(COMMAND is None, reason="needs redis-server")
ON_THE_SERVER = ["memory", pytest.param("redis", marks=needs_redis)]


@pytest.fixture(params=["cookie", *ON_THE_SERVER])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SessionStore | None]:
    if request.param == "cookie":
        yield None
    elif request.param == "memory":
        yield MemoryStore()
    else:
        store = RedisStore(request.getfixturevalue("redis_url"))
        yield store
        await store.aclose()


on_the_server = pytest.mark.parametrize("store", ON_THE_SERVER, indirect=True)
in_the_cookie = pytest.mark.parametrize("store", ["cookie"], indirect=True)


def site(sessions: Sessions | None, *, app: App | None = None) -> App:
    """An app that returns its session, and calls `app.state.do` with it."""
    app = app or App()
    if sessions is not None:
        app.use(sessions)

    @app.get("/")
    async def show(request: Request) -> dict[str, Any]:
        return dict(request.session)

    @app.post("/")
    async def do(request: Request) -> str:
        return str(app.state.do(request.session))

    @app.get("/plain")
    async def plain() -> str:
        return "plain"

    return app


@pytest.fixture
def app(store: SessionStore | None) -> App:
    return site(Sessions(KEY, store=store))


@pytest.fixture
async def client(app: App) -> AsyncIterator[TestClient]:
    async with app.test_client() as client:
        yield client


async def do(client: TestClient, app: App, what: Do) -> httpx.Response:
    app.state.do = what
    response = await client.post("/")
    assert response.status_code == 200
    return response


def sessions_of(app: App) -> Sessions:
    (sessions,) = (each for each in app.all_middleware() if isinstance(each, Sessions))
    return sessions


async def values(client: TestClient) -> Any:
    return (await client.get("/")).json()


def cookie_of(client: TestClient) -> str:
    return client.cookies["session"]


def send(cookie: str) -> dict[str, str]:
    return {"Cookie": f"session={cookie}"}


# --- values kept


async def test_what_is_set_is_there_in_the_next_request(app: App, client: TestClient) -> None:
    assert await values(client) == {}
    await do(client, app, lambda session: session.update(user="ada", cart=[{"tea": 2}]))
    assert await values(client) == {"user": "ada", "cart": [{"tea": 2}]}


async def test_two_clients_have_two_sessions(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    async with app.test_client() as other:
        assert await values(other) == {}
        await do(other, app, lambda session: session.update(user="bob"))
    assert await values(client) == {"user": "ada"}


async def test_nested_changes_are_seen(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(a={"b": [1, {"c": 2}]}))
    response = await do(client, app, lambda session: session["a"]["b"][1].update(c=3))
    assert "set-cookie" in response.headers
    assert await values(client) == {"a": {"b": [1, {"c": 3}]}}


async def test_a_session_is_the_same_object_all_through_a_request(
    store: SessionStore | None,
) -> None:
    app = App()
    app.use(Sessions(KEY, store=store))

    @app.middleware
    async def count(request: Request, call_next: Handler) -> Response:
        request.session["seen"] = request.session.get("seen", 0) + 1
        response = await call_next(request)
        response.headers["X-Seen"] = str(request.session["seen"])
        return response

    @app.get("/")
    def twice(request: Request) -> str:
        session = request.session
        session["seen"] *= 2
        return "ok"

    async with app.test_client() as client:
        assert [(await client.get("/")).headers["x-seen"] for _ in range(3)] == ["2", "6", "14"]


async def test_flashes_are_shown_once(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.flash("saved", "success"))
    taken = await do(client, app, lambda session: session.flashes())
    assert taken.text == "[Flash(text='saved', category='success')]"
    assert (await do(client, app, lambda session: session.flashes())).text == "[]"


async def test_a_thread_may_use_the_session(store: SessionStore | None) -> None:
    app = App()
    app.use(Sessions(KEY, store=store))

    @app.post("/")
    def add(request: Request) -> str:
        request.session["said"] = from_thread(request.text())
        return "ok"

    @app.get("/")
    def said(request: Request) -> str:
        return str(request.session["said"])

    async with app.test_client() as client:
        await client.post("/", content="hello")
        assert (await client.get("/")).text == "hello"


# --- the cookie


async def test_the_cookie_is_safe_by_default(app: App, client: TestClient) -> None:
    response = await do(client, app, lambda session: session.update(a=1))
    value, attributes = response.headers["set-cookie"].split("; ", 1)
    assert value == f"session={cookie_of(client)}"
    assert attributes == "Max-Age=1209600; Path=/; HttpOnly; SameSite=Lax"


async def test_the_cookie_is_secure_over_https(app: App) -> None:
    async with app.test_client(base_url="https://testserver") as client:
        response = await do(client, app, lambda session: session.update(a=1))
        assert "; Secure; HttpOnly; " in response.headers["set-cookie"]
        assert await values(client) == {"a": 1}


@pytest.mark.parametrize(("proxies", "is_secure"), [(("127.0.0.0/8",), True), ((), False)])
async def test_the_cookie_is_secure_where_a_trusted_proxy_says_https(
    proxies: tuple[str, ...], is_secure: bool
) -> None:
    app = site(Sessions(KEY))
    app.state.do = lambda session: session.update(a=1)
    transport = MemoryTransport(app, trusted_proxies=proxies)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        response = await client.post("/", headers={"X-Forwarded-Proto": "https"})
    assert ("; Secure" in response.headers["set-cookie"]) is is_secure


async def test_a_host_cookie_has_name_and_age_as_told(store: SessionStore | None) -> None:
    app = site(Sessions(KEY, store=store, cookie="__Host-sid", max_age=60))
    async with app.test_client(base_url="https://testserver") as client:
        response = await do(client, app, lambda session: session.update(a=1))
        said = response.headers["set-cookie"]
        assert said.startswith("__Host-sid=")
        assert said.endswith("; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax")
        assert await values(client) == {"a": 1}


async def test_it_is_written_only_where_something_changed(app: App, client: TestClient) -> None:
    assert "set-cookie" not in (await client.get("/")).headers
    assert "set-cookie" in (await do(client, app, lambda s: s.update(a=[1], b=2))).headers
    unchanged: list[Do] = [
        lambda session: session.get("a"),
        lambda session: session.update(a=[1]),
        lambda session: session["a"].append(session["a"].pop()),
        lambda session: session.flashes(),
    ]
    for what in unchanged:
        assert "set-cookie" not in (await do(client, app, what)).headers


async def test_who_does_not_look_pays_nothing(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(a=1))
    headers = (await client.get("/plain")).headers
    assert not {"vary", "cache-control", "set-cookie"} & set(headers)


def test_the_cookie_is_not_read_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = Sessions.read

    def counted(self: Sessions, request: Request) -> bytes:
        reads.append(request.path)
        return read(self, request)

    monkeypatch.setattr(Sessions, "read", counted)

    async def ask() -> None:
        async with site(Sessions(KEY)).test_client() as client:
            client.cookies.set("session", "x")
            await client.get("/plain")
            await client.get("/")

    asyncio.run(ask())
    assert reads == ["/"]


@on_the_server
async def test_the_cookie_of_a_store_says_nothing(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(secret="x" * 10_000))
    assert len(cookie_of(client)) < 120
    assert await values(client) == {"secret": "x" * 10_000}


# --- cookies that do not verify


def altered(cookie: str) -> list[str]:
    value, signed_at, signature = cookie.split(".")
    other = "A" if value[0] != "A" else "B"
    return [
        "",
        "x",
        "..",
        value,
        f"{value}.{signed_at}",
        f"{other}{value[1:]}.{signed_at}.{signature}",
        f"{value}.{signed_at[:-1]}_.{signature}",
        f"{value}.{signed_at}.{signature[:-2]}",
        f"{value}.{signed_at}.",
        f"{value}.{'_' * 40}.{signature}",
        "\xff" * 9,
        "A" * 20_000,
    ]


async def test_a_tampered_cookie_is_an_empty_session(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    cookie = cookie_of(client)
    client.cookies.clear()
    for bad in altered(cookie):
        field = [(b"cookie", b"session=" + bad.encode("latin-1"))]
        response = await client.get("/", headers=field)
        assert (response.status_code, response.json()) == (200, {}), bad
        assert "set-cookie" not in response.headers  # another server may have the key for it
    assert (await client.get("/", headers=send(cookie))).json() == {"user": "ada"}


async def test_an_old_cookie_is_an_empty_session(
    store: SessionStore | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = site(Sessions(KEY, store=store, max_age=60))
    async with app.test_client() as client:
        await do(client, app, lambda session: session.update(user="ada"))
        headers = send(cookie_of(client))
        client.cookies.clear()
        signed_at = int(time.time())
        for later, expected in [(58, {"user": "ada"}), (63, {})]:
            monkeypatch.setattr(time, "time", lambda now=signed_at + later: now)
            assert (await client.get("/", headers=headers)).json() == expected


async def test_a_cookie_of_a_server_whose_clock_is_ahead_is_read(
    app: App, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    behind = time.time() - 30
    monkeypatch.setattr(time, "time", lambda: behind)
    assert (await client.get("/", headers=send(cookie_of(client)))).json() == {"user": "ada"}


async def test_a_cookie_under_another_name_is_nothing(store: SessionStore | None) -> None:
    app = site(Sessions(KEY, store=store))
    other = site(Sessions(KEY, store=store, cookie="other"))
    async with app.test_client() as client, other.test_client() as stranger:
        await do(client, app, lambda session: session.update(admin=True))
        headers = {"Cookie": f"other={cookie_of(client)}"}
        assert (await stranger.get("/", headers=headers)).json() == {}


async def sends_back(app: App, *cookies: str) -> Any:
    async with app.test_client() as client:
        field = "; ".join(f"session={cookie}" for cookie in cookies)
        return (await client.get("/", headers={"Cookie": field})).json()


async def test_cookies_that_do_not_verify_are_passed_over(
    app: App, client: TestClient, store: SessionStore | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbouring subdomain can set them, with a longer path so that they come first."""
    foreign = await Sessions(OTHER_KEY, store=store).start({"user": "eve"})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 15 * 24 * 3600)
    old = await Sessions(KEY, store=store).start({"user": "old"})
    monkeypatch.undo()
    await do(client, app, lambda session: session.update(user="ada"))
    good = cookie_of(client)
    assert await sends_back(app, "x", *altered(good)[:6], foreign, old, good) == {"user": "ada"}
    assert await sends_back(app, good, foreign, old, "x") == {"user": "ada"}
    assert await sends_back(app, good, good) == {"user": "ada"}


async def test_more_than_32_session_cookies_are_an_empty_session(
    app: App, client: TestClient, store: SessionStore | None
) -> None:
    """A neighbouring subdomain that sets so many can't make its own the one that counts."""
    await do(client, app, lambda session: session.update(user="ada"))
    good = cookie_of(client)
    forged = [f"a.{'A' * 43}"] * 31
    assert await sends_back(app, *forged, good) == {"user": "ada"}
    assert await sends_back(app, *forged, good, "x") == {}
    assert await sends_back(app, *forged, "x", good) == {}


async def test_two_cookies_that_verify_are_an_empty_session(
    app: App, client: TestClient, store: SessionStore | None
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    other = await sessions_of(app).start({"user": "eve"})
    for pair in ((cookie_of(client), other), (other, cookie_of(client))):
        assert await sends_back(app, *pair) == {}


async def test_a_cookie_of_another_path_is_nothing(store: SessionStore | None) -> None:
    below = Sessions(KEY, store=store, path="/below")
    app = site(below)
    planted = await below.start({"user": "eve"})
    own = await Sessions(KEY, store=store).start({"user": "ada"})
    assert await sends_back(app, planted) == {"user": "eve"}
    assert await sends_back(site(Sessions(KEY, store=store)), planted, own) == {"user": "ada"}
    assert await sends_back(app, own) == {}


async def test_a_cookie_of_the_version_before_is_read() -> None:
    """The signature of a cookie for `/` covers no path, as in earlier versions."""
    purpose = b"microweb.sessions data session"
    signer = TimestampSigner(
        hmac.digest(KEY.encode(), purpose, "sha256"),
        key_derivation="none",
        digest_method=hashlib.sha256,
    )
    cookie = signer.sign(base64_encode(b'{"user":"ada"}')).decode()
    assert await sends_back(site(Sessions(KEY)), cookie) == {"user": "ada"}


async def test_what_a_cookie_holds_is_no_id_and_an_id_holds_nothing() -> None:
    in_cookie, in_store = site(Sessions(KEY)), site(Sessions(KEY, store=MemoryStore()))
    for app, other in ((in_cookie, in_store), (in_store, in_cookie)):
        async with app.test_client() as client, other.test_client() as stranger:
            await do(client, app, lambda session: session.update(admin=True))
            assert (await stranger.get("/", headers=send(cookie_of(client)))).json() == {}


async def test_a_cookie_of_ids_is_none_of_data() -> None:
    """Neither signature verifies as the other, so the value is not even parsed."""
    of_data, of_ids = Sessions(KEY), Sessions(KEY, store=MemoryStore())
    for own, other in ((of_data, of_ids), (of_ids, of_data)):
        app = App()

        @app.get("/")
        async def decoded(request: Request) -> list[str]:
            return [each.read(request).decode() for each in (own, other)]  # noqa: B023

        cookie = await own.start({"admin": True})
        async with app.test_client() as client:
            read_by_own, read_by_other = (await client.get("/", headers=send(cookie))).json()
        assert read_by_own and not read_by_other


# --- the memo of cookies that verified


def change_inside(session: Session) -> None:
    session["items"][0]["tags"].append("new")
    session["user"] = "eve"


def fail_after_change(session: Session) -> None:
    change_inside(session)
    raise TooManyRequests("no")


@in_the_cookie
@pytest.mark.parametrize("change", [change_inside, fail_after_change])
async def test_changes_are_not_seen_by_the_next_request_with_that_cookie(
    app: App, client: TestClient, change: Do
) -> None:
    kept = {"user": "ada", "items": [{"tags": ["old"]}]}
    await do(client, app, lambda session: session.update(kept))
    cookie = send(cookie_of(client))
    client.cookies.clear()
    app.state.do = change
    for _ in range(2):
        await client.post("/", headers=cookie)
        client.cookies.clear()
        assert (await client.get("/", headers=cookie)).json() == kept


@in_the_cookie
async def test_requests_at_once_with_one_cookie_share_no_session(
    app: App, gate: Gate, client: TestClient
) -> None:
    await do(client, app, lambda session: session.update(items=["old"]))
    cookie = send(cookie_of(client))
    requests = [
        asyncio.create_task(client.post(f"/slow?key=k{number}&value=1", headers=cookie))
        for number in range(2)
    ]
    for _ in requests:
        await gate.inside.acquire()
    gate.opened.set()
    changed = [(await each).cookies["session"] for each in requests]
    client.cookies.clear()
    found = [(await client.get("/", headers=send(each))).json() for each in changed]
    assert found == [{"items": ["old"], "k0": 1}, {"items": ["old"], "k1": 1}]
    assert (await client.get("/", headers=cookie)).json() == {"items": ["old"]}


async def test_many_clients_have_their_own_sessions(app: App, client: TestClient) -> None:
    sessions = sessions_of(app)
    cookies = [send(await sessions.start({"user": number})) for number in range(50)]
    for _ in range(2):
        found = [(await client.get("/", headers=each)).json() for each in cookies]
        assert found == [{"user": number} for number in range(50)]


async def test_session_that_ended_on_the_server_is_ended_for_a_cookie_that_verified() -> None:
    store = MemoryStore()
    app = site(Sessions(KEY, store=store))
    async with app.test_client() as client:
        await do(client, app, lambda session: session.update(user="ada"))
        cookie = cookie_of(client)
        assert (await client.get("/", headers=send(cookie))).json() == {"user": "ada"}
        await store.delete(id_in(cookie))
        assert (await client.get("/", headers=send(cookie))).json() == {}


async def test_one_object_around_two_mounts_keeps_their_cookies_apart() -> None:
    sessions = Sessions(KEY)
    shops = {prefix: site(sessions) for prefix in ("/a", "/b")}
    app = App()
    for prefix, shop in shops.items():
        app.mount(prefix, shop)
    async with app.test_client() as client:
        shops["/a"].state.do = lambda session: session.update(user="ada")
        cookie = send((await client.post("/a/")).cookies["session"])
        client.cookies.clear()
        found = [(await client.get(path, headers=cookie)).json() for path in ("/a/", "/b/", "/a/")]
    assert found == [{"user": "ada"}, {}, {"user": "ada"}]


# --- keys


async def test_a_key_is_replaced_by_a_list(store: SessionStore | None) -> None:
    before = site(Sessions(KEY, store=store))
    both = site(Sessions([OTHER_KEY, KEY], store=store))
    after = site(Sessions(OTHER_KEY.encode(), store=store))
    async with before.test_client() as client:
        await do(client, before, lambda session: session.update(user="ada"))
        old = cookie_of(client)
    async with both.test_client() as client, after.test_client() as last:
        client.cookies.extract_cookies(
            httpx.Response(
                200,
                headers={"Set-Cookie": f"session={old}"},
                request=httpx.Request("GET", "http://testserver"),
            )
        )
        assert await values(client) == {"user": "ada"}
        await do(client, both, lambda session: session.update(seen=1))
        new = cookie_of(client)
        assert (await last.get("/", headers=send(old))).json() == {}
        assert (await last.get("/", headers=send(new))).json() == {"user": "ada", "seen": 1}


@pytest.mark.parametrize("key", [None, "", b"", [], (), [KEY, ""], [KEY, None]])
def test_a_missing_key_is_refused(key: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sessions(key)
    assert str(caught.value).startswith("Sessions: expected a secret key, got none: make one with ")
    assert 'python -c "import secrets; print(secrets.token_urlsafe(32))"' in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["changeme", "s3cret-but-only-31-characters-x", "secret " * 9, "ab" * 20]
)
def test_a_weak_key_is_refused_and_not_shown(key: str) -> None:
    for keys in (key, key.encode(), [KEY, key]):
        with pytest.raises(ConfigurationError) as caught:
            Sessions(keys)
        text = str(caught.value)
        assert text.startswith("Sessions: expected a secret key of 32 random characters or more, ")
        assert "secrets.token_urlsafe(32)" in text
        assert key not in text


@pytest.mark.parametrize("key", [12345, [12345], {"a": 1}])
def test_a_key_of_another_type_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^Sessions: expected the key as a str, got "
    ) as e:
        Sessions(key)
    assert "12345" not in str(e.value)


def test_what_the_remedy_makes_is_taken() -> None:
    for _ in range(100):
        Sessions(secrets.token_urlsafe(32))
        Sessions(secrets.token_hex(16))
        Sessions(secrets.token_bytes(32))


def test_sessions_do_not_show_their_key() -> None:
    assert KEY not in repr(Sessions(KEY))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cookie": "a b"}, "Sessions: cookie: expected a token as the cookie's name, got 'a b'"),
        (
            {"path": "below"},
            "Sessions: cookie: expected path to begin with '/' and be printable ASCII without ';', "
            "got 'below'",
        ),
        (
            {"cookie": "__Host-a", "path": "/below"},
            "Sessions: cookie: expected path='/' and domain=None for a name with __Host-, got "
            "path='/below', domain=None",
        ),
        ({"max_age": 0}, "Sessions: expected max_age as a positive int of seconds, got 0"),
        ({"max_age": 1.5}, "Sessions: expected max_age as a positive int of seconds, got 1.5"),
        ({"max_age": True}, "Sessions: expected max_age as a positive int of seconds, got True"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Sessions(KEY, **options)
    assert str(caught.value) == text


# --- without Sessions, and twice


async def test_without_sessions_the_line_to_add_is_named() -> None:
    async with site(None).test_client() as client:
        assert (await client.get("/plain")).text == "plain"
        with pytest.raises(ConfigurationError) as caught:
            await client.get("/")
    assert "add `app.use(Sessions(os.environ['SECRET_KEY']))`, with Sessions " in str(caught.value)


async def test_request_state_says_what_the_application_left_there_alone() -> None:
    app = App()
    app.use(Sessions(KEY))

    @app.get("/")
    async def show(request: Request) -> str:
        request.session["password"] = "secret"
        request.state.user = "ada"
        return f"{vars(request.state)} {request.state!r}"

    async with app.test_client() as client:
        assert (await client.get("/")).text == "{'user': 'ada'} namespace(user='ada')"


def twice_in_one_app(app: App) -> None:
    app.use(Sessions(KEY))
    app.use(Sessions(KEY, cookie="other"))


def twice_by_one_object(app: App) -> None:
    app.use(shared := Sessions(KEY))
    app.use(shared)


def around_app_and_route(app: App) -> None:
    app.use(Sessions(KEY))

    @app.get("/", use=[Sessions(KEY)])
    async def index() -> str:
        return ""


def around_app_and_router(app: App) -> None:
    router = Router("/r", use=[Sessions(KEY)])

    @router.get("/")
    async def index() -> str:
        return ""

    app.use(Sessions(KEY))
    app.include(router)


def around_app_and_mounted(app: App) -> None:
    app.use(Sessions(KEY))
    app.mount("/inner", site(Sessions(KEY, path="/")))


def around_mount_and_mounted(app: App) -> None:
    app.mount("/inner", site(Sessions(KEY)), use=[Sessions(KEY)])


def around_app_and_deeply_mounted(app: App) -> None:
    class Own(Sessions):
        pass

    middle = App()
    middle.mount("/deep", site(Own(KEY)))
    app.use(Sessions(KEY))
    app.mount("/middle", middle)


@pytest.mark.parametrize(
    ("register", "where"),
    [
        (twice_in_one_app, "the app"),
        (twice_by_one_object, "the app"),
        (around_app_and_route, r".*index at test_sessions.py:\d+"),
        (around_app_and_router, r".*index at test_sessions.py:\d+"),
        (around_app_and_mounted, "the app mounted at '/inner'"),
        (around_mount_and_mounted, "the app mounted at '/inner'"),
        (around_app_and_deeply_mounted, "the app mounted at '/middle/deep'"),
    ],
)
def test_sessions_twice_around_a_route_is_refused_at_the_start(
    register: Callable[[App], None], where: str
) -> None:
    app = App()
    register(app)
    with pytest.raises(
        ConfigurationError, match=rf"^{where}: expected one source of request\.session"
    ):
        app.freeze()


async def test_sessions_of_apps_side_by_side_are_no_two_around_a_route() -> None:
    app, shared = App(), Sessions(KEY)
    for prefix in ("/a", "/b"):
        app.mount(prefix, site(shared), use=[])
    app.freeze()


async def test_two_sources_inside_middleware_of_ones_own_are_refused() -> None:
    app, inner = site(Sessions(KEY)), Sessions(KEY)

    @app.middleware
    async def wrap(request: Request, call_next: Handler) -> Response:
        return await inner(request, call_next)

    async with app.test_client() as client:
        with pytest.raises(ConfigurationError, match="got two: keep the outer one"):
            await client.get("/")


async def test_sessions_may_be_for_one_route() -> None:
    app = App()

    @app.get("/count", use=[Sessions(KEY)])
    async def count(request: Request) -> str:
        request.session["count"] = request.session.get("count", 0) + 1
        return str(request.session["count"])

    async with app.test_client() as client:
        assert [(await client.get("/count")).text for _ in range(3)] == ["1", "2", "3"]


async def test_a_mounted_app_has_the_session_of_the_outer_one() -> None:
    inner = site(None)
    outer = App()
    outer.use(Sessions(KEY))
    outer.mount("/inner", inner)
    async with outer.test_client() as client:
        assert (await client.get("/inner/")).json() == {}


# --- the sessions of mounted apps


async def test_sessions_of_mounted_apps_do_not_overwrite_each_other(
    store: SessionStore | None,
) -> None:
    outer = App()
    for prefix in ("/shop", "/shop2", "/shop/admin"):
        inner = site(Sessions(KEY, store=store))
        inner.state.do = lambda session, prefix=prefix: session.update(user=prefix)
        outer.mount(prefix, inner)
    async with outer.test_client() as client:
        for prefix in ("/shop", "/shop2", "/shop/admin"):
            response = await client.post(f"{prefix}/")
            assert f"; Path={prefix}; " in response.headers["set-cookie"]
        for prefix in ("/shop", "/shop2", "/shop/admin"):
            assert (await client.get(f"{prefix}/")).json() == {"user": prefix}


async def test_a_mounted_app_deletes_its_own_cookie(store: SessionStore | None) -> None:
    outer, inner = App(), site(Sessions(KEY, store=store))
    outer.mount("/inner", inner)
    async with outer.test_client() as client:
        inner.state.do = lambda session: session.update(user="ada")
        await client.post("/inner/")
        inner.state.do = Session.clear
        assert "; Path=/inner; " in (await client.post("/inner/")).headers["set-cookie"]
        assert not client.cookies


@pytest.mark.parametrize("options", [{"path": "/"}, {"cookie": "__Host-a"}])
async def test_a_path_that_was_given_stays(options: dict[str, Any]) -> None:
    outer, inner = App(), site(Sessions(KEY, **options))
    inner.state.do = lambda session: session.update(user="ada")
    outer.mount("/inner", inner)
    async with outer.test_client() as client:
        response = await client.post("/inner/")
    assert "; Path=/; " in response.headers["set-cookie"]


async def test_sessions_of_a_mount_have_its_path() -> None:
    outer, inner = App(), site(None)
    inner.state.do = lambda session: session.update(user="ada")
    shared = Sessions(KEY)
    outer.mount("/a b", inner, use=[shared])
    outer.mount("/second", inner, use=[shared])
    async with outer.test_client() as client:
        for prefix in ("/a%20b", "/second"):
            response = await client.post(f"{prefix}/")
            assert f"; Path={prefix}; " in response.headers["set-cookie"]
            assert (await client.get(f"{prefix}/")).json() == {"user": "ada"}


@pytest.mark.parametrize("prefix", ["/a;b", "/a%3Bb", "/it's", "/[a]", "/a|b", "/x/a+b", "/(a)"])
@pytest.mark.parametrize("is_around", [False, True])
def test_prefix_that_clients_write_in_two_ways_is_refused(prefix: str, is_around: bool) -> None:
    outer, inner = App(), site(None if is_around else Sessions(KEY))
    outer.mount(prefix, inner, use=[Sessions(KEY)] if is_around else [])
    with pytest.raises(
        ConfigurationError, match=r"Sessions: expected a prefix .* Sessions\(\.\.\., path"
    ):
        outer.freeze()


@pytest.mark.parametrize("prefix", ["/a;b", "/it's", "/a|b"])
async def test_prefix_that_clients_write_in_two_ways_takes_a_path(prefix: str) -> None:
    outer, inner = App(), site(Sessions(KEY, path="/"))
    inner.state.do = lambda session: session.update(user="ada")
    outer.mount(prefix, inner)
    async with outer.test_client() as client:
        await client.post(f"{prefix}/")
        for sent in (prefix, quote(prefix)):
            assert (await client.get(f"{sent}/")).json() == {"user": "ada"}


@pytest.mark.parametrize("prefix", ["/a b", "/é", "/a,b", '/a"b', "/a!$*=:@~b", "/a%2Fb", "/a%25b"])
async def test_prefix_that_all_clients_write_alike_is_the_path(prefix: str) -> None:
    outer, inner = App(), site(Sessions(KEY))
    inner.state.do = lambda session: session.update(user="ada")
    outer.mount(prefix, inner)
    async with outer.test_client() as client:
        await client.post(f"{prefix}/")
        assert (await client.get(f"{prefix}/")).json() == {"user": "ada"}


async def test_sessions_of_the_outer_app_have_its_path() -> None:
    outer, inner = App(), site(None)
    outer.use(Sessions(KEY))
    inner.state.do = lambda session: session.update(user="ada")
    outer.mount("/inner", inner)
    async with outer.test_client() as client:
        assert "; Path=/; " in (await client.post("/inner/")).headers["set-cookie"]


# --- caches


@pytest.mark.parametrize(
    ("vary", "sent"),
    [
        (None, "Cookie"),
        ("Accept-Encoding", "Accept-Encoding, Cookie"),
        ("accept, COOKIE", "accept, COOKIE"),
        ("*", "*"),
    ],
)
@pytest.mark.parametrize(
    ("said", "read", "written"),
    [
        (None, "private", "private"),
        ("max-age=60", "max-age=60", "max-age=60, private"),
        ("public, max-age=60, S-MaxAge=600", None, "max-age=60, private"),
        ("no-store", "no-store", "no-store"),
        ("Private, max-age=5", "Private, max-age=5", "Private, max-age=5"),
        ('private="x, y"', 'private="x, y"', 'private="x, y", private'),
    ],
)
async def test_caches_are_told(
    vary: str | None, sent: str, said: str | None, read: str | None, written: str
) -> None:
    app = App()
    app.use(Sessions(KEY))

    @app.get("/")
    async def index(request: Request, write: bool = False) -> Response:
        if write:
            request.session["a"] = secrets.token_hex()
        assert request.session is not None
        headers = {"Cache-Control": said, "Vary": vary}
        return Response("ok", headers={name: text for name, text in headers.items() if text})

    async with app.test_client() as client:
        for query, expected in (("", read or said), ("?write=yes", written)):
            response = await client.get(f"/{query}")
            assert ("set-cookie" in response.headers) is bool(query)
            assert response.headers["vary"] == sent
            assert response.headers["cache-control"] == expected


# --- the end of a session


async def test_clear_deletes_the_cookie(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    cookie = cookie_of(client)
    response = await do(client, app, lambda session: session.clear())
    assert response.headers["set-cookie"] == (
        "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    )
    assert response.headers["cache-control"] == "private"
    assert "session" not in client.cookies
    assert "set-cookie" not in (await do(client, app, lambda session: session.clear())).headers
    if sessions_of(app)._store is not None:
        assert (await client.get("/", headers=send(cookie))).json() == {}


async def test_clear_deletes_a_cookie_that_is_no_good(app: App, client: TestClient) -> None:
    app.state.do = Session.clear
    response = await client.post("/", headers=send("x"))
    assert response.headers["set-cookie"].startswith("session=; Expires=")


async def test_what_is_set_after_clear_begins_a_new_session(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(user="ada"))

    def log_in(session: Session) -> None:
        session.clear()
        session["user"] = "bob"

    await do(client, app, log_in)
    assert await values(client) == {"user": "bob"}


@in_the_cookie
async def test_a_session_that_was_emptied_leaves_no_cookie(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.flash("hello"))
    await do(client, app, lambda session: session.flashes())
    assert "session" not in client.cookies


def id_in(cookie: str) -> str:
    return cookie.partition(".")[0]


@on_the_server
@pytest.mark.parametrize("how", ["rotate", "clear"])
async def test_a_new_id_ends_the_old_one(app: App, client: TestClient, how: str) -> None:
    await do(client, app, lambda session: session.update(step=1))
    planted = cookie_of(client)

    def log_in(session: Session) -> None:
        getattr(session, how)()
        session["user"] = "ada"

    await do(client, app, log_in)
    kept = {"step": 1} if how == "rotate" else {}
    assert await values(client) == kept | {"user": "ada"}
    assert id_in(cookie_of(client)) != id_in(planted)
    client.cookies.clear()
    assert (await client.get("/", headers=send(planted))).json() == {}


async def test_rotate_alone_writes(app: App, client: TestClient) -> None:
    assert "set-cookie" not in (await do(client, app, Session.rotate)).headers
    await do(client, app, lambda session: session.update(a=1))
    assert "set-cookie" in (await do(client, app, Session.rotate)).headers
    assert await values(client) == {"a": 1}


@on_the_server
async def test_an_id_is_never_the_clients(app: App, client: TestClient) -> None:
    """A session that is gone from the store gets a new id, though the cookie verifies."""
    await do(client, app, lambda session: session.update(a=1))
    old = cookie_of(client)
    await do(client, app, Session.clear)
    app.state.do = lambda session: session.update(b=2)
    response = await client.post("/", headers=send(old))
    assert id_in(response.cookies["session"]) != id_in(old)


@on_the_server
async def test_a_change_goes_on_under_the_same_id(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(a=1))
    old = cookie_of(client)
    await do(client, app, lambda session: session.update(b=2))
    assert id_in(cookie_of(client)) == id_in(old)


# --- requests at the same time


class Gate:
    """Makes requests to `/slow` wait inside their endpoint until the gate is opened."""

    def __init__(self, app: App) -> None:
        self.opened = asyncio.Event()
        self.inside = asyncio.Semaphore(0)

        @app.post("/slow")
        async def slow(request: Request, key: str, value: int, rotates: bool = False) -> str:
            if rotates:
                request.session.rotate()
            request.session[key] = value
            self.inside.release()
            await self.opened.wait()
            return "ok"


@pytest.fixture
def gate(app: App) -> Gate:
    return Gate(app)  # a test names it before `client`, which starts the app


@on_the_server
async def test_requests_at_once_all_count(app: App, gate: Gate, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(client.post(f"/slow?key=k{number}&value={number}"))
        for _ in range(10):
            await gate.inside.acquire()
        gate.opened.set()
    assert await values(client) == {"user": "ada"} | {f"k{number}": number for number in range(10)}


@on_the_server
async def test_a_slow_request_does_not_bring_back_what_was_ended(
    app: App, gate: Gate, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    cookie = cookie_of(client)
    slow = asyncio.create_task(client.post("/slow?key=a&value=1"))
    await gate.inside.acquire()
    await do(client, app, Session.clear)
    gate.opened.set()
    with caplog.at_level(logging.INFO, "microweb.app"):
        response = await slow
    assert response.status_code == 200
    assert "set-cookie" not in response.headers  # the browser may have a newer cookie already
    assert (await client.get("/", headers=send(cookie))).json() == {}
    assert [record.message for record in caplog.records if record.name == "microweb.app"] == [
        "a session was ended while a request changed it: the change is dropped"
    ]


@on_the_server
async def test_a_session_emptied_at_once_keeps_what_another_added(
    app: App, gate: Gate, client: TestClient
) -> None:
    await do(client, app, lambda session: session.flash("hello"))
    slow = asyncio.create_task(client.post("/slow?key=a&value=1"))
    await gate.inside.acquire()
    await do(client, app, Session.flashes)
    gate.opened.set()
    await slow
    assert await values(client) == {"a": 1}


async def test_a_store_that_never_agrees_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    class Contended(MemoryStore):
        """A store in which another request is always faster."""

        tries = 0

        async def set(self, id: str, data: bytes, max_age: int, *, replacing: bytes | None) -> bool:
            if replacing is not None:
                self.tries += 1
                return False
            return await super().set(id, data, max_age, replacing=None)

    monkeypatch.setattr("microweb.middleware.sessions._MERGE_S", 0.05)
    store = Contended()
    app = site(Sessions(KEY, store=store))
    async with app.test_client() as client:
        await do(client, app, lambda session: session.update(a=1))
        app.state.do = lambda session: session.update(a=2)
        assert (await client.post("/")).status_code == 503
    assert store.tries > 1


@on_the_server
async def test_many_writers_of_one_session_all_count(
    app: App, gate: Gate, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "microweb.middleware.sessions._MERGE_S", 60.0
    )  # the speed of this machine must not matter
    await do(client, app, lambda session: session.update(user="ada"))
    count = 100
    async with asyncio.TaskGroup() as group:
        writes = [
            group.create_task(client.post(f"/slow?key=k{number}&value={number}", timeout=60))
            for number in range(count)
        ]
        for _ in range(count):
            await gate.inside.acquire()
        gate.opened.set()
    assert {write.result().status_code for write in writes} == {200}
    assert await values(client) == {"user": "ada"} | {f"k{each}": each for each in range(count)}


@needs_redis
async def test_a_redis_that_is_away_is_503_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server() as server:
        store = RedisStore(server.url)
        app = site(Sessions(KEY, store=store))
        async with app.test_client() as client:
            await do(client, app, lambda session: session.update(user="ada"))
            server.process.kill()
            server.process.wait()
            statuses = {(await client.get("/")).status_code for _ in range(20)}
            assert statuses == {503}
            assert (await client.get("/plain")).status_code == 503
            async with app.test_client() as stranger:  # has no session in Redis
                assert (await stranger.get("/plain")).text == "plain"
            with server.restarted():
                assert (await client.get("/")).json() == {}
        await store.aclose()
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert lines[0].exc_info is None


# --- a new id during other requests


async def rotating(app: App, gate: Gate, client: TestClient) -> asyncio.Task[httpx.Response]:
    """Start a request that renews the session and waits at the gate."""
    response = asyncio.create_task(client.post("/slow?key=admin&value=1&rotates=yes"))
    await gate.inside.acquire()
    return response


@on_the_server
async def test_rotate_does_not_bring_back_what_was_ended(
    app: App, gate: Gate, client: TestClient
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    cookie = cookie_of(client)
    slow = await rotating(app, gate, client)
    await do(client, app, Session.clear)
    gate.opened.set()
    assert "set-cookie" not in (await slow).headers
    assert await values(client) == {}
    assert (await client.get("/", headers=send(cookie))).json() == {}


@on_the_server
async def test_rotate_keeps_what_another_request_wrote_meanwhile(
    app: App, gate: Gate, client: TestClient
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    old = cookie_of(client)
    slow = await rotating(app, gate, client)
    await do(client, app, lambda session: session.update(cart="tea"))
    gate.opened.set()
    await slow
    assert await values(client) == {"user": "ada", "cart": "tea", "admin": 1}
    assert id_in(cookie_of(client)) != id_in(old)
    client.cookies.clear()
    assert (await client.get("/", headers=send(old))).json() == {}


@on_the_server
async def test_two_that_rotate_at_once_leave_one_session(
    app: App, gate: Gate, client: TestClient
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    slow = [await rotating(app, gate, client) for _ in range(2)]
    gate.opened.set()
    cookies = [(await each).headers.get("set-cookie") for each in slow]
    assert cookies.count(None) == 1
    assert await values(client) == {"user": "ada", "admin": 1}
    if isinstance(sessions_of(app)._store, MemoryStore):
        assert len(sessions_of(app)._store) == 1  # type: ignore[arg-type]


class Interleaved(MemoryStore):
    """A store that lets other tasks run, a random number of times, before each step."""

    def __init__(self, turns: list[int]) -> None:
        super().__init__()
        self._turns = itertools.cycle(turns)

    async def _wait(self) -> None:
        for _ in range(next(self._turns)):
            await asyncio.sleep(0)

    async def get(self, id: str) -> bytes | None:
        await self._wait()
        return await super().get(id)

    async def set(self, *args: Any, **options: Any) -> bool:
        await self._wait()
        return await super().set(*args, **options)

    async def move(self, *args: Any, **options: Any) -> bool:
        await self._wait()
        return await super().move(*args, **options)

    async def delete(self, id: str) -> None:
        await self._wait()
        await super().delete(id)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["write", "rotate", "clear"]), min_size=1, max_size=6),
    st.lists(st.integers(0, 4), min_size=1, max_size=20),
)
def test_requests_at_once_leave_one_session_or_none(kinds: list[str], turns: list[int]) -> None:
    async def check() -> None:
        store, all_are_inside = Interleaved(turns), asyncio.Barrier(len(kinds))
        app = site(Sessions(KEY, store=store))

        @app.post("/{kind}/{number}")
        async def change(request: Request, kind: str, number: str) -> str:
            await all_are_inside.wait()
            if kind == "clear":
                request.session.clear()
                return "ok"
            if kind == "rotate":
                request.session.rotate()
            request.session[number] = kind
            return "ok"

        async with app.test_client() as client:
            await client.login_session({"user": "ada"})
            field = send(cookie_of(client))
            async with asyncio.TaskGroup() as group:
                for number, kind in enumerate(kinds):
                    path = f"/{kind}/{number}"
                    group.create_task(client.post(path, headers=field))
        assert len(store) <= 1
        if "clear" not in kinds:
            (entry,) = store._entries.values()
            kept = json.loads(entry.data)
            assert kept.pop("user") == "ada"
            if "rotate" not in kinds:
                assert kept == {str(number): kind for number, kind in enumerate(kinds)}
            else:
                assert list(kept.values()).count("rotate") == 1

    asyncio.run(check())


def test_a_store_that_is_a_class_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"write store=MemoryStore\(\.\.\.\)"):
        Sessions(KEY, store=MemoryStore)  # type: ignore[arg-type]


@needs_redis
async def test_a_session_is_rotated_in_a_cluster() -> None:
    """A script may use only keys that are on one node."""
    with redis_server(cluster=True) as server:
        store = RedisStore(server.url)
        app = site(Sessions(KEY, store=store))
        async with app.test_client() as client:
            await do(client, app, lambda session: session.update(user="ada"))
            for _ in range(5):
                await do(client, app, Session.rotate)
            assert await values(client) == {"user": "ada"}
        await store.aclose()


# --- with errors and streams


async def test_an_error_handler_has_the_session(store: SessionStore | None) -> None:
    app = site(Sessions(KEY, store=store))

    @app.errorhandler(404)
    async def missing(request: Request) -> str:
        request.session.flash("no such page")
        return "missing"

    @app.errorhandler(ZeroDivisionError)
    async def divided(request: Request) -> str:
        return f"{request.session['before']} divided"

    @app.get("/divide")
    async def divide(request: Request) -> float:
        request.session["before"] = "ada"
        return 1 / 0

    async with app.test_client(raise_errors=False) as client:
        response = await client.get("/divide")
        assert (response.status_code, response.text) == (500, "ada divided")
        assert (await client.get("/nowhere")).text == "missing"
        assert await values(client) == {"before": "ada", "_flashes": [["no such page", "info"]]}


def raised_around_sessions() -> App:
    app = App()

    @app.middleware
    async def limit(request: Request, call_next: Handler) -> Response:
        raise TooManyRequests

    return site(Sessions(KEY), app=app)


async def test_an_error_around_sessions_has_an_empty_session() -> None:
    app = raised_around_sessions()

    @app.errorhandler(429)
    async def limited(request: Request) -> str:
        return f"{request.session.get('user')} {request.session.flashes()}"

    async with app.test_client() as client:
        await client.login_session({"user": "ada"})
        response = await client.get("/")
    assert (response.status_code, response.text) == (429, "None []")


async def test_a_change_for_an_error_around_sessions_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = raised_around_sessions()

    @app.errorhandler(429)
    async def limited(request: Request) -> str:
        request.session.flash("slow down")
        return "limited"

    async with app.test_client(raise_errors=False) as client:
        assert (await client.get("/")).status_code == 500
    assert "inside Sessions" in caplog.text


async def test_a_failed_endpoint_keeps_what_it_ended(app: App) -> None:
    def fail(session: Session) -> None:
        session.clear()
        raise ZeroDivisionError

    async with app.test_client(raise_errors=False) as client:
        await do(client, app, lambda session: session.update(user="ada"))
        app.state.do = fail
        assert (await client.post("/")).status_code == 500
        assert await values(client) == {}


async def test_a_stream_has_the_cookie_in_its_head(store: SessionStore | None) -> None:
    app = site(Sessions(KEY, store=store))

    @app.get("/stream")
    async def stream(request: Request) -> Response:
        session = request.session
        session["user"] = "ada"

        async def pieces() -> AsyncIterator[str]:
            yield "hello "
            yield str(request.session["user"])  # reading is allowed after an earlier use

        return Response.stream(pieces())

    async with app.test_client() as client:
        response = await client.get("/stream")
        assert (response.text, "set-cookie" in response.headers) == ("hello ada", True)
        assert await values(client) == {"user": "ada"}


@pytest.mark.parametrize(
    ("looks_before", "text"),
    [
        (True, "the session was changed after the response was made: change it before the "),
        (False, "request.session was first used after the response was made: use it before "),
    ],
)
async def test_what_a_stream_changes_is_an_error(
    store: SessionStore | None, looks_before: bool, text: str
) -> None:
    app = site(Sessions(KEY, store=store))

    @app.get("/stream")
    async def stream(request: Request) -> AsyncIterator[str]:
        yield "hello"
        request.session["user"] = "ada"

    @app.middleware
    async def look(request: Request, call_next: Handler) -> Response:
        assert not looks_before or request.session == {}
        return await call_next(request)

    async with app.test_client() as client:
        with pytest.raises(LocalProtocolError) as caught:
            await client.get("/stream")
    assert str(caught.value).startswith(text)


async def test_what_middleware_outside_changes_is_an_error() -> None:
    app = App()

    @app.middleware
    async def outside(request: Request, call_next: Handler) -> Response:
        response = await call_next(request)
        request.session["late"] = True
        return response

    site(Sessions(KEY), app=app)
    async with app.test_client() as client:
        with pytest.raises(LocalProtocolError, match="changed after the response was made"):
            await client.get("/")


# --- sessions that are too large


@in_the_cookie
async def test_a_session_too_large_for_a_cookie_says_so(
    app: App, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    largest = 3020  # in base64, with name, date and signature: 4096 at most
    await do(client, app, lambda session: session.update(a="x" * largest))
    size = len("session") + len(cookie_of(client))
    assert 4090 <= size <= 4096
    app.state.do = lambda session: session.update(a="x" * (largest + 10))
    response = await client.post("/")
    assert response.status_code == 413
    assert "expected a session that fits in a cookie of 4096 bytes" in response.text
    assert "Sessions(..., store=MemoryStore())" in caplog.text
    assert "Traceback" not in caplog.text
    assert "xxx" not in response.text + caplog.text
    assert len((await values(client))["a"]) == largest


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("text", ["nan", "inf", "-1e999"])
async def test_number_of_a_client_that_no_session_holds_is_one_line(
    app: App, client: TestClient, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    app.state.do = lambda session: session.update(prices=[float(text)])
    response = await client.post("/")
    assert response.status_code == 422
    assert "the session would have a number in 'prices' that JSON can't write" in response.text
    assert "set-cookie" not in response.headers
    (line,) = caplog.records
    assert (line.name, line.exc_info) == ("microweb.app", None)
    assert line.getMessage().startswith("POST /: the session would have a number in 'prices'")
    assert "math.isfinite" in line.getMessage()
    assert await values(client) == {"user": "ada"}


@pytest.mark.parametrize(
    "value",
    [
        "x" * 65_527,
        "x" * 1_000_000,
        {"x": "y" * 100_000},
        nested(100),
        nested(900),
        nested(100_000),
    ],
    ids=["a byte more", "long", "inside", "deep", "deeper", "too deep for Python"],
)
async def test_what_no_session_holds_is_one_line(
    app: App, client: TestClient, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    await do(client, app, lambda session: session.update(user="ada"))
    app.state.do = lambda session: session.update(a=value)
    response = await client.post("/")
    assert response.status_code == 413
    status, _, detail = response.text.strip().partition("\n")
    assert status == "Content Too Large"
    assert "session" in detail
    assert "set-cookie" not in response.headers
    (line,) = caplog.records
    assert (line.name, line.exc_info) == ("microweb.app", None)
    assert line.getMessage().startswith(f"POST /: {detail}")
    assert await values(client) == {"user": "ada"}


@on_the_server
async def test_a_session_on_the_server_is_up_to_64_kib(app: App, client: TestClient) -> None:
    largest = {"a": "x" * (65_536 - len('{"a":""}'))}
    await do(client, app, lambda session: session.update(largest))
    assert await values(client) == largest


async def test_a_session_may_be_99_levels_deep(app: App, client: TestClient) -> None:
    await do(client, app, lambda session: session.update(a=nested(99)))
    assert await values(client) == {"a": nested(99)}


@on_the_server
async def test_two_changes_that_are_too_large_together_are_413(
    app: App, gate: Gate, client: TestClient
) -> None:
    await do(client, app, lambda session: session.update(user="ada", a="x" * 40_000))
    slow = asyncio.create_task(client.post(f"/slow?key={'k' * 14_000}&value=1"))
    await gate.inside.acquire()
    await do(client, app, lambda session: session.update(b="x" * 20_000))
    gate.opened.set()
    assert (await slow).status_code == 413
    assert set(await values(client)) == {"user", "a", "b"}


async def test_an_error_handler_answers_what_does_not_fit(store: SessionStore | None) -> None:
    app = site(Sessions(KEY, store=store))

    @app.errorhandler(SessionTooLarge)
    async def too_large() -> str:
        return "remember less"

    app.state.do = lambda session: session.update(a="x" * 100_000)
    async with app.test_client() as client:
        response = await client.post("/")
    assert (response.status_code, response.text) == (413, "remember less")


async def test_long_names_do_not_end_the_sessions_of_others() -> None:
    store = MemoryStore(max_bytes=1024 * 1024)
    app = site(Sessions(KEY, store=store))

    @app.post("/login")
    async def login(request: Request) -> str:
        request.session["name"] = (await request.form())["name"]
        return "ok"

    async with app.test_client() as client, app.test_client() as attacker:
        await client.post("/login", data={"name": "ada"})
        assert await values(client) == {"name": "ada"}
        for size in (1_000_000, *[60_000] * 100):
            await attacker.post("/login", data={"name": "x" * size})
            attacker.cookies.clear()
        assert await values(client) == {"name": "ada"}


@pytest.mark.parametrize("value", [{1, 2}, (1, 2), {7: "a"}])
async def test_what_json_does_not_hold_is_named(app: App, client: TestClient, value: Any) -> None:
    app.state.do = lambda session: session.update(cart=value)
    with pytest.raises(
        TypeError, match=r"^session\['cart'\]: expected values that JSON keeps unchanged"
    ):
        await client.post("/")


# --- the test client


async def test_login_session_signs_a_session_in(app: App, client: TestClient) -> None:
    await client.login_session({"user": "ada"})
    assert await values(client) == {"user": "ada"}
    await do(client, app, lambda session: session.update(seen=1))
    assert await values(client) == {"user": "ada", "seen": 1}
    assert len(client.cookies.jar) == 1
    await client.login_session({"user": "bob"})
    assert await values(client) == {"user": "bob"}


async def test_login_session_takes_a_secure_cookie(store: SessionStore | None) -> None:
    app = site(Sessions(KEY, store=store, cookie="__Host-sid"))
    async with app.test_client(base_url="https://testserver/") as client:
        await client.login_session({"user": "ada"})
        assert await values(client) == {"user": "ada"}


async def test_login_session_finds_sessions_wherever_they_are() -> None:
    inner = App()

    @inner.get("/", use=[Sessions(KEY)])
    async def show(request: Request) -> dict[str, Any]:
        return dict(request.session)

    outer = App()
    outer.mount("/inner", inner)
    async with outer.test_client() as client:
        await client.login_session({"user": "ada"})
        assert (await client.get("/inner/")).json() == {"user": "ada"}


@pytest.mark.parametrize("count", [0, 2])
async def test_login_session_needs_one_sessions(count: int) -> None:
    app = App()
    for number in range(count):
        app.mount(f"/{number}", site(Sessions(KEY)))
    async with app.test_client() as client:
        with pytest.raises(ConfigurationError, match=f"expected one Sessions .* got {count}: "):
            await client.login_session({})


async def test_login_session_takes_what_a_session_takes(client: TestClient) -> None:
    with pytest.raises(TypeError, match=r"^session\['a'\]: "):
        await client.login_session({"a": (1, 2)})


# --- the extra, and Redis once more


def test_without_itsdangerous_the_command_that_mends_it_is_named() -> None:
    code = "import sys; sys.modules['itsdangerous'] = None; import microweb.middleware.sessions"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert (
        "MissingExtra: microweb.middleware.sessions needs the extra itsdangerous: "
        "pip install 'itsdangerous<3,>=2.1'"
    ) in run.stderr


@needs_redis
async def test_a_session_in_redis_is_an_entry_that_ends(redis_url: str) -> None:
    store = RedisStore(redis_url)
    app = site(Sessions(KEY, store=store, max_age=600))
    app.on_shutdown(store.aclose)
    async with redis.asyncio.from_url(redis_url) as asked, app.test_client() as client:
        await asked.flushall()
        await do(client, app, lambda session: session.update(user="ada"))
        (key,) = await asked.keys()
        assert key == b"session:" + id_in(cookie_of(client)).encode()
        assert await asked.get(key) == b'{"user":"ada"}'
        assert 590 <= await asked.ttl(key) <= 600
        await do(client, app, Session.clear)
        assert await asked.keys() == []
