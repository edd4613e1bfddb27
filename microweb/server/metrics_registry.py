"""The registry: the metrics of this process, and the memory that has their numbers.

A process has one registry, as it has one logging. Its memory is private at first, because an
application makes its metrics when it is imported. In a worker it then moves to the slot of the
worker, where other processes read it.

Each process has a bounded number of series: a metric has at most `max_series`, and all metrics
together the room of a slot. Past it, further label values count in one series of the metric, with
the label `otel_metric_overflow="true"` (the limit of OpenTelemetry's metrics SDK has this form).
"""

from __future__ import annotations

import mmap
import os
import threading
import time

from ..errors import ConfigurationError
from ..logs import Log
from .board import METRICS_BYTES, Board, Slot
from .metrics_series import (
    GAUGE,
    OVERFLOW,
    SERIES,
    Definition,
    SeriesCopy,
    SeriesMemory,
    encode_labels,
)

_MAX_LABEL = 128  # characters of a label's value
_CONTROLS = {code: "\ufffd" for code in (*range(32), 127) if code != ord("\n")}

_log = Log("microweb.server")


class Cells:
    """The numbers of all series. `words` changes when the memory moves."""

    __slots__ = ("lock", "words")

    def __init__(self, words: memoryview[float]) -> None:
        self.words = words
        # Threads add to the numbers too. A signal handler may interrupt the block of its thread.
        self.lock = threading.RLock()


class Family:
    """A metric of this process: its series by the values of their labels."""

    def __init__(
        self, registry: Registry, definition: Definition, start: int, max_series: int
    ) -> None:
        self.definition = definition
        self.cells = registry.cells
        self._registry = registry
        self._start = start
        self._max_series = max_series
        self._series: dict[tuple[str, ...], int] = {}
        self._has_warned = False
        # Made now, so that there is room for it when there is none for others.
        overflow = registry.add_series(OVERFLOW, start, b"", definition.size)
        if overflow is None:
            raise no_room(definition)
        self._overflow = overflow

    def series(self, values: tuple[str, ...]) -> int:
        """Return the word at which the numbers of a series begin."""
        at = self._series.get(values)
        if at is not None:
            return at
        cleaned = tuple(map(_clean, values))
        with self.cells.lock:
            at = self._series.get(cleaned)
            if at is None:
                at = self._add(cleaned)
        return at

    def _add(self, values: tuple[str, ...]) -> int:
        at = None
        if len(self._series) < self._max_series:
            text = encode_labels(values)
            at = self._registry.add_series(SERIES, self._start, text, self.definition.size)
        if at is None:
            self._warn()
            at = self._overflow
        else:
            self._series[values] = at
        if self.definition.kind != GAUGE:  # a gauge has no value until it is set
            self.cells.words[at] = self.cells.words[at] or time.time()
        return at

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "metrics: %s has %d series, and no more are made: further label values count in "
                'the series otel_metric_overflow="true"',
                self.definition.name,
                len(self._series),
            )


class Registry:
    """The metrics of a process."""

    def __init__(self) -> None:
        self._memory = _private_memory()
        self._board: Board | None = None
        self.cells = Cells(self._memory.words)
        self._families: dict[str, Family] = {}

    def family(self, definition: Definition, help: str, max_series: int) -> Family:
        """Return the metric of a name: it may be defined again with the same definition.

        Raises: ConfigurationError if it has another definition, or there is no room.
        """
        with self.cells.lock:
            known = self._families.get(definition.name)
            if known is None:
                return self._define(definition, help, max_series)
        if known.definition != definition:
            raise ConfigurationError(
                f"metric {definition.name!r}: the name is taken by {known.definition}: "
                "choose another"
            )
        return known

    def _define(self, definition: Definition, help: str, max_series: int) -> Family:
        entry = self._memory.add_family(definition.encode(), help, time.time())
        if entry is None:
            raise no_room(definition)
        family = Family(self, definition, entry.start, max_series)
        self._families[definition.name] = family
        return family

    def add_series(self, kind: int, family: int, text: bytes, size: int) -> int | None:
        """Add a series of `size` numbers; return the word of the first, or None without room."""
        entry = self._memory.add(kind, family, text, [0.0] * size)
        return None if entry is None else entry.at

    def move_to(self, slot: Slot, board: Board) -> None:
        """Move all series to the slot of this worker, where other processes read them."""
        self._move(SeriesMemory(slot.metrics_memory()), board)

    def move_back(self) -> None:
        """Move all series to private memory."""
        self._move(_private_memory(), None)

    def leave_parent(self) -> None:
        """In a forked child: count for itself, because a slot has one writer."""
        self.cells.lock = threading.RLock()  # another thread of the parent may have held it
        self.move_back()

    def _move(self, memory: SeriesMemory, board: Board | None) -> None:
        with self.cells.lock:
            memory.take(self._memory)
            before, self._memory = self._memory, memory
            self.cells.words = memory.words
            self._board = board
            before.release()

    def read(self) -> tuple[SeriesCopy | None, list[SeriesCopy]]:
        """Return the totals of workers that have ended, and the series of all that live."""
        if self._board is None:
            return None, [self._memory.copy()]
        from .metrics_totals import read_board

        return read_board(self._board)


def _private_memory() -> SeriesMemory:
    return SeriesMemory(memoryview(mmap.mmap(-1, METRICS_BYTES)).cast("Q"))


def no_room(definition: Definition) -> ConfigurationError:
    """Return the error of a metric that finds no room."""
    return ConfigurationError(
        f"metric {definition.name!r}: there is no room for more metrics: use fewer metrics, or "
        "labels with fewer values"
    )


def _clean(value: str) -> str:
    """Return a value of a label that every reader can read: of limited length, without controls."""
    if len(value) > _MAX_LABEL:
        value = value[: _MAX_LABEL - 1] + "…"
    return value.translate(_CONTROLS).encode(errors="replace").decode()


REGISTRY = Registry()

if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=REGISTRY.leave_parent)
