"""The connection for announcements: cut, refused, silent, and with many names."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio
from support.processes import DEADLINE_S
from support.redis_channels import GAP, cut, link, living
from support.redis_server import RedisServer, redis_server
from support.subscribing import publish, take

from microweb.channels import redis as redis_broker
from microweb.channels import redis_listener
from microweb.channels.channel import Channel
from microweb.errors import BrokerUnavailable


async def test_connection_that_is_cut_loses_doubles_and_mixes_nothing(url: str) -> None:
    async with (
        living(url) as here,
        living(url) as there,
        here["a"].subscribe() as messages,
        here["b"].subscribe() as others,
    ):
        for number in range(0, 30, 3):
            await publish(there["a"], number)
            await cut(here)
            await publish(there["a"], number + 1)
            await publish(there["b"], number)
            await publish(there["a"], number + 2)
        assert await take(messages, 30) == list(range(30))
        assert await take(others, 10) == list(range(0, 30, 3))
        await publish(there["a"], "end")
        assert await take(messages, 1) == ["end"]


async def test_connection_that_is_cut_at_any_moment_loses_nothing(url: str) -> None:
    count, writers = 100, 4

    async def write(channel: Channel, writer: int) -> None:
        await publish(channel, *([writer, number] for number in range(count)))

    async with living(url) as here, living(url) as there, here["a"].subscribe() as messages:
        writing = [asyncio.create_task(write(there["a"], each)) for each in range(writers)]
        reading = asyncio.create_task(take(messages, writers * count))
        while not reading.done():
            await cut(here)
        got = await reading
        await asyncio.gather(*writing)
        async with redis.asyncio.from_url(url) as client:
            stream = await client.xrange("channel:a")
    assert got == [json.loads(fields[b"m"][1:]) for _, fields in stream if b"m" in fields]


async def test_many_channels_through_one_connection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 1200
    monkeypatch.setattr(redis_broker, "_TIMEOUT_S", DEADLINE_S)  # of 1200 commands together
    monkeypatch.setattr(redis_listener, "_TIMEOUT_S", DEADLINE_S)
    async with living(url) as channels:
        async with redis.asyncio.from_url(url) as client:
            subscriptions = [channels[str(number)].subscribe() for number in range(count)]
            await asyncio.gather(*(each.__aenter__() for each in subscriptions))
            await cut(channels)
            await asyncio.gather(*(channels[str(n)].publish(n) for n in range(count)))
            for number, messages in enumerate(subscriptions):
                assert await take(messages, 1) == [number]
            connections = [c for c in await client.client_list() if c["sub"] != "0"]
            assert [c["sub"] for c in connections] == [str(count)]
        for each in subscriptions:
            await each.__aexit__()


@asynccontextmanager
async def user_of(server: RedisServer, *rules: str) -> AsyncIterator[str]:
    """Yield the URL of a user of Redis that has these rules."""
    async with redis.asyncio.from_url(server.url) as client:
        await client.execute_command(*"ACL SETUSER mw reset on >pw ~* +@all".split(), *rules)
        yield server.url.replace("unix://", "unix://mw@") + "?password=pw"
        await client.execute_command("ACL", "DELUSER", "mw")


async def test_a_channel_that_redis_lets_nobody_hear_costs_the_others_nothing(
    server: RedisServer, url: str
) -> None:
    async with (
        user_of(server, "&channel:0:ok*") as restricted,
        living(restricted) as channels,
        channels["ok1"].subscribe() as messages,
    ):
        connection = link(channels)._listener.connection
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                async with asyncio.timeout(DEADLINE_S / 2), channels["secret"].subscribe():
                    pass
        async with channels["ok2"].subscribe() as others:
            await publish(channels["ok1"], 1)
            await publish(channels["ok2"], 2)
            assert (await take(messages, 1), await take(others, 1)) == ([1], [2])
        assert link(channels)._listener.connection is connection
        assert (
            not link(channels)._listener._commands
            or link(channels)._listener._commands[0].word == "UNSUBSCRIBE"
        )
        assert list(channels) == ["ok1"]


async def test_a_channel_that_redis_lets_nobody_hear_any_more_ends(
    server: RedisServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"ok{number}" for number in range(3)]
    async with (
        user_of(server, "&channel:0:*") as restricted,
        living(restricted) as channels,
        channels["ok1"].subscribe() as messages,
        channels["ok2"].subscribe() as others,
        channels["secret"].subscribe() as ended,
    ):
        async with redis.asyncio.from_url(server.url) as client:
            rules = "resetchannels &channel:0:ok*".split()
            # Redis cuts connections that subscribe to more.
            await client.execute_command("ACL", "SETUSER", "mw", *rules)
        async with asyncio.timeout(DEADLINE_S):
            assert [message.data async for message in ended] == [GAP]
        for number in (1, 2):
            await publish(channels[names[number]], number)
        assert (await take(messages, 1), await take(others, 1)) == ([1], [2])
        with pytest.raises(BrokerUnavailable):
            async with channels["secret"].subscribe():
                pass
    assert caplog.text.count("channels: Redis refuses to subscribe to 'secret': ") == 1


async def test_redis_that_hangs_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_listener, "_SILENCE_S", 0.05)
    with redis_server() as server:
        async with living(server.url) as channels, channels["a"].subscribe() as messages:
            connection = link(channels)._listener.connection
            server.process.send_signal(signal.SIGSTOP)
            monkeypatch.setattr(redis_broker, "_TIMEOUT_S", 0.05)
            try:
                with pytest.raises(BrokerUnavailable):
                    await channels["a"].publish("perhaps")
                with pytest.raises(BrokerUnavailable):
                    async with channels["b"].subscribe():
                        pass
                async with asyncio.timeout(DEADLINE_S):
                    while link(channels)._listener.connection is connection:  # silence is noticed
                        await asyncio.sleep(0.01)
            finally:
                server.process.send_signal(signal.SIGCONT)
            monkeypatch.setattr(redis_broker, "_TIMEOUT_S", 5.0)
            await publish(channels["a"], "sure")
            got = await take(messages, 1)
            if got == ["perhaps"]:  # Redis had received it
                got = await take(messages, 1)
            assert got == ["sure"]
            assert list(channels) == ["a"]
