"""The test client's event streams: the events, and the end of the generator on disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from microweb import App, Request, Response
from microweb.sse.event import ServerEvent
from microweb.testing.eventsource import ReceivedEvent


class Clock:
    """An app that sends events until its client disconnects, and records the end."""

    def __init__(self) -> None:
        self.app = App()
        self.endings: list[str] = []
        self.app.get("/ticks")(self.ticks)
        self.app.post("/echo")(self.echo)
        self.app.get("/fails")(self.fails)
        self.app.get("/fails_late")(self.fails_late)
        self.app.get("/text")(self.text)
        self.app.get("/stubborn")(self.stubborn)

    async def ticks(self, request: Request) -> Response:
        async def events() -> AsyncIterator[ServerEvent | str]:
            begin = int(request.last_event_id or 0)
            try:
                yield ServerEvent({"n": begin + 1}, event="tick", id=str(begin + 1), retry=50)
                yield "two\nlines"
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                self.endings.append("closed")

        return Response.events(events())

    async def echo(self, request: Request) -> Response:
        words = (await request.text()).split()

        async def events() -> AsyncIterator[str]:
            for word in words:
                yield word

        return Response.events(events())

    async def fails(self) -> Response:
        async def events() -> AsyncIterator[str]:
            yield "one"
            await asyncio.sleep(0)
            raise RuntimeError("boom")

        return Response.events(events())

    async def fails_late(self) -> Response:
        async def events() -> AsyncIterator[str]:
            try:
                yield "one"
                await asyncio.Event().wait()
            finally:
                raise RuntimeError("boom")

        return Response.events(events())

    async def stubborn(self) -> Response:
        async def events() -> AsyncIterator[str]:
            try:
                yield "one"
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.5)

        return Response.events(events())

    async def text(self) -> str:
        return "no events"


async def test_events_come_as_a_page_gets_them() -> None:
    clock = Clock()
    async with clock.app.test_client() as client, client.events("/ticks") as events:
        assert events.response.headers["content-type"] == "text/event-stream"
        first = await anext(events)
        assert first == ReceivedEvent('{"n":1}', "tick", "1", 50)
        assert first.json() == {"n": 1}
        assert await anext(events) == ReceivedEvent("two\nlines", "message", "1")
        assert (events.last_event_id, events.retry) == ("1", 50)


async def test_leaving_the_block_closes_what_makes_them() -> None:
    clock = Clock()
    async with clock.app.test_client() as client:
        for endings in range(3):
            async with client.events("/ticks") as events:
                async for event in events:
                    if event.data == "two\nlines":
                        break
                assert len(clock.endings) == endings
            assert len(clock.endings) == endings + 1


async def test_client_comes_again_by_the_last_id() -> None:
    async with (
        Clock().app.test_client() as client,
        client.events("/ticks", last_event_id="41") as events,
    ):
        assert events.last_event_id == "41"
        assert (await anext(events)).id == "42" == events.last_event_id


async def test_body_may_be_posted_and_the_stream_ends() -> None:
    async with Clock().app.test_client() as client:
        async with client.events("/echo", method="POST", content="to be") as events:
            assert [event.data async for event in events] == ["to", "be"]
        assert (await client.get("/text")).text == "no events"


async def test_fault_of_what_makes_them_comes_out() -> None:
    async with Clock().app.test_client() as client, client.events("/fails") as events:
        assert (await anext(events)).data == "one"
        with pytest.raises(RuntimeError, match="boom"):
            await anext(events)


async def test_fault_at_the_end_comes_out_of_the_block(caplog: pytest.LogCaptureFixture) -> None:
    async with Clock().app.test_client() as client:
        with pytest.raises(RuntimeError, match="boom"):
            async with client.events("/fails_late") as events:
                await anext(events)
        with pytest.raises(KeyError, match="of the test"):
            async with client.events("/fails_late") as events:
                raise KeyError("of the test")
    assert len(caplog.records) == 2


async def test_fault_is_a_cut_answer_where_errors_are_not_raised() -> None:
    async with Clock().app.test_client(raise_errors=False) as client:
        async with client.events("/fails") as events:
            await anext(events)
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(events)
        async with client.events("/fails_late") as events:
            await anext(events)


@pytest.mark.parametrize(("path", "got"), [("/text", "200 of text/plain"), ("/nowhere", "404 of")])
async def test_what_is_no_event_stream_is_refused(path: str, got: str) -> None:
    async with Clock().app.test_client() as client:
        with pytest.raises(httpx.HTTPStatusError, match=got):
            async with client.events(path):
                raise AssertionError("never entered")


async def test_stream_that_says_nothing_does_not_hold_a_test_up() -> None:
    app = Clock().app
    async with app.test_client(timeout=0.05) as client, client.events("/ticks") as events:
        assert len([await anext(events), await anext(events)]) == 2
        with pytest.raises(httpx.ReadTimeout):
            await anext(events)


async def test_end_that_takes_too_long_is_told() -> None:
    async with Clock().app.test_client(timeout=0.05) as client:
        with pytest.raises(httpx.ReadTimeout, match="did not end"):
            async with client.events("/stubborn") as events:
                await anext(events)


async def test_what_was_not_entered_says_so() -> None:
    async with App().test_client() as client:
        with pytest.raises(RuntimeError, match=r"async with client\.events"):
            await anext(client.events("/"))
