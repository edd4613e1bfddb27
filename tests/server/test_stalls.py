"""Workers that stand still, and excuses for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.processes import get
from support.supervising import (
    SCRIPT,
    supervised,
    until,
    workers_that_answer,
)

from microweb.server.config import ServerConfig
from microweb.server.pool import WorkerPool
from microweb.server.stalls import TICK_S, StallWatch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")


def test_worker_whose_loop_stands_still_is_replaced(script: Path) -> None:
    script.write_text(SCRIPT.replace("grace_s=5", "worker_stall_s=1"))
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)

        with pytest.raises(ConnectionError):
            get(url, "/block?seconds=600")
        program.err.wait_for("its event loop stands still")
        program.err.wait_for("in block")
        program.err.wait_for("was killed by SIGKILL")
        program.err.wait_for("is ready")
        assert len(workers_that_answer(url, 2) - before) == 1
        program.stop()


def test_log_has_the_stacks_of_a_stall_also_if_a_survey_takes_them(pool: WorkerPool) -> None:
    worker = pool.start(pool.places[0])
    StallWatch(ServerConfig(worker_start_s=1)).check(worker, float("inf"))
    assert worker.stacks is not None and worker.stacks.is_for_log


def test_stall_counts_from_the_last_heartbeat(pool: WorkerPool) -> None:
    stalls = StallWatch(ServerConfig(worker_stall_s=30, worker_start_s=60))
    worker = pool.start(pool.places[0])
    assert stalls.deadline(worker) == worker.started_at + 60 + TICK_S
    worker.is_ready = True
    worker.slot.report(0, 0)
    assert stalls.deadline(worker) == worker.heartbeat() + 30 + TICK_S


def test_supervisor_that_woke_up_late_excuses_workers(pool: WorkerPool) -> None:
    stalls = StallWatch(ServerConfig(worker_stall_s=30))
    worker = pool.start(pool.places[0])
    before = stalls.deadline(worker)
    stalls.wake(1.9, before)
    assert stalls.deadline(worker) == before
    stalls.wake(2.1, before)
    assert stalls.deadline(worker) == before + 60 + TICK_S


def test_no_limit_no_stall(pool: WorkerPool) -> None:
    stalls = StallWatch(ServerConfig(worker_stall_s=0, worker_start_s=0))
    assert stalls.deadline(pool.start(pool.places[0])) == float("inf")


def test_worker_writes_its_stacks_before_it_is_killed(
    pool: WorkerPool, capsys: pytest.CaptureFixture[str]
) -> None:
    stalls = StallWatch(ServerConfig(worker_start_s=1))
    worker = pool.start(pool.places[0])
    late = stalls.deadline(worker)
    stalls.check(worker, late - 0.1)
    assert capsys.readouterr().err == ""
    stalls.check(worker, late)
    assert "it is not ready after 1 s: it writes its stacks" in capsys.readouterr().err
    assert worker.poll() is None  # it holds SIGQUIT until it can write its stacks
    stalls.check(worker, stalls.deadline(worker))
    until(lambda: worker.poll() is not None)
    assert str(worker.poll()) == "was killed by SIGKILL"
