"""The worker's side of a supervised process: its assignment, its slot, the supervisor's commands.

The supervisor executes the program again, with an assignment in the environment: listening sockets,
the board, a slot on it, and one end of a socket pair. The worker takes the assignment out of the
environment first, so that no process that the application starts takes it for its own.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

from .board import Board, Slot, WorkerState

VARIABLE = "MICROWEB_WORKER"

STOP = b"S"  # stop serving: the whole service stops
RETIRE = b"R"  # stop serving: another worker has taken over
READY = b"+"  # from the worker: it accepts connections

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Assignment(NamedTuple):
    """The descriptors that a worker inherits, in the form of an environment variable."""

    supervisor: int  # its process
    sockets: list[int]
    board: int
    slot: int
    channel: int

    def to_text(self) -> str:
        """Return the value of the environment variable."""
        return json.dumps(self)

    @property
    def descriptors(self) -> list[int]:
        """All descriptors that the worker inherits."""
        return [*self.sockets, self.board, self.channel]


def take_assignment() -> Worker | None:
    """Return the worker that this process is, None if no supervisor has started it.

    Raises: ConfigurationError if the supervisor runs another version of microweb.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return None
    assignment = Assignment(*json.loads(text))
    if assignment.supervisor != os.getppid():  # it was meant for a parent of this process
        return None
    del os.environ[VARIABLE]
    for number in assignment.descriptors:
        os.set_inheritable(number, False)
    return Worker(assignment)


class Worker:
    """This process as a worker: `serve` calls it from the event loop."""

    def __init__(self, assignment: Assignment) -> None:
        self.board = Board.attach(assignment.board)
        self.slot: Slot = self.board.slots[assignment.slot]
        self.sockets = [socket.socket(fileno=number) for number in assignment.sockets]
        self._channel = socket.socket(fileno=assignment.channel)
        self._channel.setblocking(False)
        self._on_command: Callable[[bytes], None] | None = None
        for bound in self.sockets:
            bound.setblocking(False)
        self.slot.report(0, 0)
        self.slot.state = WorkerState.STARTING
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor as well
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Also while C code holds the GIL, which keeps Python's own handlers from running.
        faulthandler.register(signal.SIGQUIT, sys.stderr, all_threads=True)

    def open(self, on_command: Callable[[bytes], None]) -> None:
        """Call `on_command` with STOP or RETIRE; STOP also if the supervisor is gone."""
        self._on_command = on_command
        asyncio.get_running_loop().add_reader(self._channel, self._receive)

    def ready(self) -> None:
        """Tell the supervisor that this worker accepts connections."""
        self.slot.state = WorkerState.READY
        self._send(READY)

    def drain(self) -> None:
        """Tell the other workers that this one accepts no more connections."""
        self.slot.state = WorkerState.DRAINING

    def heartbeat(self, requests: int) -> None:
        """Report that the event loop turns: once a second."""
        self.slot.report(requests, resident_bytes())

    def is_ahead(self) -> bool:
        """Return whether this worker has over one connection more than the one with the fewest."""
        least = self.board.least_connections(self.slot)
        return least is not None and self.slot.connections > least + 1

    def close(self) -> None:
        """Take no more commands."""
        asyncio.get_running_loop().remove_reader(self._channel)

    def _receive(self) -> None:
        try:
            commands = self._channel.recv(64)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            commands = b""
        if not commands:
            self.close()  # the supervisor is gone
        if self._on_command is not None:
            self._on_command(commands[-1:] or STOP)

    def _send(self, data: bytes) -> None:
        try:
            self._channel.send(data)
        except OSError:  # the supervisor is gone, which `_receive` will see
            return


def resident_bytes() -> int:
    """Return the resident memory of this process, 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
