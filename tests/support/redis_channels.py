"""Channels over a Redis of the tests: their lives, and a cut of their connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from support.processes import DEADLINE_S

from microweb.channels.channel import Channels
from microweb.channels.redis import RedisBroker, RedisLink

GAP = {"gap": True, "missed": None}
TOLD = "channel:0:a"  # the Redis channel that is subscribed to, for the channel "a"


@asynccontextmanager
async def living(url: str, history: int = 3, **options: Any) -> AsyncIterator[Channels]:
    """Yield channels. At the end, check that their task has ended."""
    channels = Channels(history, RedisBroker(url, **options))
    async with channels.life():
        yield channels
        reader = link(channels)._reader
    assert reader is None or reader.cancelled()


def link(channels: Channels) -> RedisLink:
    link = channels.hub.link
    assert isinstance(link, RedisLink)
    return link


async def cut(channels: Channels) -> None:
    """Cut the connection for announcements, and wait until the listener notices."""
    async with asyncio.timeout(DEADLINE_S):
        while (connection := link(channels)._listener.connection) is None:
            await asyncio.sleep(0.001)
        connection._writer.transport.abort()
        while link(channels)._listener.connection is connection:
            await asyncio.sleep(0)
