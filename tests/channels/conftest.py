from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio
from support.redis_server import COMMAND, RedisServer, redis_server

from microweb.channels.channel import Channel, Channels


@pytest.fixture
def channels() -> Channels:
    return Channels(history=3, wait_s=3600)


@pytest.fixture
def channel(channels: Channels) -> Channel:
    return channels["room:1"]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    if COMMAND is None:
        pytest.skip("needs redis-server")
    with redis_server() as server:
        yield server


@pytest.fixture
async def url(server: RedisServer) -> AsyncIterator[str]:
    async with redis.asyncio.from_url(server.url) as client:
        await client.flushall()
    yield server.url
