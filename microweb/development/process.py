"""The reloader's side of a process that serves the app, or waits to load it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

from ..server.board import Board, Slot, WorkerState
from ..server.console import say
from ..server.spawned import Spawned, Streams
from ..server.worker import RESTART
from .link import Go, Link, Report
from .serving import GRACE_S
from .terminal import Terminal

_CLEANUP_S = 2.0  # beyond GRACE_S, in which a worker leaves its lifespan
_NEVER = float("inf")


class AppProcess:
    """A worker with a link. It waits until `go`, and ends some time after `retire`.

    Raises: OSError if the process can't be started.
    """

    def __init__(
        self,
        command: list[str],
        sockets: list[socket.socket],
        board: Board,
        slot: Slot,
        terminal: Terminal,
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            streams = Streams(None, terminal.descriptor, theirs.fileno())
            self.spawned = Spawned(command, sockets, board, slot, streams=streams)
        self.shows_fault = False
        self.is_retired = False
        self.slow_at = _NEVER  # when its start is to be called slow
        self._link = Link(ours)
        self._taken_at = _NEVER  # when its event loop must have taken the command to end
        self._ends_at = _NEVER  # when it is killed

    @property
    def deadline(self) -> float:
        """The time of the next `check`."""
        return min(self.slow_at, self._taken_at, self._ends_at)

    @property
    def has_left_app(self) -> bool:
        """Whether the process has ended with the app, and is about to end itself."""
        return self.is_retired and self._link.is_over

    def descriptors(self) -> Iterator[socket.socket | Link]:
        """Yield the descriptors that are readable when the process says something."""
        if self.spawned.channel is not None:
            yield self.spawned.channel
        if not self._link.is_over:
            yield self._link

    def receive(self) -> list[Report]:
        """Take what the process has said; return its reports."""
        self.spawned.receive()
        return self._link.reports()

    def go(self, go: Go) -> None:
        """Let the process import and serve the app, or show a fault."""
        self.shows_fault = bool(go.fault)
        self._link.send(go)

    def retire(self, now: float) -> None:
        """Let the process finish its requests and end."""
        if self.is_retired:
            return
        self.is_retired = True
        self.slow_at = _NEVER
        self._taken_at, self._ends_at = now + GRACE_S, now + GRACE_S + _CLEANUP_S
        self.spawned.send(RESTART)

    def check(self, now: float) -> None:
        """Kill the process if it should have ended; show its stacks if it starts slowly."""
        if now >= self.slow_at:
            self.slow_at = _NEVER
            say("the app is still starting: here are its stacks", sys.stderr)
            self.spawned.write_stacks()
        is_stuck = now >= self._taken_at and self.spawned.slot.state != WorkerState.DRAINING
        self._taken_at = _NEVER if now >= self._taken_at else self._taken_at
        if is_stuck or now >= self._ends_at:
            say(f"worker {self.spawned.pid} did not end in time: it is killed", sys.stderr)
            self.kill()

    def kill(self) -> None:
        """Kill the process."""
        self.is_retired = True
        self.slow_at = self._taken_at = self._ends_at = _NEVER
        self.spawned.kill()

    def close(self) -> None:
        """Wait for the end of the process, which is near."""
        self.spawned.close()
        self._link.close()
