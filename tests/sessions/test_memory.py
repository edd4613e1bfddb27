"""The stores of sessions by themselves; Redis for real."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from support.processes import DEADLINE_S
from support.redis_server import COMMAND, redis_server

from microweb import ConfigurationError
from microweb.errors import ServiceUnavailable, SessionTooLarge
from microweb.sessions.memory import MemoryStore
from microweb.sessions.redis import RedisStore
from microweb.sessions.store import SessionStore

needs_redis = pytest.mark.skipif(COMMAND is None, reason="needs redis-server")


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.fixture(params=["memory", pytest.param("redis", marks=needs_redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SessionStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    store = RedisStore(request.getfixturevalue("redis_url"))
    async with redis.asyncio.from_url(request.getfixturevalue("redis_url")) as client:
        await client.flushall()
    yield store
    await store.aclose()


# --- what both promise


async def test_what_was_set_is_there(store: SessionStore) -> None:
    data = '{"é":1}'.encode() + b"\x00\xff\r\n"
    assert await store.set("a", data, 60, replacing=None)
    assert await store.get("a") == data
    assert await store.get("b") is None


async def test_a_new_entry_replaces_none(store: SessionStore) -> None:
    assert await store.set("a", b"1", 60, replacing=None)
    assert not await store.set("a", b"2", 60, replacing=None)
    assert await store.get("a") == b"1"


async def test_an_entry_is_replaced_where_it_is_what_was_seen(store: SessionStore) -> None:
    await store.set("a", b"1", 60, replacing=None)
    assert await store.set("a", b"2", 60, replacing=b"1")
    assert not await store.set("a", b"3", 60, replacing=b"1")
    assert await store.get("a") == b"2"


async def test_what_is_gone_is_not_brought_back(store: SessionStore) -> None:
    await store.set("a", b"1", 60, replacing=None)
    await store.delete("a")
    await store.delete("a")
    assert not await store.set("a", b"2", 60, replacing=b"1")
    assert await store.get("a") is None


async def test_an_entry_is_moved_if_it_is_what_was_seen(store: SessionStore) -> None:
    await store.set("a", b"1", 60, replacing=None)
    assert not await store.move("a", "b", b"2", 60, replacing=b"0")
    assert [await store.get(id) for id in "ab"] == [b"1", None]
    assert await store.move("a", "b", b"2", 60, replacing=b"1")
    assert [await store.get(id) for id in "ab"] == [None, b"2"]


async def test_what_is_gone_is_not_moved(store: SessionStore) -> None:
    await store.set("a", b"1", 60, replacing=None)
    await store.delete("a")
    assert not await store.move("a", "b", b"2", 60, replacing=b"1")
    assert [await store.get(id) for id in "ab"] == [None, None]


async def test_of_many_at_once_one_moves(store: SessionStore) -> None:
    await store.set("a", b"0", 60, replacing=None)
    moves = [store.move("a", f"b{number}", b"1", 60, replacing=b"0") for number in range(20)]
    assert sorted(await asyncio.gather(*moves)) == [False] * 19 + [True]
    found = [await store.get(f"b{number}") for number in range(20)]
    assert found.count(b"1") == 1
    assert found.count(None) == 19


async def test_of_many_at_once_one_replaces(store: SessionStore) -> None:
    await store.set("a", b"0", 60, replacing=None)
    writes = [store.set("a", b"%d" % number, 60, replacing=b"0") for number in range(1, 21)]
    assert sorted(await asyncio.gather(*writes)) == [False] * 19 + [True]


# --- in memory


class Clock:
    """A monotonic clock that goes when it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in ("sessions.memory", "concurrency.throttle"):
            monkeypatch.setattr(f"microweb.{module}.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_an_entry_in_memory_ends_with_its_age(clock: Clock) -> None:
    store = MemoryStore()
    await store.set("a", b"1", 60, replacing=None)
    clock.now += 59.9
    assert await store.get("a") == b"1"
    clock.now += 0.1
    assert await store.get("a") is None
    assert not await store.set("a", b"2", 60, replacing=b"1")
    assert await store.set("a", b"2", 60, replacing=None)


async def test_a_replaced_entry_begins_a_new_age(clock: Clock) -> None:
    store = MemoryStore()
    await store.set("a", b"1", 60, replacing=None)
    clock.now += 50
    await store.set("a", b"2", 60, replacing=b"1")
    clock.now += 50
    assert await store.get("a") == b"2"


async def test_expired_entries_hold_no_memory(clock: Clock) -> None:
    store = MemoryStore()
    for number in range(100):
        await store.set(str(number), b"x", 60, replacing=None)
    assert len(store) == 100
    clock.now += 60
    await store.set("a", b"1", 60, replacing=None)
    assert len(store) == 1


async def test_what_was_written_longest_ago_makes_room() -> None:
    store = MemoryStore(max_bytes=3 * (370 + 100))
    for id in "abc":
        await store.set(id, b"x" * 100, 60, replacing=None)
    await store.set("a", b"y" * 100, 60, replacing=b"x" * 100)
    await store.set("d", b"x" * 100, 60, replacing=None)
    assert [await store.get(id) is not None for id in "abcd"] == [True, False, True, True]


async def test_an_entry_larger_than_all_room_is_an_error() -> None:
    store = MemoryStore(max_bytes=1000)
    await store.set("a", b"x" * 10, 60, replacing=None)
    with pytest.raises(SessionTooLarge, match="larger than all room of the store: it is 1000"):
        await store.set("b", b"x" * 1000, 60, replacing=None)
    assert await store.get("a") == b"x" * 10
    assert len(store) == 1


async def test_large_new_entries_do_not_evict_those_in_use() -> None:
    store = MemoryStore(max_bytes=1024 * 1024)
    users = [f"user{number}" for number in range(200)]
    for id in users:
        await store.set(id, b"x" * 100, 60, replacing=None)
        await store.get(id)
    for number in range(200):
        await store.set(f"large{number}", b"x" * 60_000, 60, replacing=None)
    assert all([await store.get(id) for id in users])


async def test_many_new_entries_do_not_evict_those_in_use() -> None:
    store = MemoryStore(max_bytes=1024 * 1024)
    users = [f"user{number}" for number in range(1000)]
    for id in users:
        await store.set(id, b"x" * 100, 60, replacing=None)
        await store.get(id)
    for number in range(10_000):
        await store.set(f"new{number}", b"x", 60, replacing=None)
    assert all([await store.get(id) for id in users])
    assert await store.get("new9999") == b"x"


async def test_a_large_entry_in_use_makes_room_before_the_small_ones() -> None:
    store = MemoryStore(max_bytes=1024 * 1024)
    await store.set("small", b"x" * 100, 60, replacing=None)
    await store.get("small")
    for number in range(200):
        await store.set(f"large{number}", b"x" * 60_000, 60, replacing=None)
        await store.get(f"large{number}")  # who sends two requests is in use as well
    assert await store.get("small")
    assert await store.get("large199")


async def test_a_client_can_log_in_while_all_room_is_in_use() -> None:
    store = MemoryStore(max_bytes=10 * (370 + 100))
    for number in range(10):
        await store.set(f"user{number}", b"x" * 100, 60, replacing=None)
        await store.get(f"user{number}")
    await store.set("new", b"x" * 100, 60, replacing=None)
    assert [await store.get(id) is not None for id in ("user0", "user1", "new")] == [
        False,
        True,
        True,
    ]


async def test_what_was_used_last_stays() -> None:
    store = MemoryStore(max_bytes=3 * (370 + 100))
    for id in "abc":
        await store.set(id, b"x" * 100, 60, replacing=None)
        await store.get(id)
    await store.get("a")
    await store.set("d", b"x" * 100, 60, replacing=None)
    assert [await store.get(id) is not None for id in "abcd"] == [True, False, True, True]


async def test_the_store_takes_as_much_memory_as_it_says() -> None:
    tracemalloc.start()
    store = MemoryStore()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5000):
        await store.set(f"{number:054}", secrets.token_bytes(100), 60, replacing=None)
        await store.get(f"{number:054}")
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.8 < taken / store._bytes < 1.1


async def test_room_comes_back_with_what_is_removed() -> None:
    store = MemoryStore(max_bytes=1000)
    for _ in range(100):
        assert await store.set("a", b"x", 60, replacing=None)
        await store.delete("a")
    assert await store.set("a", b"x", 60, replacing=None)
    assert await store.get("a") == b"x"


IDS = st.sampled_from([f"id{number}" for number in range(12)])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "get", "delete", "move", "wait"]), IDS, IDS, st.integers(0, 9)
    ),
    max_size=60,
)


@given(STEPS)
def test_the_store_agrees_with_a_dict_but_for_the_room(
    steps: list[tuple[str, str, str, int]],
) -> None:
    """What is there is what was written last, and the counts are those of the entries."""

    async def check() -> None:
        now = 1000.0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("microweb.sessions.memory.monotonic", lambda: now)
            store, model = MemoryStore(max_bytes=5000), dict[str, tuple[bytes, float]]()
            for step, id, new_id, size in steps:
                data = bytes([65 + size]) * (size * 150)
                seen = await store.get(id)
                known = model.get(id)
                assert seen is None or (known is not None and seen == known[0])
                assert seen is None or now < known[1]  # type: ignore[index]
                if step == "wait":
                    now += 20
                elif step == "delete":
                    await store.delete(id)
                    model.pop(id, None)
                elif step == "set" and await store.set(id, data, 60, replacing=seen):
                    model[id] = data, now + 60
                elif step == "move" and seen is not None:
                    assert await store.move(id, new_id, data, 60, replacing=seen)
                    del model[id]
                    model[new_id] = data, now + 60
                entries = store._entries
                assert store._bytes == sum(each.size for each in entries.values()) <= 5000
                new = [each.size for each in entries.values() if not each.is_used]
                assert store._new_bytes == sum(new)
                assert sorted(entries) == sorted(id for ids in store._queues.values() for id in ids)

    asyncio.run(check())


@pytest.mark.parametrize("size", [0, -1])
def test_room_is_positive(size: int) -> None:
    with pytest.raises(ConfigurationError, match="expected a positive max_bytes"):
        MemoryStore(max_bytes=size)


# --- in Redis


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
    """As after a connection that broke before the answer came."""
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
        "Redis does not serve sessions, requests that need one get a 503"
    ] * 2
    assert "/nowhere/socket" in texts[0]
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_cluster_that_is_not_there_is_a_503(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as reserved:  # bound, and nobody listens
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
    assert "MissingExtra: RedisStore needs an extra: pip install 'microweb[redis]'" in run.stderr
