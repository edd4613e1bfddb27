"""A server of ASGI 3 in memory: one scope, with the messages that the test sends and gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from microweb.interop.asgi_types import Message, Receive, Scope, Send

from .serving import DEADLINE_S

ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
Fields = list[tuple[bytes, bytes]]


def http_scope(path: str = "/", method: str = "GET", **changes: Any) -> Scope:
    """Return a scope as servers make it; `changes` replace or add keys."""
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"a.test")],
        "client": ("192.0.2.7", 50000),
        "server": ("127.0.0.1", 80),
        **changes,
    }


def socket_scope(path: str = "/", **changes: Any) -> Scope:
    """Return a scope of a WebSocket."""
    scope = http_scope(path, type="websocket", scheme="ws", subprotocols=[])
    del scope["method"]
    return {**scope, **changes}


class Exchanged:
    """One scope that an application serves in a task of its own."""

    def __init__(self, app: ASGI, scope: Scope) -> None:
        self.sent: list[Message] = []  # by the application
        self.to_app: asyncio.Queue[Message] = asyncio.Queue()
        self.gate = asyncio.Event()  # closed: `send` waits, as for a client that does not read
        self.gate.set()
        self.send_error: Exception | None = None
        self._has_sent = asyncio.Event()
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGI, scope: Scope) -> None:
        await app(scope, self.to_app.get, self._send)

    async def _send(self, message: Message) -> None:
        await self.gate.wait()
        if self.send_error is not None:
            raise self.send_error
        self.sent.append(message)
        self._has_sent.set()

    def put(self, *messages: Message) -> None:
        """Send messages to the application."""
        for message in messages:
            self.to_app.put_nowait(message)

    async def sent_within(self, count: int) -> list[Message]:
        """Wait until the application has sent `count` messages, and return all."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.sent) < count:
                self._has_sent.clear()
                if self.task.done():
                    break
                sending = asyncio.create_task(self._has_sent.wait())
                await asyncio.wait((sending, self.task), return_when=asyncio.FIRST_COMPLETED)
                sending.cancel()
        assert len(self.sent) >= count, self.sent
        return self.sent

    async def end(self) -> list[Message]:
        """Wait for the end of the application's call; return all messages. Raises its errors."""
        async with asyncio.timeout(DEADLINE_S):
            await self.task
        return self.sent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait((self.task,))


def body_of(*pieces: bytes) -> list[Message]:
    """Return the messages of a request's body."""
    last = len(pieces) - 1
    return [
        {"type": "http.request", "body": piece, "more_body": index < last}
        for index, piece in enumerate(pieces)
    ]


async def answered(app: ASGI, scope: Scope, *messages: Message) -> tuple[int, Fields, bytes]:
    """Return the status, the fields and the content of an answer."""
    exchanged = Exchanged(app, scope)
    exchanged.put(*(messages or body_of(b"")))
    return answer_in(await exchanged.end())


def answer_in(sent: list[Message]) -> tuple[int, Fields, bytes]:
    """Return the status, the fields and the content in the messages of an answer."""
    start, *rest = sent
    assert start["type"].endswith("http.response.start")
    assert [each.get("more_body", False) for each in rest] == [True] * (len(rest) - 1) + [False]
    return start["status"], start["headers"], b"".join(each.get("body", b"") for each in rest)


@asynccontextmanager
async def started(app: ASGI, state: dict[str, Any] | None = None) -> AsyncIterator[Exchanged]:
    """Send the startup of the lifespan, and the shutdown at the end."""
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    async with Exchanged(app, scope if state is None else scope | {"state": state}) as life:
        life.put({"type": "lifespan.startup"})
        assert await life.sent_within(1) == [{"type": "lifespan.startup.complete"}]
        yield life
        life.put({"type": "lifespan.shutdown"})
        assert (await life.end())[1:] == [{"type": "lifespan.shutdown.complete"}]
