"""The shared memory in which workers report their state to each other and to the supervisor.

The board has a fixed number of slots. A slot belongs to one worker at a time, and only that worker
writes to it; the supervisor clears it before it gives it to the next worker. Every value is one
aligned word of 8 bytes, so that a reader never sees half of a new value.

The metrics of a worker are in its slot, behind the words of its state. When it has ended, the
supervisor adds them to one of two areas behind the slots, and puts that area in use: see
`metrics_totals`. A slot has a generation, and an area knows the generations that it includes.

A worker of another version of microweb could misread the words. Therefore the board begins with the
version of its layout, and `Board.attach` refuses any other.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from enum import IntEnum

from ..errors import ConfigurationError

LAYOUT = 0x6D77_0002  # "mw" and the version of the layout
HEADER_BYTES = 4096  # its last byte belongs to `lines.LineLock`
_SLOT_BYTES = 256 * 1024  # most of it is for metrics; memory is taken only for pages in use
_AREA_BYTES = 2048 * 1024  # of totals: they have more series than one worker
_WORD = 8
_FRESH_NS = 2_000_000_000  # an older heartbeat means that the event loop of the worker stands still

_SLOTS, _TURN = 1, 2  # words of the header: the number of slots, how often the areas were changed
_CREATED, _RESTARTS = 3, 4  # when the board was made; restarts by cause
_LINES_DROPPED = 16  # lines of the log that the supervisor could not write

_PID, _STATE, _HEARTBEAT, _CONNECTIONS, _REQUESTS, _RSS, _GENERATION = range(7)  # words of a slot
_METRICS = 64  # the word of a slot at which its metrics begin, in the same page
METRICS_BYTES = _SLOT_BYTES - _METRICS * _WORD


class WorkerState(IntEnum):
    """The state of the worker that has a slot."""

    EMPTY = 0
    STARTING = 1
    READY = 2
    DRAINING = 3


# Why a worker was replaced: it exited, was killed by a signal, or stood still and was killed; the
# service was reloaded; it passed `max_requests` or `max_rss`; it got SIGTERM.
CAUSES = ("exit", "signal", "stall", "reload", "limit", "sigterm")

_READY = int(WorkerState.READY)


class Board:
    """A number of slots in memory that processes share. `descriptor` is inherited by workers.

    Raises: ConfigurationError from `attach` if another version of microweb made the memory.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 0)
        self._words = memoryview(self._memory).cast("Q")
        self.slots = [Slot(self._words, number) for number in range(self._words[_SLOTS])]
        self._starts = [slot.start for slot in self.slots]

    @classmethod
    def create(cls, slots: int) -> Board:
        """Return a new board of `slots` empty slots."""
        descriptor = _anonymous_file()
        # Memory is taken only for pages in use: a board of 2,064 slots begins with 4 KiB.
        os.truncate(descriptor, HEADER_BYTES + slots * _SLOT_BYTES + 2 * _AREA_BYTES)
        with mmap.mmap(descriptor, HEADER_BYTES) as header, memoryview(header) as view:
            words = view.cast("Q")
            words[0], words[_SLOTS] = LAYOUT, slots
            words[_CREATED] = time.time_ns()
            words.release()
        return cls(descriptor)

    @classmethod
    def attach(cls, descriptor: int) -> Board:
        """Return the board that another process made. Raises: ConfigurationError."""
        layout = int.from_bytes(os.pread(descriptor, _WORD, 0), sys.byteorder)
        if layout != LAYOUT:
            raise ConfigurationError(
                f"expected shared memory of layout {LAYOUT:#x}, got {layout:#x}: the supervisor "
                "runs another version of microweb, restart the service"
            )
        return cls(descriptor)

    def close(self) -> None:
        """Release the memory and the descriptor."""
        for slot in self.slots:
            slot.release()
        self._words.release()
        self._memory.close()
        os.close(self.descriptor)

    def least_connections(self, but: Slot) -> int | None:
        """Return the fewest connections of a worker that accepts, `but` left out; None without one.

        Workers that start, drain, or whose heartbeat is over 2 s old do not accept.
        """
        # Each accept calls this: properties and an Enum took 8.3 us here, the words 3.0.
        oldest = time.monotonic_ns() - _FRESH_NS
        words, own = self._words, but.start
        counts = [
            words[start + _CONNECTIONS]
            for start in self._starts
            if words[start + _STATE] == _READY
            and start != own
            and words[start + _HEARTBEAT] >= oldest
        ]
        return min(counts, default=None)

    # --- for metrics

    @property
    def created_ns(self) -> int:
        """When the board was made, in nanoseconds since 1970."""
        return self._words[_CREATED]

    def restarts(self, cause: str) -> int:
        """Return how many workers were replaced for a cause, one of `CAUSES`."""
        return self._words[_RESTARTS + CAUSES.index(cause)]

    def count_restart(self, cause: str) -> None:
        """Count a worker that is replaced."""
        self._words[_RESTARTS + CAUSES.index(cause)] += 1

    @property
    def lines_dropped(self) -> int:
        """How many lines of the log the supervisor could not write."""
        return self._words[_LINES_DROPPED]

    @lines_dropped.setter
    def lines_dropped(self, count: int) -> None:
        self._words[_LINES_DROPPED] = count

    # --- the totals of the workers that have ended

    @property
    def turn(self) -> int:
        """How often the totals were replaced. Those of even turns are in the first area."""
        return self._words[_TURN]

    @turn.setter
    def turn(self, turn: int) -> None:
        self._words[_TURN] = turn

    def totals_area(self, turn: int) -> memoryview:
        """Return the memory with the totals of a turn, as words."""
        size = _AREA_BYTES // _WORD
        start = (HEADER_BYTES + len(self.slots) * _SLOT_BYTES) // _WORD + turn % 2 * size
        return self._words[start : start + size]


class Slot:
    """The words of one worker."""

    __slots__ = ("_words", "number", "start")

    def __init__(self, board: memoryview, number: int) -> None:
        self.start = (HEADER_BYTES + number * _SLOT_BYTES) // _WORD  # in words of the board
        self.number = number
        self._words = board[self.start : self.start + _SLOT_BYTES // _WORD]

    def clear(self) -> None:
        """Empty the slot, for its next worker."""
        for word in (_METRICS, *range(_RSS + 1)):
            self._words[word] = 0
        self._words[_GENERATION] += 1

    def release(self) -> None:
        """Let go of the memory."""
        self._words.release()

    @property
    def has_metrics(self) -> bool:
        """Whether the worker has written metrics."""
        return self._words[_METRICS] != 0

    def metrics_memory(self) -> memoryview:
        """Return the memory for the metrics, as words."""
        return self._words[_METRICS:]

    @property
    def generation(self) -> int:
        """The number of the worker among those that have had the slot, from 1."""
        return self._words[_GENERATION] + 1

    @property
    def pid(self) -> int:
        """The process of the worker, 0 if there is none."""
        return self._words[_PID]

    @property
    def state(self) -> int:
        """The state of the worker, a `WorkerState`."""
        return self._words[_STATE]

    @state.setter
    def state(self, state: WorkerState) -> None:
        self._words[_STATE] = state

    @property
    def heartbeat_ns(self) -> int:
        """The monotonic time at which the event loop of the worker last reported, 0 before."""
        return self._words[_HEARTBEAT]

    @property
    def connections(self) -> int:
        """How many connections the worker has."""
        return self._words[_CONNECTIONS]

    @connections.setter
    def connections(self, count: int) -> None:
        self._words[_CONNECTIONS] = count

    @property
    def requests(self) -> int:
        """How many requests the worker has answered."""
        return self._words[_REQUESTS]

    @property
    def rss(self) -> int:
        """The resident memory of the worker, in bytes."""
        return self._words[_RSS]

    def report(self, requests: int, rss: int) -> None:
        """Write a heartbeat with its figures: once a second."""
        self._words[_PID] = os.getpid()
        self._words[_REQUESTS] = requests
        self._words[_RSS] = rss
        self._words[_HEARTBEAT] = time.monotonic_ns()


def _anonymous_file() -> int:
    """Return the descriptor of a file in memory, or of one without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("microweb-board")
    import tempfile  # not Linux

    with tempfile.TemporaryFile(prefix="microweb-") as file:
        return os.dup(file.fileno())
