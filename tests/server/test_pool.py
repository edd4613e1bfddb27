"""The workers of a service: slots, places, late ones."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support.supervising import (
    supervised,
    until,
    workers_that_answer,
)

from microweb.server.pool import WorkerPool

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")


def test_number_of_workers_changes_by_signals(script: Path) -> None:
    with supervised(script) as (program, url):
        program.process.send_signal(signal.SIGTTIN)
        program.err.wait_for("3 workers")
        assert len(workers_that_answer(url, 3)) == 3
        program.process.send_signal(signal.SIGTTOU)
        program.err.wait_for("2 workers")
        program.stop()


def test_last_place_stays(pool: WorkerPool, capsys: pytest.CaptureFixture[str]) -> None:
    assert pool.remove_place() is None
    assert len(pool.places) == 1
    assert "SIGTTOU: one worker stays" in capsys.readouterr().err


def test_there_are_places_for_a_reload_of_all(
    pool: WorkerPool, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        pool.add_place()
    assert "SIGTTIN: there is no room for more than 10 workers" in capsys.readouterr().err
    assert len(pool.places) == 10  # of 20 slots


def test_slot_is_free_once_its_worker_has_ended(pool: WorkerPool) -> None:
    (place,) = pool.places
    first, second = pool.start(place), pool.start(place, as_next=True)
    assert pool.workers() == [place.worker, place.next] == [first, second]
    assert (first.slot.number, second.slot.number) == (0, 1)
    first.kill()
    first.close()
    pool.remove(first)
    assert place.worker is None and pool.place_of(second) is place
    assert pool.start(place).slot.number == 0


def test_worker_that_retires_has_no_place(pool: WorkerPool) -> None:
    (place,) = pool.places
    old = pool.start(place)
    place.worker = None
    pool.retire(old)
    assert pool.draining == [old] and pool.place_of(old) is None
    until(lambda: old.poll() is not None)
    pool.remove(old)
    assert pool.workers() == []


def test_late_worker_is_killed(pool: WorkerPool, capsys: pytest.CaptureFixture[str]) -> None:
    worker = pool.start(pool.places[0])
    pool.kill_late(worker)
    until(lambda: worker.poll() is not None)
    assert str(worker.poll()) == "was killed by SIGKILL"
    expected = f"worker {worker.pid} did not end within grace_s=10: it is killed"
    assert expected in capsys.readouterr().err


def test_pool_without_a_ready_worker_does_not_serve(pool: WorkerPool) -> None:
    worker = pool.start(pool.places[0])
    worker.slot.report(0, 0)
    now = worker.heartbeat()
    assert not pool.has_serving() and not pool.is_turning(now)
    worker.is_ready = True
    assert pool.has_serving() and pool.is_turning(now)
    assert not pool.is_turning(now + 60)
