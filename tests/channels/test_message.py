"""Messages: their data, and the event and the frame that each subscriber gets."""

from __future__ import annotations

from datetime import date

import pytest
from support.subscribing import are_subscribed, serving, soon, take

from microweb.channels import message as messages
from microweb.channels.channel import Channel, Channels
from microweb.channels.message import Gap
from microweb.concurrency.throttle import Throttle


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("é\n", "é\n"),
        ("", ""),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"a"), b"a"),
        ({"a": [1, None]}, {"a": [1, None]}),
        (None, None),
        (7, 7),
        (date(2030, 1, 2), "2030-01-02"),
    ],
)
async def test_what_is_published_arrives(channel: Channel, message: object, data: object) -> None:
    async with channel.subscribe() as messages:
        await channel.publish(message)
        assert await take(messages, 1) == [data]


@pytest.mark.parametrize("message", [object(), float("nan"), "\ud800"])
async def test_what_can_not_be_sent_is_refused(channel: Channel, message: object) -> None:
    async with channel.subscribe() as messages:
        with pytest.raises((TypeError, ValueError)):
            await channel.publish(message)
        await channel.publish("next")
        assert await take(messages, 1) == ["next"]


async def test_json_default_is_asked() -> None:
    channel = Channels(json_default=lambda value: sorted(value))["a"]  # type: ignore[call-overload]
    async with channel.subscribe() as messages:
        await channel.publish({"of": {2, 1}})
        assert await take(messages, 1) == [{"of": [1, 2]}]


async def test_a_changed_object_changes_no_message(channel: Channel) -> None:
    message = {"text": "before"}
    async with channel.subscribe() as messages:
        await channel.publish(message)
        message["text"] = "after"
        assert await take(messages, 1) == [{"text": "before"}]


# --- events


async def test_message_is_an_event_with_its_id(channel: Channel) -> None:
    message = await channel.publish("a\nb")
    assert message.encode_event() == f"id: {message.id}\ndata: a\ndata: b\n\n".encode()
    assert message.encode_event() is message.encode_event()
    assert message.encode_frame() is message.encode_frame()
    assert (await channel.publish({"a": 1})).encode_event().endswith(b'\ndata: {"a":1}\n\n')


async def test_gap_is_an_event_of_its_own(channel: Channel) -> None:
    assert Gap(3).encode_event() == b'event: gap\ndata: {"gap":true,"missed":3}\n\n'
    assert Gap(None).encode_event() == b'event: gap\ndata: {"gap":true,"missed":null}\n\n'
    async with channel.subscribe(last_event_id="x") as messages:
        gap = await soon(anext(messages))
        assert f"\nid: {messages.position}\n".encode() in gap.encode_event()


async def test_bytes_are_a_gap_for_an_event_stream(
    channel: Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_unfit", Throttle())
    async with serving(channel) as client:
        async with (
            client.events("/events") as events,
            client.events("/events") as others,
            client.websocket("/socket") as socket,
        ):
            await are_subscribed(channel, 3)
            await soon(socket.send(b"\x00"))
            await soon(socket.send(b"\x01"))
            await soon(socket.send("text"))
            assert [await soon(socket.receive()) for _ in "123"] == [b"\x00", b"\x01", "text"]
            for stream in (events, others):
                got = [await soon(anext(stream)) for _ in "123"]
                assert [each.event for each in got] == ["gap", "gap", "message"]
                assert [each.data for each in got[1:]] == ['{"gap":true,"missed":1}', "text"]
                assert len({each.id for each in got}) == 3
            last = got[0].id
        async with client.events("/events", last_event_id=last) as events:
            resumed = [await soon(anext(events)) for _ in "12"]
            assert [each.id for each in resumed] == [each.id for each in got[1:]]
    assert [message[:40] for message in caplog.messages] == [
        "channels: an event stream can't send byt"
    ]
