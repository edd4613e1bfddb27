"""The connection to Redis that hears: it subscribes to names, and hands on what these are told.

Redis answers commands in their order, and an error does not say which name it is for. Therefore the
commands that wait for answers are kept here, and one for several names that is refused is sent
again for each of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from ..errors import MissingExtra

try:
    from redis.exceptions import RedisError, ResponseError
except ImportError as error:
    raise MissingExtra("microweb.channels.redis", "redis") from error

_TIMEOUT_S = 5.0  # for Redis to connect
_SILENCE_S = 10.0  # then the connection is asked whether it lives
_NAMES_AT_ONCE = 500


class Hearer(Protocol):
    """The link of a broker, as far as its connection speaks to it. Names are those of channels."""

    @property
    def wanted(self) -> Sequence[str]:
        """The names to subscribe to on a new connection."""

    async def confirmed(self, name: str) -> None:
        """Hear that Redis tells the name from now on."""

    async def told(self, name: str, content: bytes) -> None:
        """Hear a message."""

    def refused(self, name: str, refusal: ResponseError) -> None:
        """Hear that Redis refuses to tell the name."""

    async def answered(self) -> None:
        """Hear that Redis lives: after each answer."""


class _Command(NamedTuple):
    """A command, until its answers are there."""

    word: str
    told: list[str]  # the names that are still to be answered, one each


class RedisListener:
    """One connection after another, each until it is lost. `prefix` makes a name one of Redis."""

    def __init__(self, hearer: Hearer, prefix: str) -> None:
        self._hearer = hearer
        self._prefix = prefix
        self._asked: deque[_Command] = deque()  # in the order of their answers
        self.connection: Any = None  # while it is there

    async def subscribe(self, name: str) -> None:
        """Subscribe to a name on the connection, if it is there; at once, at the first step.

        It has been sent even where waiting is cancelled, which then costs that connection.
        """
        await self._tell("SUBSCRIBE", name)

    async def unsubscribe(self, name: str) -> None:
        """Undo `subscribe`, in the same way."""
        await self._tell("UNSUBSCRIBE", name)

    async def listen(self, connection: Any) -> None:
        """Hear by a connection until it is lost. Raises: RedisError, OSError."""
        self._asked.clear()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await connection.connect()
                self.connection = connection
                for names in batches(self._hearer.wanted):
                    await self._send(connection, "SUBSCRIBE", *names)
                await self._send(connection, "PING")
            await self._hear_all(connection)
        finally:
            self.connection = None
            await connection.disconnect(nowait=True)

    # --- commands

    async def _tell(self, word: str, name: str) -> None:
        if self.connection is not None and self.connection.is_connected:
            with suppress(RedisError, OSError):  # whoever reads there hears of it, and begins anew
                await self._send(self.connection, word, name)

    async def _send(self, connection: Any, word: str, *names: str) -> None:
        told = [self._prefix + name for name in names]
        self._asked.append(_Command(word, list(told)))
        await connection.send_command(word, *told, check_health=False)

    # --- answers

    async def _hear_all(self, connection: Any) -> None:
        is_asked = False
        while True:
            answer = await _next_answer(connection)
            if answer is not None:
                await self._hear(answer)
                await self._hearer.answered()
            elif is_asked:
                raise ConnectionError("it is silent")
            else:
                await self._send(connection, "PING")
            is_asked = answer is None

    async def _hear(self, answer: Any) -> None:
        if isinstance(answer, ResponseError):
            await self._hear_refusal(answer)
            return
        kind = text_of(answer[0]) if isinstance(answer, list) else "pong"
        told = text_of(answer[1]) if kind != "pong" else ""
        name = told.removeprefix(self._prefix)
        if kind == "message":
            await self._hearer.told(name, answer[2])
            return
        self._note_answer(told)
        if kind == "subscribe":
            await self._hearer.confirmed(name)

    def _note_answer(self, told: str) -> None:
        """Note that the first command that waits has one answer more."""
        if self._asked:
            waiting = self._asked[0].told
            if told in waiting:
                waiting.remove(told)
            if not waiting:
                self._asked.popleft()

    async def _hear_refusal(self, refusal: ResponseError) -> None:
        """Find the name that Redis refuses. Raises: the refusal, if it is of another command."""
        command = self._asked.popleft() if self._asked else _Command("", [])
        if command.word != "SUBSCRIBE":
            raise refusal
        for told in command.told:
            name = told.removeprefix(self._prefix)
            if len(command.told) > 1:
                await self.subscribe(name)
            else:
                self._hearer.refused(name, refusal)


async def _next_answer(connection: Any) -> Any:
    """Return the next answer, which may be a refusal; None in silence."""
    try:
        return await connection.read_response(
            timeout=_SILENCE_S, disconnect_on_error=False, push_request=True
        )
    except ResponseError as refusal:
        return refusal


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the names, so many at once that a command with them is not too large."""
    for start in range(0, len(names), _NAMES_AT_ONCE):
        yield names[start : start + _NAMES_AT_ONCE]


def text_of(value: Any) -> str:
    """Return a word of Redis."""
    return value.decode() if isinstance(value, bytes) else str(value)
