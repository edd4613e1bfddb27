"""Sessions in memory: how much they take, and which are removed from a full store."""

from __future__ import annotations

import asyncio
import secrets
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb import ConfigurationError
from microweb.errors import SessionTooLarge
from microweb.sessions.memory import MemoryStore


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("microweb.sessions.memory.monotonic", lambda: self.now)


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
    with pytest.raises(
        SessionTooLarge, match="the session has 1000 bytes, which is more than the whole store"
    ):
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
        await store.get(f"large{number}")  # a session with two requests is in use as well
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
    """The store has the data that was written last, and its counts match its entries."""

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
