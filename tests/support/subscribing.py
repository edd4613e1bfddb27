"""Subscribers of channels for tests: they take messages, and each wait has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from support.processes import DEADLINE_S

from microweb import App, Request, Response, WebSocket
from microweb.channels.channel import Channel
from microweb.channels.message import Message
from microweb.channels.subscription import Subscription
from microweb.testing.client import TestClient

T = TypeVar("T")


async def soon(coroutine: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(DEADLINE_S):
        return await coroutine


async def take(messages: Subscription, count: int) -> list[object]:
    """Return the data of the next messages."""
    return [(await soon(anext(messages))).data for _ in range(count)]


async def rest_of(messages: Subscription) -> list[Message]:
    async with asyncio.timeout(DEADLINE_S):
        return [message async for message in messages]


async def all_data(messages: Subscription) -> list[object]:
    return [message.data for message in await rest_of(messages)]


async def publish(channel: Channel, *messages: object) -> list[str]:
    """Publish, and return the ids."""
    return [(await channel.publish(message)).id for message in messages]


async def publish_together(channel: Channel, count: int) -> None:
    """Publish numbers, each by a task of its own."""
    await asyncio.gather(*(channel.publish(number) for number in range(count)))


def gap_of(missed: int | None) -> dict[str, object]:
    return {"gap": True, "missed": missed}


@asynccontextmanager
async def serving(channel: Channel) -> AsyncIterator[TestClient]:
    app = App()

    @app.get("/events")
    async def events(request: Request, queue: int = 100) -> Response:
        subscription = channel.subscribe(last_event_id=request.last_event_id, queue=queue)
        return Response.events(subscription)

    @app.websocket("/socket")
    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        async with channel.forward(socket):
            async for message in socket:
                await channel.publish(message)

    async with app.test_client() as client:
        yield client


async def are_subscribed(channel: Channel, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while len(channel) != count:
            await asyncio.sleep(0)
