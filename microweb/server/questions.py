"""Questions of the supervisor to a worker, over a socket pair of their own.

A question and each frame of its answer are one line of JSON. The worker answers on its event loop,
in several frames, so that a worker whose event loop stands still gives no sign of life. Neither end
ever blocks: the worker writes the next frame only when the supervisor has taken the last one, and
answers no question whose time is over.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple

MAX_FRAME = 256 * 1024  # bytes; a worker that sends a longer one is not asked again

_PIECE = 64 * 1024

Frame = dict[str, object]


class Question(NamedTuple):
    """A question about the connections of a worker."""

    number: int  # of the survey that its answer belongs to
    limit: int  # of connections that the answer describes
    expires_at: float  # by `time.monotonic`, which all processes of a machine share


class Asking:
    """The supervisor's end."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.is_over = False  # the worker has ended, or does not keep to the form
        self.is_garbled = False  # it does not keep to the form
        self._end = end
        self._received = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, -1 once the end is closed."""
        return self._end.fileno()

    def ask(self, question: Question) -> None:
        """Send a question. It is lost if the worker has left many unread: it stands still."""
        try:
            self._end.send(json.dumps(question).encode() + b"\n")
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def receive(self) -> list[tuple[int, Frame]]:
        """Return the frames that have arrived, each with the number of its question."""
        try:
            data = self._end.recv(_PIECE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.close()
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        try:
            frames = [_parse(line) for line in lines]
        except (ValueError, TypeError, RecursionError):
            frames = []
            self.is_garbled = True
        if self.is_garbled or len(rest) > MAX_FRAME:
            self.is_garbled = True
            self.close()
        return frames

    def close(self) -> None:
        """Close this end: the worker is not asked again."""
        self.is_over = True
        self._end.close()


def pair_for_questions() -> tuple[Asking | None, socket.socket | None]:
    """Return the supervisor's end of a new socket pair, and that of the worker."""
    ours, theirs = socket.socketpair()
    return Asking(ours), theirs


class Answering:
    """The worker's end. `answer` yields the frames of the answer to a question."""

    def __init__(
        self, end: socket.socket, answer: Callable[[Question], AsyncGenerator[Frame, None]]
    ) -> None:
        end.setblocking(False)
        self._end = end
        self._answer = answer
        self._received = b""
        self._tasks: set[asyncio.Task[None]] = set()  # one for each question
        self._sending = asyncio.Lock()  # so that a frame is one line

    def open(self) -> None:
        """Answer questions on the running event loop."""
        asyncio.get_running_loop().add_reader(self._end, self._receive)

    def close(self) -> None:
        """Answer no more."""
        if self._end.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._end)
        for task in self._tasks:
            task.cancel()
        self._end.close()

    def _receive(self) -> None:
        try:
            data = self._end.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:  # the supervisor is gone
            self.close()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for question in (Question(*json.loads(line)) for line in lines):
            if time.monotonic() < question.expires_at:
                task = asyncio.get_running_loop().create_task(self._answer_one(question))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer_one(self, question: Question) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self._answer(question)) as frames:
            async for frame in frames:
                line = json.dumps([question.number, frame]).encode() + b"\n"
                try:
                    async with self._sending:
                        await loop.sock_sendall(self._end, line)
                except OSError:  # the supervisor is gone, which `_receive` will see
                    return


def _parse(line: bytes | bytearray) -> tuple[int, Frame]:
    number, frame = json.loads(line)
    if not isinstance(number, int) or not isinstance(frame, dict):
        raise ValueError(f"expected the number of a question and a frame, got {line!r:.80}")
    return number, frame
