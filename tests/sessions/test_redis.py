"""Sessions in a real Redis."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis.asyncio
from support.processes import DEADLINE_S
from support.redis_server import COMMAND, redis_server

from microweb.errors import ServiceUnavailable
from microweb.sessions.redis import RedisStore

needs_redis = pytest.mark.skipif(COMMAND is None, reason="needs redis-server")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("microweb.concurrency.throttle.monotonic", lambda: self.now)


@needs_redis
async def test_an_entry_in_redis_has_prefix_and_age(redis_url: str) -> None:
    store = RedisStore(redis_url, prefix="shop:")
    async with redis.asyncio.from_url(redis_url) as client:
        await client.flushall()
        await store.set("a", b"1", 60, replacing=None)
        assert await client.keys() == [b"shop:a"]
        assert 55 <= await client.ttl("shop:a") <= 60
        await store.set("a", b"2", 600, replacing=b"1")
        assert 595 <= await client.ttl("shop:a") <= 600
        await client.pexpire("shop:a", 0)
        assert await store.get("a") is None
    await store.aclose()


@needs_redis
@pytest.mark.parametrize("decodes", [True, False])
async def test_a_client_of_ones_own_is_used_and_left_open(redis_url: str, decodes: bool) -> None:
    async with redis.asyncio.from_url(redis_url, decode_responses=decodes) as client:
        await client.flushall()
        store = RedisStore(client)
        data = '{"é":1}'.encode()
        assert await store.set("a", data, 60, replacing=None)
        assert await store.get("a") == data
        assert await store.set("a", b"2", 60, replacing=data)
        await store.aclose()
        assert await client.ping()


@needs_redis
async def test_more_at_once_than_redis_gets_connections(redis_url: str) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        await client.flushall()
        store = RedisStore(redis_url)
        sets = [store.set(str(number), b"1", 60, replacing=None) for number in range(500)]
        assert await asyncio.gather(*sets) == [True] * 500
        assert len(await client.client_list()) <= 32 + 1
    await store.aclose()


@needs_redis
async def test_a_move_that_redis_is_asked_for_twice_counts(redis_url: str) -> None:
    """The client repeats the command if the connection breaks before the answer."""
    store = RedisStore(redis_url)
    await store.set("old", b"1", 60, replacing=None)
    assert await store.move("old", "moved", b"2", 60, replacing=b"1")
    assert await store.move("old", "moved", b"2", 60, replacing=b"1")
    assert await store.get("moved") == b"2"
    await store.delete("moved")
    await store.aclose()


@needs_redis
def test_one_store_serves_one_loop_after_the_other(redis_url: str) -> None:
    store = RedisStore(redis_url)

    async def life(number: int) -> bytes | None:
        await store.set("loops", b"%d" % number, 60, replacing=None)
        found = await store.get("loops")
        await store.aclose()
        return found

    assert [asyncio.run(life(number)) for number in range(2)] == [b"0", b"0"]


@needs_redis
async def test_a_store_that_was_closed_connects_again(redis_url: str) -> None:
    store = RedisStore(redis_url)
    await store.set("again", b"1", 60, replacing=None)
    await store.aclose()
    assert await store.get("again") == b"1"
    await store.aclose()
    await store.aclose()


async def test_a_server_that_is_not_there_is_a_503_and_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    store = RedisStore("unix:///nowhere/socket")
    for later in (0.0, 1.0, 58.0, 1.0, 1.0):
        clock.now += later
        with pytest.raises(ServiceUnavailable):
            await store.get("a")
    await store.aclose()
    texts = [record.getMessage() for record in caplog.records]
    assert [text.partition(": ")[0] for text in texts] == [
        "Redis failed, so requests that need a session get a 503"
    ] * 2
    assert "/nowhere/socket" in texts[0]
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_cluster_that_is_not_there_is_a_503(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as reserved:  # bound, but not listening
        reserved.bind(("127.0.0.1", 0))
        client = redis.asyncio.RedisCluster(host="127.0.0.1", port=reserved.getsockname()[1])
        store = RedisStore(client)
        for _ in range(3):
            with pytest.raises(ServiceUnavailable):
                await store.get("a")
        await client.aclose()
    assert len([each for each in caplog.records if each.name == "microweb.app"]) == 1


@needs_redis
async def test_a_server_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microweb.sessions.redis._TIMEOUT_S", 0.1)
    with redis_server() as server:
        store = RedisStore(server.url)
        await store.set("a", b"1", 60, replacing=None)
        server.process.send_signal(signal.SIGSTOP)
        asked = asyncio.gather(*[store.get("a") for _ in range(100)], return_exceptions=True)
        async with asyncio.timeout(DEADLINE_S):  # more than there are connections
            assert {type(each) for each in await asked} == {ServiceUnavailable}
        with pytest.raises(ServiceUnavailable):
            async with asyncio.timeout(DEADLINE_S):
                await store.get("a")
        server.process.send_signal(signal.SIGCONT)
        assert await store.get("a") == b"1"
        await store.aclose()


def test_without_redis_the_command_that_mends_it_is_named() -> None:
    code = "import sys; sys.modules['redis'] = None\n"
    code += "from microweb.sessions.memory import MemoryStore\n"
    code += "from microweb.sessions.redis import RedisStore\nMemoryStore()\n"
    code += "RedisStore('redis://localhost')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "MissingExtra: RedisStore needs the extra redis: pip install 'redis>=5.2'" in run.stderr
