"""Metrics of the supervisor: replaced workers, states of workers, lines that it did not write.

They are words of the board, so that the supervisor needs nothing else of the metrics. A reader
gets them in the form of series.
"""

from __future__ import annotations

from .board import CAUSES, Board, WorkerState
from .metrics_series import (
    COUNTER,
    GAUGE,
    SERIES,
    WORD,
    Definition,
    SeriesCopy,
    SeriesMemory,
    encode_labels,
)

_BYTES = 4096
_RESTARTS = Definition("microweb_worker_restarts", COUNTER, ("cause",))
_WORKERS = Definition("microweb_workers", GAUGE, ("state",))
LINES_DROPPED = Definition("microweb_log_lines_dropped", COUNTER, ())
LINES_DROPPED_HELP = "Lines of the log that could not be written."
_STATES = (WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING)


def metrics_of_board(board: Board) -> SeriesCopy:
    """Return the metrics that the words of the board are."""
    memory = SeriesMemory(memoryview(bytearray(_BYTES)).cast("Q"))
    created = board.created_ns / 1e9
    states = [slot.state for slot in board.slots]
    restarts = {cause: board.restarts(cause) for cause in CAUSES}
    workers = {state.name.lower(): states.count(state) for state in _STATES}
    _add(memory, _RESTARTS, "Workers that were replaced, by cause.", restarts, created)
    _add(memory, _WORKERS, "Workers by state.", workers, created)
    family = memory.add_family(LINES_DROPPED.encode(), LINES_DROPPED_HELP, created)
    assert family is not None
    values = [created, float(board.lines_dropped)]
    memory.add(SERIES, family.start, encode_labels([]), values)
    return memory.copy()


def _add(
    memory: SeriesMemory, definition: Definition, help: str, values: dict[str, int], created: float
) -> None:
    family = memory.add_family(definition.encode(), help, created)
    assert family is not None and (len(values) + 1) * 16 * WORD < _BYTES
    for label, value in values.items():
        memory.add(SERIES, family.start, encode_labels([label]), [created, float(value)])
