"""The connection to Redis for announcements: it subscribes to Pub/Sub names and reads messages.

Redis answers commands in their order, and an error does not say which name it is for. Therefore the
listener keeps the commands without an answer. If Redis refuses a command for several names, the
listener sends one command for each name.
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
_SILENCE_S = 10.0  # then a PING tests the connection
_MAX_NAMES = 500  # in one command


class Announcements(Protocol):
    """The callbacks of a listener. Names are those of channels, without the prefix."""

    @property
    def wanted(self) -> Sequence[str]:
        """Return the names to subscribe to on a new connection."""

    async def subscribed(self, name: str) -> None:
        """Handle Redis's confirmation that it sends the messages of a name from now on."""

    async def announced(self, name: str, content: bytes) -> None:
        """Handle a message."""

    def refused(self, name: str, refusal: ResponseError) -> None:
        """Handle Redis's refusal to subscribe to a name."""

    async def answered(self) -> None:
        """Handle a sign of life: called after each answer of Redis."""


class _Command(NamedTuple):
    """A command that waits for answers."""

    word: str
    names: list[str]  # with the prefix; each gets an answer, and is then removed


class RedisListener:
    """One connection after another, each until it is lost. Names in Redis begin with `prefix`."""

    def __init__(self, callbacks: Announcements, prefix: str) -> None:
        self._callbacks = callbacks
        self._prefix = prefix
        self._commands: deque[_Command] = deque()  # without an answer yet, in their order
        self.connection: Any = None  # None if there is none

    async def subscribe(self, name: str) -> None:
        """Subscribe to a name on the connection, if there is one.

        The command is sent before the first wait, so a cancellation does not undo it. It loses the
        connection instead.
        """
        await self._send_if_connected("SUBSCRIBE", name)

    async def unsubscribe(self, name: str) -> None:
        """Undo `subscribe`, in the same way."""
        await self._send_if_connected("UNSUBSCRIBE", name)

    async def listen(self, connection: Any) -> None:
        """Read from a connection until it is lost. Raises: RedisError, OSError."""
        self._commands.clear()
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await connection.connect()
                self.connection = connection
                for names in batches(self._callbacks.wanted):
                    await self._send(connection, "SUBSCRIBE", *names)
                await self._send(connection, "PING")
            await self._read(connection)
        finally:
            self.connection = None
            await connection.disconnect(nowait=True)

    # --- commands

    async def _send_if_connected(self, word: str, name: str) -> None:
        if self.connection is not None and self.connection.is_connected:
            with suppress(RedisError, OSError):  # `listen` raises it too, and ends
                await self._send(self.connection, word, name)

    async def _send(self, connection: Any, word: str, *names: str) -> None:
        prefixed = [self._prefix + name for name in names]
        self._commands.append(_Command(word, list(prefixed)))
        await connection.send_command(word, *prefixed, check_health=False)

    # --- answers

    async def _read(self, connection: Any) -> None:
        has_pinged = False
        while True:
            answer = await _next_answer(connection)
            if answer is not None:
                await self._handle(answer)
                await self._callbacks.answered()
            elif has_pinged:
                raise ConnectionError(f"Redis sent nothing for {2 * _SILENCE_S:g} s")
            else:
                await self._send(connection, "PING")
            has_pinged = answer is None

    async def _handle(self, answer: Any) -> None:
        if isinstance(answer, ResponseError):
            await self._handle_refusal(answer)
            return
        kind = text_of(answer[0]) if isinstance(answer, list) else "pong"
        prefixed = text_of(answer[1]) if kind != "pong" else ""
        name = prefixed.removeprefix(self._prefix)
        if kind == "message":
            await self._callbacks.announced(name, answer[2])
            return
        self._note_answer(prefixed)
        if kind == "subscribe":
            await self._callbacks.subscribed(name)

    def _note_answer(self, prefixed: str) -> None:
        """Remove a name from the first command; drop the command if all its names are answered."""
        if self._commands:
            waiting = self._commands[0].names
            if prefixed in waiting:
                waiting.remove(prefixed)
            if not waiting:
                self._commands.popleft()

    async def _handle_refusal(self, refusal: ResponseError) -> None:
        """Find the name that Redis refuses. Raises: the refusal of any other command."""
        command = self._commands.popleft() if self._commands else _Command("", [])
        if command.word != "SUBSCRIBE":
            raise refusal
        for prefixed in command.names:
            name = prefixed.removeprefix(self._prefix)
            if len(command.names) > 1:
                await self.subscribe(name)
            else:
                self._callbacks.refused(name, refusal)


async def _next_answer(connection: Any) -> Any:
    """Return the next answer, which may be a refusal; None after a time without one."""
    try:
        return await connection.read_response(
            timeout=_SILENCE_S, disconnect_on_error=False, push_request=True
        )
    except ResponseError as refusal:
        return refusal


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the names in batches that are small enough for one command."""
    for start in range(0, len(names), _MAX_NAMES):
        yield names[start : start + _MAX_NAMES]


def text_of(value: Any) -> str:
    """Return a value from Redis as a str."""
    return value.decode() if isinstance(value, bytes) else str(value)
