"""The promises of a SessionStore, in memory and in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio
from support.redis_server import COMMAND, redis_server

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
