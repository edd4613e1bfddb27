"""Rate limits that several processes count together, in a real Redis."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import redis.asyncio
from support.processes import DEADLINE_S
from support.redis_server import COMMAND, RedisServer, redis_server

from microweb import App, ConfigurationError
from microweb.concurrency.per_process import all_per_process
from microweb.middleware import rate_limit_redis
from microweb.middleware.rate_limit import RateLimit
from microweb.middleware.rate_limit_redis import RedisBuckets

needs_redis = pytest.mark.skipif(COMMAND is None, reason="needs redis-server")

NOWHERE = "unix:///nowhere/socket"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not look like a failure of Redis."""
    monkeypatch.setattr(rate_limit_redis, "_TIMEOUT_S", DEADLINE_S)


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def url(shared: RedisServer) -> str:
    async with redis.asyncio.from_url(shared.url) as client:
        await client.flushall()
    return shared.url


class Clock:
    """The monotonic clock of the store, which a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(rate_limit_redis, "monotonic", lambda: self.now)


def limited(buckets: RedisBuckets, quota: int = 3, window_s: int = 60, **options: Any) -> App:
    app = App()
    app.use(RateLimit(quota, window_s, store=buckets, **options))
    app.on_shutdown(buckets.aclose)

    @app.get("/")
    async def index() -> str:
        return "hello"

    return app


async def statuses(client: httpx.AsyncClient, count: int) -> list[int]:
    return [(await client.get("/")).status_code for _ in range(count)]


async def pass_time(url: str, seconds: float) -> None:
    """Move the only bucket back in time."""
    async with redis.asyncio.from_url(url) as client:
        (key,) = await client.keys()
        full_at = float(await client.get(key))
        await client.set(key, f"{full_at - seconds * 1e6:.17g}", keepttl=True)


@needs_redis
async def test_two_applications_count_together(url: str) -> None:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(limited(RedisBuckets(url)).test_client())
            for _ in range(2)
        ]
        found = [await statuses(client, 2) for client in clients]
    assert found == [[200, 200], [200, 429]]


@needs_redis
async def test_requests_at_the_same_time_get_exactly_the_quota(url: str) -> None:
    buckets = RedisBuckets(url)
    taken = await asyncio.gather(*[buckets.take("a", 50, 3600) for _ in range(200)])
    await buckets.aclose()
    assert sorted(left for left, _ in filter(None, taken)) == [-1] * 150 + list(range(50))


@needs_redis
async def test_fields_are_those_of_the_memory(url: str) -> None:
    async with limited(RedisBuckets(url)).test_client() as client:
        answers = [await client.get("/") for _ in range(4)]
    assert [answer.headers["ratelimit"] for answer in answers] == [
        f'"default";{state}' for state in ("r=2;t=20", "r=1;t=20", "r=0;t=20", "r=0;t=20")
    ]
    refused = answers[-1]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=3;w=60'}
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "20")


@needs_redis
async def test_tokens_come_back_evenly(url: str) -> None:
    async with limited(RedisBuckets(url)).test_client() as client:
        assert await statuses(client, 4) == [200, 200, 200, 429]
        await pass_time(url, 20.0)
        assert await statuses(client, 2) == [200, 429]
        await pass_time(url, 10_000.0)
        assert await statuses(client, 4) == [200, 200, 200, 429]


@needs_redis
async def test_a_bucket_far_in_the_future_is_only_empty(url: str) -> None:
    """After a failover to a Redis with another clock, a client waits no more than `window_s`."""
    async with limited(RedisBuckets(url)).test_client() as client:
        await statuses(client, 1)
        await pass_time(url, -1_000_000.0)
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "20")


@needs_redis
async def test_a_key_expires_when_its_bucket_is_full(url: str) -> None:
    async with (
        limited(RedisBuckets(url, prefix="shop:"), name="login").test_client() as client,
        redis.asyncio.from_url(url) as looking,
    ):
        await statuses(client, 1)
        (key,) = await looking.keys()
        assert key == b"shop:login:3/60:127.0.0.1" and 15_000 < await looking.pttl(key) <= 20_000
        await statuses(client, 5)
        assert 55_000 < await looking.pttl(key) <= 60_000


@needs_redis
async def test_a_secret_key_is_not_in_redis_and_counts_for_all_processes(url: str) -> None:
    async with redis.asyncio.from_url(url) as looking:
        for _ in range(2):
            app = limited(RedisBuckets(url), key=lambda request: "s3cret")
            async with app.test_client() as client:
                await statuses(client, 1)
        (key,) = await looking.keys()
    assert b"s3cret" not in key


@needs_redis
@pytest.mark.parametrize("decodes", [True, False])
async def test_a_client_of_ones_own_is_used_and_left_open(url: str, decodes: bool) -> None:
    async with redis.asyncio.from_url(url, decode_responses=decodes) as client:
        buckets = RedisBuckets(client)
        assert await buckets.take("a", 2, 60) == (1, 30)
        await buckets.aclose()
        assert await client.ping()


async def test_without_redis_each_process_counts_for_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with limited(RedisBuckets(NOWHERE)).test_client() as client:
        assert await statuses(client, 5) == [200, 200, 200, 429, 429]
        refused = await client.get("/")
    assert refused.headers["ratelimit"].startswith('"default";r=0;t=')
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "Redis failed, so each process counts for itself in RateLimit: ConnectionError: "
    )


@needs_redis
async def test_redis_that_dies_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    with redis_server() as server:
        async with limited(RedisBuckets(server.url)).test_client() as client:
            assert await statuses(client, 4) == [200, 200, 200, 429]
            server.process.kill()
            server.process.wait(timeout=DEADLINE_S)
            assert await statuses(client, 4) == [200, 200, 200, 429]  # of this process
            with server.restarted():
                assert await statuses(client, 1) == [429]  # Redis is not asked yet
                clock.now += 1.1
                assert await statuses(client, 4) == [200, 200, 200, 429]  # of the new Redis
    assert len(caplog.records) == 1


@needs_redis
async def test_redis_that_hangs_delays_one_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rate_limit_redis, "_TIMEOUT_S", 0.1)
    Clock(monkeypatch)
    with redis_server() as server:
        buckets = RedisBuckets(server.url)
        assert await buckets.take("a", 3, 60) == (2, 20)
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert [await buckets.take("a", 3, 60) for _ in range(100)] == [None] * 100
        finally:
            server.process.send_signal(signal.SIGCONT)
        await buckets.aclose()
    (record,) = caplog.records
    assert "TimeoutError" in record.getMessage()


def test_a_shared_store_is_no_state_of_this_process() -> None:
    shared = RateLimit(3, 60, store=RedisBuckets(NOWHERE))
    alone = RateLimit(4, 60)
    noted = [each for each in all_per_process() if __file__ in str(each)]
    assert len(noted) == 1 and shared is not None and alone is not None


def test_wrong_stores_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected store=RedisBuckets"):
        RateLimit(3, 60, store="redis://localhost")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="RedisBuckets: expected a URL"):
        RedisBuckets("http://localhost")
    with pytest.raises(ConfigurationError, match="RedisBuckets: expected a URL"):
        RedisBuckets(7)  # type: ignore[arg-type]
