"""One worker as its supervisor sees it: the process, its slot, its end of the socket pair."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from typing import NamedTuple

from .board import Board, Slot
from .start import start_directory
from .worker import READY, VARIABLE, Assignment

_JITTER = 0.1  # of `max_requests`, so that workers that started together do not end together


class WorkerEnd(NamedTuple):
    """How a worker ended: its exit status, negative for a signal."""

    status: int

    def __str__(self) -> str:
        if self.status >= 0:
            return f"exited with status {self.status}"
        name = signal.Signals(-self.status).name
        return f"was killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"


class Spawned:
    """A worker: executed at once, with the sockets, the board and its slot."""

    def __init__(
        self, command: list[str], sockets: list[socket.socket], board: Board, slot: Slot
    ) -> None:
        self.slot = slot
        self.started_at = time.monotonic()
        self.is_ready = False  # it has said so
        self.was_ready = False  # the supervisor has taken note of it
        self.killed_at = 0.0  # when it is to be killed, because it stands still
        self.ends_at = 0.0  # when it is to be killed, because it drains for too long
        self._share = random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
        slot.clear()
        directory = start_directory()
        self.channel: socket.socket | None
        self.channel, inherited = socket.socketpair()
        self.channel.setblocking(False)
        with inherited:
            assignment = Assignment(
                supervisor=os.getpid(),
                sockets=[bound.fileno() for bound in sockets],
                board=board.descriptor,
                slot=slot.number,
                channel=inherited.fileno(),
            )
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, "PWD": directory, VARIABLE: assignment.to_text()},
                stdin=subprocess.DEVNULL,
                pass_fds=assignment.descriptors,
            )
        self.pid = self._process.pid

    def poll(self) -> WorkerEnd | None:
        """Return how the worker ended, None if it runs."""
        status = self._process.poll()
        return None if status is None else WorkerEnd(status)

    def receive(self) -> None:
        """Read a message of the worker."""
        if self.channel is None:
            return
        try:
            data = self.channel.recv(64)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if READY in data:
            self.is_ready = True
        if not data:  # it is about to end
            self._close_channel()

    def send(self, command: bytes) -> None:
        """Send a command to the worker; it may have ended already."""
        if self.channel is None:
            return
        try:
            self.channel.send(command)
        except OSError:
            self._close_channel()

    def heartbeat(self) -> float:
        """Return the monotonic time, in seconds, at which the event loop last reported."""
        return max(self.slot.heartbeat_ns / 1e9, self.started_at)

    def with_jitter(self, count: int) -> int:
        """Return a limit for this worker, up to a tenth more or less than `count`."""
        return round(count * self._share)

    def write_stacks(self) -> None:
        """Make the worker write the stacks of its threads to stderr."""
        self._process.send_signal(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill the worker."""
        self._process.kill()

    def close(self) -> None:
        """Wait for the end of a worker that was killed or has ended."""
        self._process.wait()
        self._close_channel()
        self.slot.clear()

    def _close_channel(self) -> None:
        if self.channel is not None:
            self.channel.close()
            self.channel = None
