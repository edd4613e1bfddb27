from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.serving import read_all

from microweb import App, ConfigurationError, Request
from microweb.middleware.rate_limit import RateLimit, TokenBuckets
from microweb.server.config import ServerConfig
from microweb.server.server import Server
from microweb.testing.network import connect
from microweb.testing.transport import MemoryTransport


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limited(*limits: RateLimit) -> App:
    app = App()
    for limit in limits:
        app.use(limit)

    @app.get("/")
    async def index() -> str:
        return "hello"

    return app


async def get(app: App, fields: dict[str, str] | None = None) -> httpx.Response:
    async with app.test_client() as client:
        return await client.get("/", headers=fields)


async def statuses(app: App, count: int) -> list[int]:
    async with app.test_client() as client:
        return [(await client.get("/")).status_code for _ in range(count)]


async def test_quota_can_be_used_at_once_and_comes_back_evenly() -> None:
    clock = Clock()
    app = limited(RateLimit(3, 60, clock=clock))
    assert await statuses(app, 5) == [200, 200, 200, 429, 429]
    clock.now += 19.9
    assert await statuses(app, 1) == [429]
    clock.now += 0.1
    assert await statuses(app, 2) == [200, 429]
    clock.now += 40
    assert await statuses(app, 3) == [200, 200, 429]
    clock.now += 10_000
    assert await statuses(app, 4) == [200, 200, 200, 429]


async def test_fields_say_the_policy_what_is_left_and_when_there_is_more() -> None:
    clock = Clock()
    app = limited(RateLimit(3, 60, clock=clock))
    said = []
    for seconds in (0, 5, 0, 0):
        clock.now += seconds
        response = await get(app)
        assert response.headers["ratelimit-policy"] == '"default";q=3;w=60'
        said.append(response.headers["ratelimit"])
    assert said == [
        f'"default";{state}' for state in ("r=2;t=20", "r=1;t=15", "r=0;t=15", "r=0;t=15")
    ]


async def test_refusal_says_when_to_come_back_and_keeps_its_word() -> None:
    clock = Clock()
    app = limited(RateLimit(7, 60, clock=clock))  # a token each 8.57 s: the times are rounded
    await statuses(app, 7)
    for _ in range(20):
        response = await get(app, {"Accept": "application/json"})
        assert response.status_code == 429
        assert response.headers["content-type"] == "application/problem+json"
        wait_s = int(response.headers["retry-after"])
        assert response.headers["ratelimit"] == f'"default";r=0;t={wait_s}'
        assert response.json() == {
            "status": 429,
            "title": "Too Many Requests",
            "detail": f"more than 7 requests in 60 s: try again in {wait_s} s",
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "violated-policies": ["default"],
        }
        clock.now += wait_s
        assert await statuses(app, 1) == [200]


async def test_refused_requests_take_nothing() -> None:
    clock = Clock()
    app = limited(RateLimit(1, 10, clock=clock))
    await statuses(app, 50)
    clock.now += 10
    assert await statuses(app, 2) == [200, 429]


async def test_refusal_is_for_error_handlers() -> None:
    app = limited(RateLimit(1, 60))

    @app.errorhandler(429)
    async def too_many() -> str:
        return "slowly\n"

    await get(app)
    response = await get(app)
    assert (response.status_code, response.text) == (429, "slowly\n")
    assert "retry-after" in response.headers


async def test_404_counts() -> None:
    async with limited(RateLimit(1, 60)).test_client() as client:
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.get("/nowhere")).status_code == 429


async def test_two_policies_are_both_told() -> None:
    app = limited(RateLimit(100, 3600, name="hour"), RateLimit(2, 1, name="burst"))
    response = await get(app)
    policies = response.headers.get_list("ratelimit-policy")
    assert policies == ['"burst";q=2;w=1', '"hour";q=100;w=3600']
    assert [state.partition(";")[0] for state in response.headers.get_list("ratelimit")] == [
        '"burst"',
        '"hour"',
    ]


async def test_one_route_alone_can_be_limited() -> None:
    app = limited()

    @app.post("/login", use=[RateLimit(1, 60)])
    async def login() -> str:
        return "hello"

    async with app.test_client() as client:
        answers = [await client.post("/login") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        answer = await client.get("/")
    assert answer.status_code == 200 and "ratelimit" not in answer.headers


# --- which bucket ---------------------------------------------------------------------


async def are_one_client(one: str, other: str) -> bool:
    """Return whether two addresses in a trusted proxy's field share one bucket."""
    transport = MemoryTransport(limited(RateLimit(1, 60)), trusted_proxies=("127.0.0.0/8",))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        first, second = [
            await client.get("/", headers={"X-Forwarded-For": address}) for address in (one, other)
        ]
    assert first.status_code == 200
    return second.status_code == 429


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1:1234", "192.0.2.1:4321", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8::1", "2001:db8::1:2:3:4", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "2001:db8::1", False),
        ("evil, 192.0.2.1", "other, 192.0.2.1", True),  # a client can send the part on the left
    ],
)
async def test_client_is_an_address_or_the_64_bits_of_a_network(
    one: str, other: str, are_one: bool
) -> None:
    assert await are_one_client(one, other) is are_one


async def test_zone_of_a_link_local_address_is_no_part_of_a_client() -> None:
    server = Server(limited(RateLimit(1, 60)), ServerConfig())
    await server.open()
    answers = []
    try:
        for number, zone in enumerate(("eth0", "eth1", "2")):
            end = connect(
                server.accept, client=(f"fe80::{number}%{zone}", 1), server=("::", 80), limit=1024
            )
            await end.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answers.append((await read_all(end))[9:12])
    finally:
        await server.stop()
    assert answers == [b"200", b"429", b"429"]


async def test_nobody_names_himself() -> None:
    """Without trusted proxies, forwarding fields are ignored."""
    async with limited(RateLimit(1, 60)).test_client() as client:
        answers = [
            await client.get("/", headers={"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(2)
        ]
    assert [answer.status_code for answer in answers] == [200, 429]


async def test_key_counts_by_something_else_and_none_does_not_count() -> None:
    app = limited(RateLimit(1, 60, key=lambda request: request.headers.get("x-api-key")))
    long = "k" * 10_000
    for key, status in [("a", 200), ("a", 429), ("b", 200), (long, 200), (long, 429)]:
        assert (await get(app, {"X-API-Key": key})).status_code == status
    for _ in range(3):
        response = await get(app)
        assert response.status_code == 200 and "ratelimit" not in response.headers


async def test_key_may_be_any_text() -> None:
    keys = iter(["\ud800\u20ac\0", "\ud800\u20ac\0", "\ud801\u20ac\0"])
    app = limited(RateLimit(1, 60, key=lambda request: next(keys)))
    assert await statuses(app, 3) == [200, 429, 200]


# --- the buckets ----------------------------------------------------------------------


def test_buckets_that_are_full_again_are_forgotten_when_others_come() -> None:
    clock = Clock()
    buckets = TokenBuckets(10, 10, max_keys=1000, clock=clock)
    for number in range(500):
        buckets.take(str(number))
    assert len(buckets) == 500
    clock.now += 1
    for number in range(300):
        buckets.take(f"new {number}")
    assert len(buckets) == 300


def test_what_was_asked_for_the_longest_time_ago_makes_room() -> None:
    buckets = TokenBuckets(1, 60, max_keys=3, clock=Clock())
    for key in "abc":
        buckets.take(key)
    assert buckets.take("a")[0] == -1  # and now "b" is the oldest
    buckets.take("d")
    assert len(buckets) == 3
    assert [buckets.take(key)[0] for key in "acd"] == [-1, -1, -1]
    assert buckets.take("b")[0] == 0


@pytest.mark.parametrize("began", [0.1, 98765.4321, 1234567.891])
def test_wait_that_was_told_is_long_enough_whatever_rounding_has_lost(began: float) -> None:
    for quota, window_s in [(2, 4), (2, 6), (2, 18), (3, 7), (7, 49), (10, 60), (39, 60)]:
        clock = Clock()
        clock.now = began
        buckets = TokenBuckets(quota, window_s, max_keys=5, clock=clock)
        for _ in range(quota):
            assert buckets.take("a")[0] >= 0
        for _ in range(50):
            left, wait_s = buckets.take("a")
            assert left == -1
            clock.now += wait_s
            assert buckets.take("a")[0] >= 0
            while buckets.take("a")[0] >= 0:
                pass


def test_many_addresses_cost_no_more_than_max_keys() -> None:
    buckets = TokenBuckets(100, 60, max_keys=4096, clock=Clock())
    tracemalloc.start()
    try:
        for number in range(50_000):
            buckets.take(number.to_bytes(8, "big"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(buckets) == 4096
    assert peak < 4096 * 400


@pytest.mark.parametrize("seconds", [-1e9, -30, -1e-9])
def test_clock_that_was_set_back_locks_nobody_out(seconds: float) -> None:
    clock = Clock()
    buckets = TokenBuckets(2, 60, max_keys=10, clock=clock)
    assert [buckets.take("a")[0] for _ in range(3)] == [1, 0, -1]
    clock.now += seconds
    left, wait_s = buckets.take("a")
    assert left == -1 and wait_s <= 30
    clock.now += wait_s
    assert buckets.take("a")[0] == 0


def test_quota_finer_than_the_clock_is_no_fault() -> None:
    clock = Clock()
    clock.now = 1e9
    buckets = TokenBuckets(10**18, 1, max_keys=10, clock=clock)
    for number in range(100):
        assert buckets.take(str(number % 3))[0] > 0


def test_never_more_than_the_quota_and_what_came_back() -> None:
    clock = Clock()
    buckets = TokenBuckets(10, 7, max_keys=10, clock=clock)
    taken = 0
    for step in range(10_000):
        clock.now += 0.013
        taken += buckets.take("a")[0] >= 0
        assert taken <= 10 + (step + 1) * 0.013 * 10 / 7 + 1e-3
    assert taken >= 10_000 * 0.013 * 10 / 7


@pytest.mark.parametrize(
    "make",
    [
        lambda: RateLimit(0, 60),
        lambda: RateLimit(1, 0),
        lambda: RateLimit(1, 0.5),  # type: ignore[arg-type]
        lambda: RateLimit(1, 60, max_keys=0),
        lambda: RateLimit(1, 60, name='a";q=9'),
        lambda: RateLimit(1, 60, name=""),
    ],
)
def test_what_can_be_no_limit_is_told_at_once(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError, match="RateLimit: expected"):
        make()


async def test_key_sees_what_middleware_around_it_left() -> None:
    app = App()

    @app.middleware
    async def authenticate(request: Request, call_next: Any) -> Any:
        request.state.user = request.headers["x-user"]
        return await call_next(request)

    app.use(RateLimit(1, 60, key=lambda request: request.state.user))

    @app.get("/")
    async def index() -> str:
        return "hello"

    users = ("ada", "ada", "bob")
    assert [(await get(app, {"X-User": user})).status_code for user in users] == [200, 429, 200]


def test_a_key_is_a_plain_function_of_the_request() -> None:
    async def look_up(request: Request) -> str:
        return "ada"

    with pytest.raises(ConfigurationError, match=r"look_up at .*expected a plain def as key"):
        RateLimit(1, 60, key=look_up)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"key takes \(request\), this takes \(\)"):
        RateLimit(1, 60, key=lambda: "ada")  # type: ignore[arg-type,misc]
