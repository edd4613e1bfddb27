from __future__ import annotations

import os
import time

import pytest

from microweb.server.board import CAUSES, Board, WorkerState
from microweb.server.metrics_board import metrics_of_board
from microweb.server.metrics_text import OPENMETRICS, FamilyOfAll, combine, write_text

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor")


def test_restarts_by_cause_workers_by_state_and_lines() -> None:
    board = Board.create(4)
    board.count_restart("signal")
    board.count_restart("reload")
    board.count_restart("reload")
    board.slots[0].state = board.slots[2].state = WorkerState.READY
    board.slots[1].state = WorkerState.DRAINING
    board.lines_dropped = 3
    families: dict[str, FamilyOfAll] = {}
    for _ in combine(families, None, [metrics_of_board(board)]):
        pass
    lines = "".join(write_text(families, OPENMETRICS)).splitlines()
    assert 'microweb_worker_restarts_total{cause="reload"} 2.0' in lines
    assert 'microweb_worker_restarts_total{cause="signal"} 1.0' in lines
    assert 'microweb_worker_restarts_total{cause="exit"} 0.0' in lines
    assert 'microweb_workers{state="ready"} 2.0' in lines
    assert 'microweb_workers{state="draining"} 1.0' in lines
    assert "microweb_log_lines_dropped_total 3.0" in lines
    assert sum("restarts_total" in line for line in lines) == len(CAUSES)
    (created,) = (
        line for line in lines if line.startswith('microweb_worker_restarts_created{cause="exit"}')
    )
    assert 0 <= time.time() - float(created.rpartition(" ")[2]) < 60
    board.close()
