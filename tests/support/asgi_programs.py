"""ASGI applications that run a list of steps and record what each one gave.

A step sends a message or receives one. `is_caught` says whether the application goes on after an
error of the step. A `receive` that would wait is a listener: its task ends with the program, or
with the disconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ProgramError(Exception):
    """The error that the step `fail` raises."""


@dataclass(frozen=True)
class Step:
    """One step: a message to send, or "receive", "leave", "pause" or "fail".

    `in_task`: a child task does it, as in the task groups of frameworks.
    """

    does: Message | str
    is_caught: bool = True
    in_task: bool = False


@dataclass
class Run:
    """One run of a program, and its record."""

    steps: Sequence[Step]
    waits: Callable[[Run], bool]  # whether the next `receive` would wait
    outcomes: list[object] = field(default_factory=list)  # None, or the exception, of each step
    events: list[Message] = field(default_factory=list)  # that `receive` gave, in order
    listeners: list[asyncio.Future[Message]] = field(default_factory=list)
    may_leave: asyncio.Event = field(default_factory=asyncio.Event)  # the client
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, receive: Receive, send: Send) -> None:
        try:
            for step in self.steps:
                try:
                    doing = self._do(step.does, receive, send)
                    await (asyncio.create_task(doing) if step.in_task else doing)
                except Exception as error:
                    self.outcomes.append(error)
                    if not step.is_caught:
                        raise
                else:
                    self.outcomes.append(None)
        finally:
            for listener in self.listeners:
                listener.cancel()
            await asyncio.gather(*self.listeners, return_exceptions=True)
            self.ended.set()

    async def _do(self, does: Message | str, receive: Receive, send: Send) -> None:
        if does == "fail":
            raise ProgramError
        if does == "pause":
            await asyncio.sleep(0)
        elif does == "leave":
            self.may_leave.set()
            while not (event := await receive())["type"].endswith(".disconnect"):
                self.events.append(event)
            self.events.append(event)
        elif does == "receive":
            if self.listeners:
                return  # one task at a time receives
            if self.waits(self):
                self.listeners.append(asyncio.ensure_future(receive()))
                await asyncio.sleep(0)
            else:
                self.events.append(await receive())
        else:
            assert not isinstance(does, str)
            await send(does)

    @property
    def heard(self) -> list[Message]:
        """The messages of the listeners that have ended by themselves."""
        return [each.result() for each in self.listeners if not each.cancelled()]


class Rules(Protocol):
    """The specification, as the state of one answer or socket."""

    state: str

    def send(self, message: Message) -> str:
        """Return "ok", "error" or "either", and go to the next state."""


def check_outcomes(run: Run, rules: Rules) -> bool:
    """Check the outcome of each step; return whether the program ended with an error."""
    for step, outcome in zip(run.steps, run.outcomes, strict=False):
        if step.does == "fail":
            assert isinstance(outcome, ProgramError)
        elif isinstance(step.does, str):
            assert outcome is None
        else:
            state, expected = rules.state, rules.send(step.does)
            if expected == "ok":
                assert outcome is None, f"{step} in state {state}"
            elif expected == "error":
                assert isinstance(outcome, Exception), f"{step} in state {state}"
                assert not isinstance(outcome, OSError)
        if outcome is not None and not step.is_caught:
            return True
    assert len(run.outcomes) == len(run.steps)
    return False
