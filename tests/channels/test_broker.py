"""Each broker keeps the contract of `Broker` and `Link`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.hearing import Heard

from microweb.channels.broker import Broker, Link
from microweb.channels.memory import MemoryBroker
from microweb.channels.redis import RedisBroker


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest) -> Broker:
    if request.param == "memory":
        return MemoryBroker()
    return RedisBroker(request.getfixturevalue("url"))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def link(broker: Broker, heard: Heard) -> AsyncIterator[Link]:
    link = broker.connect(heard, 2)
    await link.start()
    yield link
    await link.aclose()


async def test_a_channel_begins_with_its_history_and_goes_on_in_order(
    link: Link, heard: Heard
) -> None:
    ids = [await link.publish("a", b"j%d" % number) for number in range(4)]
    assert len(set(ids)) == 4
    heard.calls.clear()
    await link.open("a")
    await link.open("a")  # changes nothing
    assert heard.calls == [("begin", "a", [b"j1", b"j2", b"j3"])]
    await link.publish("a", b"j4")
    await link.end("a")
    await heard.until(("end", "a"))
    assert heard.calls[1:] == [("receive", "a", b"j4"), ("end", "a")]


async def test_a_new_channel_begins_with_a_place_to_continue_from(link: Link, heard: Heard) -> None:
    await link.open("a")
    assert heard.calls == [("begin", "a", [None])]


async def test_a_channel_that_was_closed_begins_anew(link: Link, heard: Heard) -> None:
    await link.open("a")
    await link.close("a")
    await link.publish("a", b"j0")
    heard.calls.clear()
    await link.open("a")
    assert heard.calls == [("begin", "a", [None, b"j0"])]
