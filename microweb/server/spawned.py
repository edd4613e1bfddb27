"""The supervisor's side of one worker: the process, its slot, its end of the socket pair."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from .board import Board, Slot
from .questions import pair_for_questions
from .stacks import StackPipe
from .start import start_directory
from .worker import DRAIN, HELD_SIGNALS, LEAVE, OPEN, READY, VARIABLE, Assignment

_MIN_LIFE_S = 10.0  # before `max_rss` counts, so that a limit that is too low replaces no faster
_JITTER = 0.1  # of `max_requests`, so that workers that started together do not end together


class WorkerEnd(NamedTuple):
    """How a worker ended: its exit status, negative for a signal, and whether we killed it."""

    status: int
    is_ours: bool = False

    @property
    def cause(self) -> str:
        """The cause in the metrics of a worker that is replaced because of this end."""
        if self.is_ours:
            return "stall"
        return "exit" if self.status >= 0 else "signal"

    def __str__(self) -> str:
        if self.status >= 0:
            return f"exited with status {self.status}"
        try:
            name = signal.Signals(-self.status).name
        except ValueError:  # a real-time signal
            name = f"signal {-self.status}"
        is_foreign = name == "SIGKILL" and not self.is_ours
        return f"was killed by {name}{' (out of memory?)' if is_foreign else ''}"


class Streams(NamedTuple):
    """The descriptors that a worker gets for its streams, and for its further socket pair."""

    stdin: int | None = subprocess.DEVNULL  # None is the one of this process
    stderr: int | None = None
    link: int | None = None


NO_STREAMS = Streams()


class Spawned:
    """A worker: a process that has the sockets, the board and its slot.

    Raises: OSError if the process can't be started.
    """

    channel: socket.socket | None

    def __init__(
        self,
        command: list[str],
        sockets: list[socket.socket],
        board: Board,
        slot: Slot,
        *,
        warns: bool = False,
        streams: Streams = NO_STREAMS,
        is_asked: bool = False,
    ) -> None:
        self.slot = slot
        self._board = board
        self.started_at = time.monotonic()
        self.is_open = False  # it reads commands
        self.is_ready = False  # it has said so
        self.is_announced = False  # the log says that it is ready
        self.is_leaving = False  # it got SIGTERM, and waits for a command
        self.killed_at = 0.0  # when it is to be killed, because it stands still
        self.ends_at = 0.0  # when it is to be killed, because it drains for too long
        self.is_asked_to_end = False  # while it was starting
        self._is_killed = False
        self._share = random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
        slot.clear()
        self.channel, inherited = socket.socketpair()
        self.channel.setblocking(False)
        self.questions, asked = pair_for_questions() if is_asked else (None, None)
        # The last to be made, because nothing closes it if a later step fails.
        self.stacks = StackPipe() if streams.stderr is None else None
        assignment = Assignment(
            supervisor=os.getpid(),
            sockets=[bound.fileno() for bound in sockets],
            board=board.descriptor,
            slot=slot.number,
            channel=inherited.fileno(),
            warns=warns,
            link=streams.link,
            stacks=None if self.stacks is None else self.stacks.descriptor,
            questions=None if asked is None else asked.fileno(),
        )
        try:
            with inherited, asked or nullcontext(), _signals_held():
                self._process = _execute(command, assignment, streams)
        except OSError:
            self._close_ends(0)
            raise
        finally:
            if self.stacks is not None:
                self.stacks.inherited()
        self.pid = self._process.pid

    def poll(self) -> WorkerEnd | None:
        """Return how the worker ended, None if it runs."""
        status = self._process.poll()
        if status is None:
            return None
        self.receive()  # it may have become ready just before its end
        if self.is_asked_to_end and status in (-signal.SIGTERM, 128 + signal.SIGTERM):
            status = 0  # it was still starting, so that the signal has ended it immediately
        return WorkerEnd(status, self._is_killed)

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
        if OPEN in data:
            self.is_open = True
        if READY in data:
            self.is_ready = True
        if LEAVE in data:
            self.is_leaving = True
        if not data:  # it is about to end
            self._close_channel()

    def send(self, command: bytes) -> None:
        """Send STOP or RETIRE to the worker; it may have ended already.

        SIGTERM ends one that does not read commands yet. One that does so would take it for a
        second signal if it got another SIGTERM: it would exit without leaving its lifespan.
        """
        self.receive()  # it may have opened just now
        if not self._send(command) or not self.is_open:
            self._process.terminate()
        elif self.is_ready:
            return
        self.is_asked_to_end = True

    def drain(self) -> None:
        """Tell the worker that the service is about to stop. A worker reads it once it starts."""
        self._send(DRAIN)

    def heartbeat(self) -> float:
        """Return the monotonic time, in seconds, at which the event loop last reported."""
        return max(self.slot.heartbeat_ns / 1e9, self.started_at)

    def with_jitter(self, count: int) -> int:
        """Return a limit for this worker, up to a tenth more or less than `count`."""
        return round(count * self._share)

    def passed_limit(self, max_requests: int, max_rss: int) -> str:
        """Return the limit that the worker has passed, in words, or an empty text."""
        if 0 < self.with_jitter(max_requests) <= self.slot.requests:
            return f"it has answered {self.slot.requests} requests (max_requests={max_requests})"
        is_old = time.monotonic() - self.started_at >= _MIN_LIFE_S
        if is_old and 0 < max_rss <= self.slot.rss:
            return f"it has {self.slot.rss} bytes of memory (max_rss={max_rss})"
        return ""

    def write_stacks(self) -> None:
        """Make the worker write the stacks of its threads: see `StackReader`."""
        self._process.send_signal(signal.SIGQUIT)

    def log_stacks(self) -> None:
        """Make the worker write its stacks to the log, also if a survey takes them."""
        if self.stacks is not None:
            self.stacks.is_for_log = True
        self.write_stacks()

    def kill(self) -> None:
        """Kill the worker."""
        self._is_killed = True
        self._process.kill()

    def close(self) -> None:
        """Wait for the end of a worker that was killed or has ended."""
        self._process.wait()
        self._close_ends(self.pid)
        if self.slot.has_metrics:
            from .metrics_totals import add_to_totals

            add_to_totals(self._board, self.slot)
        self.slot.clear()

    def _send(self, command: bytes) -> bool:
        if self.channel is None:
            return False
        try:
            return self.channel.send(command) > 0
        except OSError:
            self._close_channel()
            return False

    def _close_ends(self, pid: int) -> None:
        self._close_channel()
        if self.stacks is not None:
            self.stacks.close(pid)
        if self.questions is not None:
            self.questions.close()

    def _close_channel(self) -> None:
        if self.channel is not None:
            self.channel.close()
            self.channel = None


def _execute(
    command: list[str], assignment: Assignment, streams: Streams
) -> subprocess.Popen[bytes]:
    directory = start_directory()
    return subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, "PWD": directory, VARIABLE: assignment.to_text()},
        stdin=streams.stdin,
        stderr=streams.stderr,
        pass_fds=assignment.descriptors,
    )


@contextmanager
def _signals_held() -> Iterator[None]:
    """Start a process with HELD_SIGNALS blocked, until it has handlers for them.

    They would end a worker that still starts: a terminal sends them to all processes of its group.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def reap_orphans(ours: Container[int]) -> None:
    """As process 1, reap the processes whose parents have ended; `ours` are reaped elsewhere."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in ours:
            return
        os.waitpid(found.si_pid, 0)
