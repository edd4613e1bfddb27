"""The worker's side of a supervised process: its assignment, its slot, the supervisor's commands.

The supervisor executes the program again, with an assignment in the environment: listening sockets,
the board, a slot on it, and one end of a socket pair. The worker takes the assignment out of the
environment first, so that no process that the application starts takes it for its own.

If the supervisor is gone, no process would kill a worker whose event loop stands still. Therefore
the kernel signals the end of the socket pair, and the worker then sets a timer that ends it. The
signal handler runs also while the event loop is blocked, by `time.sleep` or by a regex for example.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import select
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from ..errors import ConfigurationError
from . import dump_timer
from .board import Board, Slot, WorkerState

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

VARIABLE = "MICROWEB_WORKER"

DRAIN = b"D"  # the service is about to stop: report it, and go on
STOP = b"S"  # stop serving: the whole service stops
RETIRE = b"R"  # stop serving: another worker has taken over
RESTART = b"T"  # stop serving: another worker takes over once this one has ended
OPEN = b"="  # from the worker: it has a handler of SIGTERM, and reads commands
READY = b"+"  # from the worker: it accepts connections
LEAVE = b"-"  # from the worker: it got a signal of its own, and waits for STOP or RETIRE

# A worker starts with these signals blocked, and takes them once it has handlers for them.
HELD_SIGNALS = {
    getattr(signal, name) for name in ("SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
}

KILL_MARGIN_S = 3.0  # beyond `grace_s`, in which a worker leaves its lifespan
_STDERR = 2
_ALONE_S = 30.0  # to end after the supervisor, until `open` gives another time

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Assignment(NamedTuple):
    """The descriptors that a worker inherits, in the form of an environment variable."""

    supervisor: int  # its process
    sockets: list[int]
    board: int
    slot: int
    channel: int
    warns: bool = False  # about state that each worker has for itself
    link: int | None = None  # one end of a further socket pair, for `microweb dev`
    stacks: int | None = None  # a pipe for the stacks of the threads, in place of stderr
    questions: int | None = None  # one end of a further socket pair, for the control socket

    def to_text(self) -> str:
        """Return the value of the environment variable."""
        return json.dumps(self)

    @property
    def descriptors(self) -> list[int]:
        """All descriptors that the worker inherits."""
        others = (self.link, self.stacks, self.questions)
        given = [each for each in others if each is not None]
        return [*self.sockets, self.board, self.channel, *given]


def take_assignment() -> Worker | None:
    """Return the worker that this process is, None if no supervisor has started it.

    Raises: ConfigurationError if the supervisor runs another version of microweb.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return None
    assignment = _parse(text)
    if assignment.supervisor != os.getppid():
        if _is_orphan(assignment.channel):
            raise ConfigurationError("the supervisor has ended while this worker started")
        return None  # it was meant for a parent of this process
    del os.environ[VARIABLE]
    for number in assignment.descriptors:
        os.set_inheritable(number, False)
    return Worker(assignment)


def _parse(text: str) -> Assignment:
    try:
        return Assignment(*json.loads(text))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"expected the assignment of a worker in {VARIABLE}, got {text!r:.80}: the supervisor "
            "runs another version of microweb, restart the service"
        ) from error


def _is_orphan(channel: int) -> bool:
    """Whether `channel` is the socket pair of this process, and its other end is closed.

    A process that a worker has started has the variable, but not the socket.
    """
    try:
        with socket.socket(fileno=os.dup(channel)) as ours:
            return ours.family == socket.AF_UNIX and _is_over(ours)
    except OSError:
        return False


def _is_over(channel: socket.socket) -> bool:
    """Whether the other end of a socket pair is closed, even if bytes of it are unread."""
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))


class Worker:
    """This process as a worker: `serve` calls it from the event loop."""

    def __init__(self, assignment: Assignment) -> None:
        self.board = Board.attach(assignment.board)
        self.warns = assignment.warns
        self.link = _end_of_pair(assignment.link)
        self.questions = _end_of_pair(assignment.questions)
        self.slot: Slot = self.board.slots[assignment.slot]
        self.sockets = [socket.socket(fileno=number) for number in assignment.sockets]
        self._channel = socket.socket(fileno=assignment.channel)
        self._channel.setblocking(False)
        self._on_command: Callable[[bytes], None] | None = None
        for bound in self.sockets:
            bound.setblocking(False)
        self.slot.report(0, 0)
        self.slot.state = WorkerState.STARTING
        self._ends_within_s = _ALONE_S
        self._is_claimed = False
        self._handle_signals(_STDERR if assignment.stacks is None else assignment.stacks)

    def _handle_signals(self, stacks: int) -> None:
        # Ctrl-C and a hang-up reach the supervisor as well. Programs that the application starts
        # would inherit SIG_IGN, but not a handler.
        signal.signal(signal.SIGINT, _do_nothing)
        signal.signal(signal.SIGHUP, _do_nothing)
        # Also while C code holds the GIL, which keeps Python's own handlers from running.
        faulthandler.register(signal.SIGQUIT, stacks, all_threads=True)
        number = signal.SIGIO
        if hasattr(fcntl, "F_SETSIG"):  # Linux, where the default action of SIGIO ends a process
            number = signal.SIGURG
            fcntl.fcntl(self._channel, fcntl.F_SETSIG, number)
        signal.signal(number, self._on_channel)
        fcntl.fcntl(self._channel, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self._channel, fcntl.F_GETFL)
        fcntl.fcntl(self._channel, fcntl.F_SETFL, flags | os.O_ASYNC)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
        self._on_channel(number, None)  # the supervisor may have ended before

    def claim(self) -> None:
        """Begin to serve. Raises: ConfigurationError if this worker has served already."""
        if self._is_claimed:
            raise ConfigurationError(
                "a worker serves one app, once: expected one app.run() in the program, got a "
                "second one; mount the other app in the first"
            )
        self._is_claimed = True

    def open(self, on_command: Callable[[bytes], None], ends_within_s: float = _ALONE_S) -> None:
        """Call `on_command` with each command; with STOP also if the supervisor is gone.

        Without a supervisor, this process ends within `ends_within_s`.
        """
        self._on_command = on_command
        self._ends_within_s = ends_within_s
        asyncio.get_running_loop().add_reader(self._channel, self._receive)
        self._send(OPEN)

    def ready(self) -> None:
        """Tell the supervisor that this worker accepts connections."""
        self.slot.state = WorkerState.READY
        self._send(READY)

    def leave(self) -> None:
        """Ask the supervisor how to stop: a signal does not say whether the service stops."""
        self._send(LEAVE)

    def drain(self) -> None:
        """Tell the other workers that this one accepts no more connections."""
        self.slot.state = WorkerState.DRAINING

    def heartbeat(self, requests: int) -> None:
        """Report that the event loop turns: once a second."""
        self.slot.report(requests, resident_bytes())

    def is_ahead(self, uncounted: int) -> bool:
        """Return whether this worker has over one connection more than the one with the fewest.

        `uncounted` connections of this worker are not on the board yet.
        """
        least = self.board.least_connections(self.slot)
        return least is not None and self.slot.connections + uncounted > least + 1

    def close(self) -> None:
        """Take no more commands."""
        asyncio.get_running_loop().remove_reader(self._channel)

    def _on_channel(self, number: int, frame: FrameType | None) -> None:
        """Set the timer of the end if the supervisor is gone. The event loop may be blocked."""
        if self._channel.fileno() >= 0 and _is_over(self._channel):
            dump_timer.end_later(self._ends_within_s, _STDERR)

    def _receive(self) -> None:
        try:
            commands = self._channel.recv(64)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            commands = b""
        if not commands:
            self.close()  # the supervisor is gone
            commands = STOP
        for number in commands:
            if self._on_command is not None:
                self._on_command(bytes((number,)))

    def _send(self, data: bytes) -> None:
        try:
            self._channel.send(data)
        except OSError:  # the supervisor is gone, which `_receive` will see
            return


def _end_of_pair(number: int | None) -> socket.socket | None:
    return None if number is None else socket.socket(fileno=number)


def resident_bytes() -> int:
    """Return the resident memory of this process, 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Ignore a signal."""
