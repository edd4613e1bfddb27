"""Commands to a real Redis. The tests of the stores have the rest."""

from __future__ import annotations

import pytest
import redis.asyncio
from support.redis_server import COMMAND, redis_server

from microweb.errors import ConfigurationError
from microweb.sessions.redis_client import RedisCommands

needs_redis = pytest.mark.skipif(COMMAND is None, reason="needs redis-server")


@needs_redis
async def test_connections_of_a_url_are_closed_and_made_again() -> None:
    with redis_server() as server:
        commands = RedisCommands("Store", server.url, 5.0)
        async with redis.asyncio.from_url(server.url) as looking:
            for _ in range(2):
                assert await commands.send("ECHO", "hello") == b"hello"
                assert len(await looking.client_list()) == 2
                await commands.aclose()
                await commands.aclose()


@needs_redis
async def test_a_wrong_command_is_one_of_the_failures() -> None:
    with redis_server() as server:
        commands = RedisCommands("Store", server.url, 5.0)
        with pytest.raises(commands.failures):
            await commands.send("NONSENSE")
        await commands.aclose()


async def test_a_redis_that_is_not_there_is_one_of_the_failures() -> None:
    commands = RedisCommands("Store", "unix:///nowhere/socket", 5.0)
    with pytest.raises(commands.failures):
        await commands.send("PING")


@pytest.mark.parametrize("client", [object(), 7, None])
def test_a_client_must_send_commands(client: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^Store: expected a URL such as"):
        RedisCommands("Store", client, 5.0)  # type: ignore[arg-type]
