"""The broker of one process."""

from __future__ import annotations

from typing import Any

import pytest
from support.hearing import Heard

from microweb import ConfigurationError
from microweb.channels.memory import MemoryBroker, MemoryLink


class Clock:
    """A monotonic clock that a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("microweb.channels.memory.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def link_of(heard: Heard, history: int = 2, **options: Any) -> MemoryLink:
    link = MemoryBroker(**options).connect(heard, history)
    assert isinstance(link, MemoryLink)
    return link


async def test_memory_begins_with_one_more_than_the_history(heard: Heard) -> None:
    link = link_of(heard)
    for payload in (b"1", b"2", b"3", b"4"):
        await link.publish("a", payload)
    heard.calls.clear()
    await link.open("a")
    await link.open("a")
    await link.publish("a", b"5")
    await link.end("a")
    assert heard.calls == [("begin", "a", [b"2", b"3", b"4"]), ("receive", "a", b"5"), ("end", "a")]


async def test_memory_begins_a_new_channel_with_a_place(heard: Heard) -> None:
    link = link_of(heard)
    await link.open("a")
    assert heard.calls == [("begin", "a", [None])]


async def test_without_history_a_channel_is_gone_when_it_is_closed(heard: Heard) -> None:
    link = link_of(heard, history=0)
    await link.publish("a", b"1")
    assert len(link) == 0
    await link.open("b")
    assert len(link) == 1
    await link.close("b")
    assert len(link) == 0


async def test_history_is_kept_until_it_expires(heard: Heard, clock: Clock) -> None:
    link = link_of(heard, expire_s=60)
    await link.publish("a", b"1")
    clock.now += 59
    await link.publish("a", b"2")
    clock.now += 59
    await link.open("a")
    assert heard.begun() == [b"1", b"2"]
    clock.now += 1000  # an open channel does not expire
    await link.close("a")
    clock.now += 59
    assert len(link) == 1
    clock.now += 1
    assert len(link) == 0
    await link.open("a")
    assert heard.begun() == [None]


async def test_channels_without_subscribers_are_bounded(heard: Heard) -> None:
    link = link_of(heard, max_channels=10)
    await link.open("open")
    for number in range(1000):
        await link.publish(str(number), b"x")
    await link.publish("990", b"y")
    await link.publish("new", b"x")
    assert len(link) == 11
    await link.open("990")
    assert heard.begun() == [b"x", b"y"]
    await link.open("991")  # the least recently used one
    assert heard.begun() == [None]


@pytest.mark.parametrize("options", [{"max_channels": -1}, {"expire_s": -1}])
def test_wrong_option_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"MemoryBroker: expected"):
        MemoryBroker(**options)
