"""The stacks of a worker's threads: the worker writes them to a pipe, its supervisor to the log.

`faulthandler` writes them from a signal handler in C, also while C code holds the GIL. The worker
can't make a record of them, so the supervisor collects them until the pipe is silent.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from logging import WARNING
from typing import Protocol

from .console import is_json, say, show_piecewise

_SILENCE_S = 0.2  # behind the last line
_MAX_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024
_NEVER = float("inf")


class StackPipe:
    """The pipe of one worker. `descriptor` is for the worker, and closed once it has it."""

    def __init__(self) -> None:
        self._reading, self.descriptor = os.pipe()
        os.set_blocking(self._reading, False)
        self._received = bytearray()
        self.due = _NEVER  # when the stacks count as complete
        self.is_over = False
        # They get the next stacks in place of the log, and are then forgotten.
        self.takers: list[Callable[[str], None]] = []
        self.is_for_log = False  # the next stacks are for the log too

    def fileno(self) -> int:
        """Return the descriptor that is readable when the worker has written."""
        return self._reading

    def inherited(self) -> None:
        """Close the worker's end here."""
        os.close(self.descriptor)

    def receive(self, now: float) -> None:
        """Read all that is there, without waiting."""
        with suppress(BlockingIOError):
            while data := os.read(self._reading, _PIECE_BYTES):
                self._received += data[: _MAX_BYTES - len(self._received)]
                self.due = now + _SILENCE_S
            self.is_over = True  # the worker has ended

    def report(self, pid: int) -> None:
        """Hand the stacks to the takers, and write them to the log if it is to have them."""
        text = self._received.decode("utf-8", "replace").rstrip()
        self._received.clear()
        self.due = _NEVER
        takers, self.takers = self.takers, []
        for take in takers:
            take(text)
        is_for_log, self.is_for_log = self.is_for_log or not takers, False
        if not is_for_log:
            return
        if is_json():
            say(f"stacks of worker {pid}", sys.stderr, WARNING, **{"code.stacktrace": text})
        elif text:
            show_piecewise(f"microweb: stacks of worker {pid}:\n{text}", sys.stderr)

    def close(self, pid: int) -> None:
        """Write the rest to the log, because the worker has ended."""
        if not self.is_over:
            self.receive(time.monotonic())
        if self.due < _NEVER:
            self.report(pid)
        os.close(self._reading)


class Watched(Protocol):
    """A worker: a `Spawned`."""

    @property
    def pid(self) -> int:
        """The process."""

    @property
    def stacks(self) -> StackPipe | None:
        """Its pipe, None if it writes its stacks to a stream of its own."""


class StackReader:
    """Reads the pipes of all workers, in the `poll` of the supervisor: see `Polled`."""

    def __init__(self, workers: Callable[[], Iterable[Watched]]) -> None:
        self._workers = workers

    def register(self, poll: select.poll) -> None:
        """Register the pipes of the workers that are alive."""
        for worker in self._workers():
            if worker.stacks is not None and not worker.stacks.is_over:
                poll.register(worker.stacks, select.POLLIN)

    def deadline(self) -> float:
        """Return when the stacks of a worker count as complete."""
        pipes = (worker.stacks for worker in self._workers())
        return min((each.due for each in pipes if each is not None), default=_NEVER)

    def go_on(self, ready: Mapping[int, int], now: float) -> None:
        """Read, and write complete stacks to the log."""
        for worker in self._workers():
            stacks = worker.stacks
            if stacks is None:
                continue
            if stacks.fileno() in ready:
                stacks.receive(now)
            if stacks.due <= now:
                stacks.report(worker.pid)

    def close(self) -> None:
        """Do nothing: each worker closes its pipe."""
