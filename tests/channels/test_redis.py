"""Channels through a real Redis, which is cut off and killed."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from support.processes import DEADLINE_S, Program
from support.redis_channels import GAP, TOLD, cut, link, living
from support.redis_server import RedisServer, redis_server
from support.serving import settle
from support.subscribing import publish, take

from microweb import App, ConfigurationError, Request, Response, WebSocket
from microweb.channels import redis as redis_broker
from microweb.channels import redis_listener
from microweb.channels.channel import Channels
from microweb.channels.redis import RedisBroker
from microweb.errors import BrokerUnavailable
from microweb.testing.websocket import HandshakeRefused, SocketClosed


async def test_message_reaches_subscribers_of_all_processes(url: str) -> None:
    async with (
        living(url) as here,
        living(url) as there,
        here["a"].subscribe() as one,
        there["a"].subscribe() as other,
    ):
        ids = await publish(here["a"], "é", b"\x00\xff \n", {"n": 1})
        ids += await publish(there["a"], 4)
        got = [[await anext(messages) for _ in range(4)] for messages in (one, other)]
    for messages in got:
        assert [message.id for message in messages] == ids
        assert [message.data for message in messages] == ["é", b"\x00\xff \n", {"n": 1}, 4]


async def test_missed_messages_are_replayed_in_another_process(url: str) -> None:
    async with living(url) as here:
        ids = await publish(here["a"], 1, 2, 3, 4, 5)
    async with living(url) as there:
        for id, data in ((ids[3], [5, 6]), (ids[1], [3, 4, 5, 6]), (ids[0], [GAP, 3, 4, 5, 6])):
            async with there["a"].subscribe(last_event_id=id) as messages:
                await there["a"].publish(6)
                assert (await take(messages, len(data)))[-len(data) :] == data
            async with redis.asyncio.from_url(url) as client:
                await client.xdel("channel:a", messages.position)


@pytest.mark.parametrize("id", ["", "0-0", "x", "9999999999999-0", "-", "+", "(1-0", "$"])
async def test_unknown_id_is_a_gap(url: str, id: str) -> None:
    async with living(url) as channels:
        await publish(channels["a"], 1, 2)
        async with channels["a"].subscribe(last_event_id=id) as messages:
            assert await take(messages, 3) == [GAP, 1, 2]


async def test_replay_begins_with_the_history_in_any_process(url: str) -> None:
    async with living(url) as here:
        await publish(here["a"], 1, 2, 3, 4, 5)
    async with living(url) as there, there["a"].subscribe(replay=True) as messages:
        await publish(there["a"], 6)
        assert await take(messages, 4) == [3, 4, 5, 6]
        async with there["a"].subscribe(replay=True) as others:
            assert await take(others, 3) == [4, 5, 6]


async def test_position_of_an_empty_channel_is_a_place(url: str) -> None:
    async with living(url) as here, living(url) as there:
        async with here["a"].subscribe() as messages:
            position = messages.position
            assert position is not None
        await publish(here["a"], 1, 2)
        async with there["a"].subscribe(last_event_id=position) as messages:
            assert await take(messages, 2) == [1, 2]


async def test_burst_is_no_reason_to_be_too_slow(url: str) -> None:
    async with living(url) as channels, channels["a"].subscribe(queue=2) as messages:
        reading = asyncio.create_task(take(messages, 300))
        await settle()
        with redis.Redis.from_url(url) as client:  # blocks the event loop until all are published
            for number in range(300):
                client.eval(redis_broker._PUBLISH, 1, "channel:a", 60, TOLD, 100, b"j%d" % number)
        assert await reading == list(range(300))


async def test_many_subscribers_get_the_same_order_from_two_processes(url: str) -> None:
    async with living(url) as here, living(url) as there, AsyncExitStack() as stack:
        each = [await stack.enter_async_context(here["a"].subscribe()) for _ in range(1500)]
        await asyncio.gather(*(publish(channels["a"], *range(20)) for channels in (here, there)))
        got = [await take(messages, 40) for messages in each]
    assert sorted(got[0], key=str) == sorted([*range(20), *range(20)], key=str)
    assert got == [got[0]] * 1500


async def test_cancelled_publisher_publishes_once_or_not_at_all(url: str) -> None:
    async with living(url, history=1000) as channels, channels["a"].subscribe() as messages:
        for turns in range(40):
            publishing = asyncio.create_task(channels["a"].publish(turns))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.wait([publishing])
        await channels["a"].publish("end")
        got = [None]
        while got[-1] != "end":
            got += await take(messages, 1)
        async with redis.asyncio.from_url(url) as client:
            stream = await client.xrange("channel:a")
    told = [json.loads(fields[b"m"][1:]) for _, fields in stream[1:-1]]
    assert got[1:-1] == told == sorted(set(told))


async def test_what_somebody_else_tells_is_logged_and_passed_over(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "_PAUSE_S", (0.01, 0.01))
    async with living(url) as channels, channels["a"].subscribe() as messages:
        await channels["a"].publish(1)
        assert await take(messages, 1) == [1]
        async with redis.asyncio.from_url(url) as client:
            await client.publish(TOLD, "junk")
            await client.xadd("channel:a", {"x": 1, "y": 2})
        await channels["a"].publish(2)
        assert await take(messages, 1) == [2]
    assert caplog.messages == ["channels: can't read a message from Redis, trying again"]


@pytest.mark.parametrize("payload", [b"t\xff", b"j\xff", b"\xff", b"hello", b""])
async def test_content_of_another_program_cuts_no_subscriber(url: str, payload: bytes) -> None:
    async with living(url, history=5) as channels, channels["a"].subscribe() as messages:
        async with redis.asyncio.from_url(url) as client:
            id = await client.xadd("channel:a", {"m": payload})
            await client.publish(TOLD, id + b" " + payload)
        async with channels["a"].subscribe(replay=True) as later, asyncio.timeout(DEADLINE_S):
            for message in (await anext(messages), await anext(later)):
                assert message.data == payload
                assert b"event: gap" in message.encode_event()
                assert message.encode_frame() == bytes((0x82, len(payload))) + payload


async def test_what_is_gone_from_redis_is_a_gap(url: str) -> None:
    async with (
        living(url) as here,
        living(url, backlog=1, history=1) as there,
        here["a"].subscribe(queue=1000) as messages,
    ):
        before = messages.position
        (first,) = await publish(there["a"], 1)
        assert await take(messages, 1) == [1]
        connection = link(here)._listener.connection
        connection._writer.transport.abort()
        async with redis.asyncio.from_url(url) as client:
            await client.delete("channel:a")
        (id,) = await publish(there["a"], 2)
        assert await take(messages, 2) == [GAP, 2]
        await publish(there["a"], 3)
        assert await take(messages, 1) == [3]
        for known, data in ((id, [3]), (first, [GAP, 2, 3]), (before, [GAP, 2, 3])):
            async with here["a"].subscribe(last_event_id=known) as others:
                assert await take(others, len(data)) == data


async def test_stream_is_bounded_and_expires(url: str) -> None:
    async with living(url, history=3, backlog=5, expire_s=100) as channels:
        await publish(channels["a"], *range(500))
        async with redis.asyncio.from_url(url) as client:
            assert 6 <= await client.xlen("channel:a") <= 5 + 1 + 100  # Redis removes whole nodes
            assert 0 < await client.ttl("channel:a") <= 100
            assert await client.keys() == [b"channel:a"]


async def test_subscribers_keep_a_channel_from_expiring(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_listener, "_SILENCE_S", 0.01)
    async with living(url, expire_s=100) as channels, channels["a"].subscribe():
        link(channels)._broker.expire_s = 1
        async with redis.asyncio.from_url(url) as client, asyncio.timeout(DEADLINE_S):
            while await client.ttl("channel:a") > 1:
                await asyncio.sleep(0.01)


async def test_close_ends_subscribers_of_all_processes(url: str) -> None:
    async with (
        living(url) as here,
        living(url) as there,
        here["a"].subscribe() as one,
        there["a"].subscribe() as other,
    ):
        await publish(here["a"], 1)
        await there["a"].close()
        async with asyncio.timeout(DEADLINE_S):
            for messages in (one, other):
                assert [message.data async for message in messages] == [1]


async def test_nothing_is_left_of_a_channel_without_subscribers(url: str) -> None:
    async with living(url) as channels:
        for _ in range(3):
            async with channels["a"].subscribe(), channels["b"].subscribe():
                assert len(channels) == 2
        assert len(channels) == 0
        assert not link(channels)._opened and not link(channels)._last
        async with redis.asyncio.from_url(url) as client, asyncio.timeout(DEADLINE_S):
            while await client.pubsub_channels():
                await asyncio.sleep(0)


async def test_channel_that_comes_and_goes_quickly_is_whole(url: str) -> None:
    async with living(url, history=100) as channels:
        (last,) = await publish(channels["a"], -1)
        seen: list[int] = []

        async def write() -> None:
            await publish(channels["a"], *range(100))

        writing = asyncio.create_task(write())
        while len(seen) < 100:
            async with channels["a"].subscribe(last_event_id=last) as messages:
                message = await asyncio.wait_for(anext(messages), DEADLINE_S)
                assert isinstance(message.data, int)
                seen.append(message.data)
                last = message.id
        await writing
    assert seen == list(range(100))


async def test_redis_without_its_life_says_what_is_missing(url: str) -> None:
    channel = Channels(broker=RedisBroker(url))["a"]
    with pytest.raises(ConfigurationError, match=r"app\.lifespan\(channels\.life\)"):
        await channel.publish(1)
    with pytest.raises(ConfigurationError, match=r"app\.lifespan\(channels\.life\)"):
        async with channel.subscribe():
            pass


async def test_nobody_waits_for_subscribers_elsewhere(url: str) -> None:
    with pytest.raises(ConfigurationError, match="in one process"):
        Channels(broker=RedisBroker(url))["a"].subscribe(policy="wait")


@pytest.mark.parametrize("options", [{"backlog": 0}, {"expire_s": 1}])
def test_wrong_option_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"RedisBroker: expected"):
        RedisBroker("redis://localhost", **options)


async def test_a_key_that_redis_refuses_costs_the_other_channels_nothing(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis.asyncio.Redis.from_url(url) as client, living(url) as channels:
        key = channels.broker.prefix + "b"  # type: ignore[attr-defined]
        async with channels["a"].subscribe() as messages:
            connection = link(channels)._listener.connection
            await client.set(key, "no stream")
            for _ in range(2):
                with pytest.raises(BrokerUnavailable) as refusal:
                    async with channels["b"].subscribe():
                        pass
                assert "WRONGTYPE" in str(refusal.value.__cause__)
            await publish(channels["a"], 1)
            assert await take(messages, 1) == [1]
            assert link(channels)._listener.connection is connection
            assert list(link(channels)._opened) == ["a"]
            await client.delete(key)
            async with channels["b"].subscribe() as others:
                await publish(channels["b"], 2)
                assert await take(others, 1) == [2]
    assert [message[:34] for message in caplog.messages] == ["channels: Redis refuses 'b': WRONG"]


async def test_a_key_that_redis_refuses_later_is_told_as_a_gap(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis.asyncio.Redis.from_url(url) as client, living(url) as channels:
        key = channels.broker.prefix + "c"  # type: ignore[attr-defined]
        async with channels["c"].subscribe() as messages:
            await publish(channels["c"], 1)
            assert await take(messages, 1) == [1]
            await client.set(key, "no stream")
            await client.client_kill_filter(_type="pubsub")
            assert await take(messages, 1) == [GAP]
            await client.delete(key)
            await publish(channels["c"], 2)
            assert await take(messages, 1) == [2]
    assert sum("channels: Redis refuses 'c': WRONG" in message for message in caplog.messages) == 1


async def test_databases_of_one_redis_do_not_hear_each_other(server: RedisServer, url: str) -> None:
    async with (
        living(url) as here,
        living(f"{server.url}?db=1") as there,
        here["a"].subscribe() as one,
        there["a"].subscribe() as other,
        here["1:a"].subscribe() as third,
    ):
        for number in range(3):
            await publish(here["a"], ["here", number])
            await publish(there["a"], ["there", number])
        await there["a"].close()
        await publish(here["a"], "end")
        await publish(here["1:a"], "third")
        assert await take(one, 4) == [["here", 0], ["here", 1], ["here", 2], "end"]
        assert await take(other, 3) == [["there", 0], ["there", 1], ["there", 2]]
        assert await take(third, 1) == ["third"]


@pytest.mark.parametrize("later", [0, 2])
async def test_after_a_failover_that_lacks_a_message_none_is_told_again(
    later: int,
) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="mw-redis-") as folder,
        redis_server() as first,
        redis_server() as second,
    ):
        link_to = Path(folder, "socket")
        link_to.symlink_to(first.url.removeprefix("unix://"))
        async with (
            living(f"unix://{link_to}", history=10) as channels,
            channels["a"].subscribe() as messages,
            redis.asyncio.from_url(first.url) as old,
            redis.asyncio.from_url(second.url) as new,
        ):
            ids = await publish(channels["a"], 0, 1, 2)
            await new.restore("channel:a", 100_000, await old.dump("channel:a"))
            ids += await publish(channels["a"], "which the replica lacks")
            assert await take(messages, 4) == [0, 1, 2, "which the replica lacks"]
            for number in range(later):  # while no process of the test is connected
                entry = {"m": b"j%d" % (3 + number)}
                await new.xadd("channel:a", entry, f"{int(ids[3].split('-')[0]) + 1 + number}-0")
            link_to.unlink()
            link_to.symlink_to(second.url.removeprefix("unix://"))
            first.process.kill()
            first.process.wait(DEADLINE_S)
            async with asyncio.timeout(DEADLINE_S):
                while not await new.pubsub_channels():
                    await asyncio.sleep(0.01)
            assert await take(messages, 1 + later) == [GAP, 3, 4][: 1 + later]
            last = await publish(channels["a"], "live")
            assert await take(messages, 1) == ["live"]
            async with channels["a"].subscribe(last_event_id=ids[3]) as others:
                assert await take(others, 2 + later) == [GAP, *[3, 4][:later], "live"]
            async with channels["a"].subscribe(last_event_id=last[0]) as others:
                await publish(channels["a"], "end")
                assert await take(others, 1) == ["end"]


async def test_ids_that_went_back_are_heard(url: str) -> None:
    async with living(url) as channels, channels["a"].subscribe() as messages:
        await publish(channels["a"], 1)
        assert await take(messages, 1) == [1]
        async with redis.asyncio.from_url(url) as client:
            await client.delete("channel:a")  # of a server whose clock is a minute behind
            seconds = (await client.time())[0] - 60
            await client.xadd("channel:a", {"m": b"j2"}, f"{seconds * 1000}-0")
            await client.client_kill_filter(_type="pubsub")
            assert await take(messages, 1) == [GAP]
            id = f"{seconds * 1000}-1"
            await client.xadd("channel:a", {"m": b"j3"}, id)
            await client.publish(TOLD, f"{id} j3")
            assert await take(messages, 1) == [3]


async def test_many_messages_are_heard_in_a_turn_of_a_busy_loop(url: str) -> None:
    count, turns = 1000, 0

    async def be_busy() -> None:
        nonlocal turns
        while True:
            turns += 1
            time.sleep(0.005)
            await asyncio.sleep(0)

    async with (
        living(url) as channels,
        channels["a"].subscribe() as messages,
        channels["b"].subscribe() as others,
    ):
        with redis.Redis.from_url(url) as client:
            for number in range(count):
                told = TOLD[:-1] + "ab"[number % 2]
                key, entry = "channel:" + "ab"[number % 2], b"j%d" % number
                client.eval(redis_broker._PUBLISH, 1, key, 60, told, count, entry)
        busy = asyncio.create_task(be_busy())
        try:
            got = await asyncio.gather(take(messages, count // 2), take(others, count // 2))
        finally:
            busy.cancel()
        assert got == [list(range(0, count, 2)), list(range(1, count, 2))]
        assert turns < count / 4  # before, at least one turn for each message


# --- without Redis


async def test_redis_that_is_away_is_told_once_and_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "microweb.error")
    with redis_server() as server:
        async with living(server.url) as channels, channels["a"].subscribe() as messages:
            await publish(channels["a"], 1)
            assert await take(messages, 1) == [1]
            server.process.kill()
            server.process.wait(DEADLINE_S)
            with pytest.raises(BrokerUnavailable):
                await channels["a"].publish(2)
            async with asyncio.timeout(DEADLINE_S):
                while not caplog.messages:
                    await asyncio.sleep(0.01)
            with server.restarted():
                async with asyncio.timeout(DEADLINE_S):
                    while len(caplog.messages) < 2:
                        await asyncio.sleep(0.01)
                await publish(channels["a"], 3)
                got = await take(messages, 2)
    assert got == [GAP, 3]  # it lost its data, so the number is unknown
    assert caplog.messages[0].startswith("channels: lost Redis, trying again: ConnectionError")
    assert caplog.messages[1] == "channels: Redis is back"


async def test_end_of_life_while_redis_is_away() -> None:
    with redis_server() as server:
        async with living(server.url) as channels:
            subscription = await channels["a"].subscribe().__aenter__()
            server.process.kill()
            server.process.wait(DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S):
            assert [message async for message in subscription] == []
        await subscription.__aexit__()


async def test_life_that_ends_refuses_at_once_who_waits_for_redis() -> None:
    with redis_server() as server:
        async with living(server.url) as channels, channels["a"].subscribe():
            server.process.send_signal(signal.SIGSTOP)
            waiting = asyncio.create_task(channels["b"].subscribe().__aenter__())
            await settle()
        assert waiting.done()  # before the 5 s that Redis has to answer
        assert isinstance(waiting.exception(), BrokerUnavailable)
        with pytest.raises(BrokerUnavailable):
            async with channels["a"].subscribe():
                pass


def answering_with(channels: Channels) -> App:
    app = App()
    app.lifespan(channels.life)

    @app.post("/")
    async def send(request: Request) -> str:
        return (await channels["a"].publish(await request.text())).id

    @app.get("/")
    async def events(request: Request) -> Response:
        return Response.events(channels["a"].subscribe(last_event_id=request.last_event_id))

    @app.websocket("/forward")
    async def forward(socket: WebSocket) -> None:
        async with channels["b"].forward(socket):
            async for message in socket:
                await channels["b"].publish(message)

    @app.websocket("/send")
    async def send_all(socket: WebSocket) -> None:
        async for message in socket:
            await channels["a"].publish(message)

    return app


async def test_redis_that_is_away_is_a_503_and_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with redis_server() as server:
        server.process.kill()
        server.process.wait(DEADLINE_S)
        app = answering_with(Channels(broker=RedisBroker(server.url)))
        async with app.test_client() as client:
            answers = await asyncio.gather(*(client.post("/", content="x") for _ in range(30)))
            assert {answer.status_code for answer in answers} == {503}
            assert "edis" not in answers[0].text
            async with client.websocket("/send") as socket:
                await socket.send("x")
                with pytest.raises(SocketClosed) as closed:
                    await socket.receive()
                assert closed.value.code == 1013
    lines = [each for each in caplog.records if each.name == "microweb.error"]
    assert [each.message[:47] for each in lines] == [
        "channels: lost Redis, trying again: ConnectionE"
    ]
    assert lines[0].exc_info is None


async def test_who_can_not_subscribe_gets_a_503(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(redis_broker, "_TIMEOUT_S", 0.05)
    with redis_server() as server:
        server.process.kill()
        server.process.wait(DEADLINE_S)
        app = answering_with(Channels(broker=RedisBroker(server.url)))
        async with app.test_client() as client:
            answers = await asyncio.gather(*(client.get("/") for _ in range(20)))
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.headers["content-type"] for answer in answers} == {
                "text/plain; charset=utf-8"
            }
            with pytest.raises(HandshakeRefused) as refused:
                async with client.websocket("/forward"):
                    pass
            assert "503" in str(refused.value)
    assert len([each for each in caplog.records if each.name == "microweb.error"]) == 1


async def test_an_outage_is_told_once_a_minute(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("microweb.concurrency.throttle.monotonic", lambda: now)
    async with living(url) as channels, channels["a"].subscribe() as messages:
        for number in range(4):
            connection = link(channels)._listener.connection
            await cut(channels)
            async with asyncio.timeout(DEADLINE_S):
                while link(channels)._listener.connection in (None, connection):
                    await asyncio.sleep(0.01)
            await publish(channels["a"], number)
            assert await take(messages, 1) == [number]
            now += 30
    assert [message[:23] for message in caplog.messages] == [
        "channels: lost Redis, t",
        "channels: Redis is back",
    ] * 2


# --- several processes

WORKER = """
import asyncio, sys
from microweb import App, Request, Response
from microweb.channels import Channels
from microweb.channels.redis import RedisBroker

app = App()
channels = Channels(10_000, RedisBroker(sys.argv[1]))
app.lifespan(channels.life)

@app.post("/{name}")
async def send(name: str, request: Request) -> str:
    return (await channels[name].publish(await request.json())).id

@app.get("/{name}")
async def events(name: str, request: Request) -> Response:
    last = request.headers.get("last-event-id")
    return Response.events(channels[name].subscribe(last_event_id=last, queue=1000))

@app.delete("/{name}")
async def close(name: str) -> None:
    await channels[name].close()

app.run(host="127.0.0.1", port=0)
"""


class Asked:
    """A request on its own connection, and the response."""

    def __init__(self, url: str, method: str, path: str, body: bytes = b"", *fields: str) -> None:
        self._address = url.removeprefix("http://").split(":")
        lines = [f"{method} {path} HTTP/1.0", "Host: a", f"Content-Length: {len(body)}", *fields]
        self._sent = "".join(f"{line}\r\n" for line in [*lines, ""]).encode() + body
        self.answer = b""

    async def until(self, text: bytes) -> None:
        """Send it, and read at least up to `text`."""
        host, port = self._address
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(self._sent)
        async with asyncio.timeout(DEADLINE_S):
            while text not in self.answer:
                piece = await self._reader.read(65536)
                assert piece, self.answer
                self.answer += piece

    async def to_end(self) -> bytes:
        """Read the rest; return the body."""
        async with asyncio.timeout(DEADLINE_S):
            self.answer += await self._reader.read()
        self._writer.close()
        return self.answer.partition(b"\r\n\r\n")[2]


async def ask(url: str, method: str, path: str, body: bytes = b"") -> bytes:
    asked = Asked(url, method, path, body)
    await asked.until(b"\r\n\r\n")
    return await asked.to_end()


def events_in(body: bytes) -> list[tuple[str, Any]]:
    """Return (id, data) of all events."""
    found = []
    for event in body.decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in event.splitlines())
        if "data" in fields:
            found.append((fields.get("id", ""), json.loads(fields["data"])))
    return found


async def test_processes_share_channels_in_one_order(url: str, tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(WORKER, "utf-8")
    with Program(program, url) as a, Program(program, url) as b, Program(program, url) as c:
        urls = [worker.urls()[0] for worker in (a, b, c)]
        streams = [Asked(each, "GET", "/a") for each in urls for _ in "12"]
        for stream in streams:
            await stream.until(b"\nid: ")  # the start of the stream
        ids: list[str] = []

        async def write(to: str, writer: int) -> None:
            for number in range(50):
                body = json.dumps([writer, number]).encode()
                ids.append((await ask(to, "POST", "/a", body)).decode())

        await asyncio.gather(*(write(to, writer) for writer, to in enumerate(urls)))
        async with redis.asyncio.from_url(url) as client:
            assert await client.client_kill_filter(_type="pubsub") == 3  # one for each process
            await asyncio.gather(*(write(to, writer + 3) for writer, to in enumerate(urls)))
            async with asyncio.timeout(DEADLINE_S):
                while await client.pubsub_numsub(TOLD) != [(TOLD.encode(), 3)]:
                    await asyncio.sleep(0.01)
        await ask(urls[0], "DELETE", "/a")
        seen = [events_in(await stream.to_end()) for stream in streams]
        ids.sort(key=redis_broker.number_of)
        for events in seen:
            assert [id for id, _ in events] == ids
            for writer in range(6):
                assert [data[1] for _, data in events if data[0] == writer] == list(range(50))
        # A client resumes at another process than the one that it was connected to.
        resumed = Asked(urls[2], "GET", "/a", b"", f"Last-Event-ID: {ids[-3]}")
        await resumed.until(ids[-1].encode())
        await ask(urls[0], "DELETE", "/a")
        assert [id for id, _ in events_in(await resumed.to_end())] == ids[-2:]
        for worker in (a, b, c):
            worker.stop()


async def test_lifespan_closes_what_redis_needs(url: str) -> None:
    app = App()
    channels = Channels(broker=RedisBroker(url))
    app.lifespan(channels.life)

    @app.post("/")
    async def index() -> str:
        return (await channels["a"].publish(1)).id

    tasks = asyncio.all_tasks()
    for _ in range(2):
        async with app.test_client() as client, channels["a"].subscribe() as messages:
            await client.post("/")
            assert await take(messages, 1) == [1]
    await settle()
    assert asyncio.all_tasks() == tasks
