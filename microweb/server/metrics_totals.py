"""Totals: the numbers of the workers that have ended, so that a counter never falls.

The supervisor adds the series of a worker that has ended to these totals, and clears its slot.
A reader must see a worker either in its slot or in the totals: never in both, never in neither.
Therefore there are two areas. The supervisor makes the new totals in the one that is not in use,
with the generation of the slot that they include, and then moves one word, which puts the area in
use. A supervisor that is killed before that leaves the old totals as they were.

Gauges are not added: they are the state of a process, and the process is gone.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from .board import Board, Slot
from .console import say
from .metrics_board import metrics_of_board
from .metrics_series import (
    CREATED,
    FAMILY,
    GAUGE,
    OVERFLOW,
    SERIES,
    Definition,
    Entry,
    SeriesCopy,
    SeriesMemory,
    split_family,
)

_RESERVED = 8  # one part in so many, for families and their series for further labels

_has_warned = False


class BoardCopy(NamedTuple):
    """The metrics of all workers: each is either in the totals, or among those that live."""

    totals: SeriesCopy
    living: list[SeriesCopy]


def read_board(board: Board) -> BoardCopy:
    """Return a copy of all metrics. This waits for no writer."""
    while True:
        turn = board.turn
        area = _Area(board, turn)
        totals, included = area.metrics.copy(), area.included.tolist()
        area.release()
        living = [
            _copy_of(slot)
            for slot in board.slots
            if slot.has_metrics and slot.generation != included[slot.number]
        ]
        if board.turn == turn:  # no slot was added to the totals meanwhile
            return BoardCopy(totals, [*living, metrics_of_board(board)])


def add_to_totals(board: Board, slot: Slot) -> None:
    """Add the counters and histograms of a worker that has ended to the totals.

    Only the supervisor calls this. A series for which there is no room counts in the series of its
    family for further labels.
    """
    turn = board.turn + 1
    before, area = _Area(board, turn - 1), _Area(board, turn)
    area.take(before)
    _add_all(area.metrics, _copy_of(slot))
    area.included[slot.number] = slot.generation
    before.release()
    area.release()
    board.turn = turn


def _copy_of(slot: Slot) -> SeriesCopy:
    metrics = SeriesMemory(slot.metrics_memory())
    copy = metrics.copy()
    metrics.release()
    return copy


class _Area:
    """The totals of one turn: the generations of slots that they include, and series."""

    def __init__(self, board: Board, turn: int) -> None:
        area = board.totals_area(turn)
        self.included = area[: len(board.slots)]
        self.metrics = SeriesMemory(area[len(board.slots) :])
        area.release()

    def take(self, other: _Area) -> None:
        """Become a copy of another area."""
        self.included[:] = other.included
        self.metrics.take(other.metrics)

    def release(self) -> None:
        """Let go of the memory."""
        self.metrics.release()
        self.included.release()


def _add_all(totals: SeriesMemory, ended: SeriesCopy) -> None:
    index = _Index(totals)
    families: dict[int, _Total | None] = {}
    for entry in ended.entries():
        if entry.kind == FAMILY:
            families[entry.start] = index.family(entry)
            continue
        family = families.get(entry.family)
        if family is not None and len(entry.values) == family.size and entry.values[CREATED]:
            _add(totals, index.series(family, entry), entry.values)


def _add(totals: SeriesMemory, at: int | None, values: list[float]) -> None:
    if at is None:
        _warn()
        return
    words = totals.words
    before, created = words[at + CREATED], values[CREATED]
    words[at + CREATED] = min(before, created) if before else created
    for word, value in enumerate(values[CREATED + 1 :], at + CREATED + 1):
        words[word] += value


class _Total:
    """A family in the totals: the word of its entry, and its number of numbers."""

    def __init__(self, start: int, size: int) -> None:
        self.start = start
        self.size = size


class _Index:
    """Where the families and series of the totals are."""

    def __init__(self, totals: SeriesMemory) -> None:
        self._totals = totals
        self._families: dict[bytes, _Total] = {}
        self._series: dict[tuple[int, int, bytes], int] = {}
        for entry in totals.copy().entries():
            if entry.kind == FAMILY:
                definition, _ = split_family(entry.text)
                self._note(entry, definition, Definition.decode(definition))
            else:
                self._series[entry.family, entry.kind, entry.text] = entry.at

    def _note(self, entry: Entry, text: bytes, definition: Definition | None) -> _Total | None:
        if definition is None:
            return None
        total = self._families[text] = _Total(entry.start, definition.size)
        return total

    def family(self, entry: Entry) -> _Total | None:
        """Return the family of the same definition; None for a gauge, or without room.

        None as well if its definition can't be understood.
        """
        text, _ = split_family(entry.text)
        known = self._families.get(text)
        if known is not None:
            return known
        definition = Definition.decode(text)
        if definition is None or definition.kind == GAUGE:
            return None
        added = self._totals.add(FAMILY, 0, entry.text, entry.values)
        if added is None:
            _warn()
            return None
        total = self._note(added, text, definition)
        if total is not None:
            self._add_series(total, OVERFLOW, b"")  # while there is room
        return total

    def series(self, family: _Total, entry: Entry) -> int | None:
        """Return the word of the numbers to which those of `entry` are added."""
        key = (family.start, entry.kind, entry.text)
        at = self._series.get(key) or self._add_series(family, entry.kind, entry.text)
        if at is None:
            _warn()
            at = self._series.get((family.start, OVERFLOW, b""))
        return at

    def _add_series(self, family: _Total, kind: int, text: bytes) -> int | None:
        size = len(self._totals.words)
        if kind == SERIES and self._totals.end > size - size // _RESERVED:
            return None
        added = self._totals.add(kind, family.start, text, [0.0] * family.size)
        if added is None:
            return None
        self._series[family.start, kind, text] = added.at
        return added.at


def _warn() -> None:
    global _has_warned
    if not _has_warned:
        _has_warned = True
        say(
            "metrics: the totals of workers that have ended have no room for more series: further "
            'ones count in the series otel_metric_overflow="true" of their metric',
            sys.stderr,
        )
