"""The lifespan of an ASGI application, as a context manager.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..concurrency.background import create_task
from ..errors import LocalProtocolError
from ..logs import Log
from ..server.bounded import bounded_when_cancelled
from .asgi_types import ASGIApplication, Message

# As `worker_start_s`. Only for an application that waits for a message: its startup may be longer.
_ANSWER_S = 60.0
_CANCEL_S = 1.0  # for an application to end once it is cancelled
_SLOW_S = 10.0  # then a line in the log says for what the start waits

_log = Log("microweb.error")


class StartupFailed(Exception):
    """The ASGI application has sent `lifespan.startup.failed`, with this message; or no answer."""


@asynccontextmanager
async def lifespan(
    app: ASGIApplication,
    state: dict[str, Any],
    *,
    answer_s: float = _ANSWER_S,
    slow_s: float = _SLOW_S,
) -> AsyncIterator[None]:
    """Run the application's lifespan around the block; it fills `state`.

    An application that raises before its startup is complete has no lifespan. One that waits for a
    second message has `answer_s` seconds for its answer to the startup. Raises: StartupFailed.
    """
    events = _Events(answer_s)
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = create_task(_run(app, scope, events), "asgi lifespan")
    try:
        await events.wait_for_start(task, slow_s)
        if events.exit is not None:
            raise events.exit
        if events.failure is not None:
            raise StartupFailed(events.failure)
        yield
        events.is_ending.set()
        await events.wait_for(events.has_ended, task)
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait((task,))
    if events.exit is not None:
        raise events.exit
    if events.failure is not None:
        _log.error("the shutdown of the ASGI application failed: %s", events.failure)


async def _run(app: ASGIApplication, scope: dict[str, Any], events: _Events) -> None:
    calling = _call(app, scope, events)
    try:
        # Such code would continue while the process ends, which waits for all tasks.
        await bounded_when_cancelled(calling, _CANCEL_S, lambda: None)  # the server logs it
    except (SystemExit, KeyboardInterrupt) as error:
        events.exit = error  # as in a lifespan of an App, it ends the program
    except Exception as error:
        if events.has_started.is_set() and events.failure is None:
            _log.error("the lifespan of the ASGI application failed", exc_info=error)
        elif events.failure is None:
            _log.info("the ASGI application has no lifespan: %s", type(error).__name__)


async def _call(app: ASGIApplication, scope: dict[str, Any], events: _Events) -> None:
    await app(scope, events.receive, events.send)


class _Events:
    def __init__(self, answer_s: float) -> None:
        self._answer_s = answer_s
        self._giving_up: asyncio.TimerHandle | None = None
        self.has_started, self.is_ending, self.has_ended = (asyncio.Event() for _ in range(3))
        self.failure: str | None = None
        self.exit: SystemExit | KeyboardInterrupt | None = None
        self._has_begun = False

    async def wait_for_start(self, task: asyncio.Task[None], slow_s: float) -> None:
        """Wait for the answer to the startup. After `slow_s` seconds, log that it is not there."""
        text = "the start waits for the ASGI application to send lifespan.startup.complete"
        telling = asyncio.get_running_loop().call_later(slow_s, _log.warning, text)
        try:
            await self.wait_for(self.has_started, task)
        finally:
            telling.cancel()
            if self._giving_up is not None:
                self._giving_up.cancel()

    async def wait_for(self, event: asyncio.Event, task: asyncio.Task[None]) -> None:
        """Wait for an event, or the end of the application."""
        waiting = create_task(event.wait(), "asgi lifespan event")
        try:
            await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def receive(self) -> Message:
        if not self._has_begun:
            self._has_begun = True
            return {"type": "lifespan.startup"}
        if not self.has_started.is_set() and self._giving_up is None:
            # It may start in another task. If not, it would wait forever: it takes the lifespan
            # for a request, and waits for its client to leave.
            loop = asyncio.get_running_loop()
            self._giving_up = loop.call_later(self._answer_s, self._give_up)
        await self.is_ending.wait()
        return {"type": "lifespan.shutdown"}

    def _give_up(self) -> None:
        if not self.has_started.is_set():
            self.failure = (
                f"it waits for a second message, but has not answered lifespan.startup within "
                f"{self._answer_s:g} s: expected lifespan.startup.complete, or an exception from "
                f"an application without a lifespan"
            )
            self.has_started.set()

    async def send(self, message: Message) -> None:
        kind = message["type"]
        event = self.has_started if ".startup." in kind else self.has_ended
        if event.is_set() or (event is self.has_ended and not self.is_ending.is_set()):
            raise LocalProtocolError(f"an ASGI lifespan: {kind!r:.80} may not come now")
        if kind.endswith(".failed"):
            self.failure = str(message.get("message", ""))
        event.set()
