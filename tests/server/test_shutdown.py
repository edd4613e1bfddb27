"""The end of a service with workers, under load and at bad times."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from support.load import Clients
from support.processes import connect
from support.supervising import (
    SCRIPT,
    is_alive,
    supervised,
    until,
    workers_that_answer,
)

from microweb.server.config import ServerConfig
from microweb.server.exits import FAILED, NOT_STARTED, STOPPED
from microweb.server.pool import WorkerPool
from microweb.server.shutdown import Shutdown
from microweb.server.systemd import Notifier

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")


@pytest.mark.skipif(sys.platform != "linux", reason="a packet filter of Linux")
@pytest.mark.parametrize("options", ["workers=2", "workers=1, supervised=True", "workers=1"])
async def test_stop_under_load_resets_no_connection(script: Path, options: str) -> None:
    script.write_text(SCRIPT.replace("workers=2", options))
    with supervised(script) as (program, url):
        load = Clients(url, keeps=False)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(30))
            while load.answered < 200:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(program.stop)
            load.stop()
        assert {failure.partition(":")[0] for failure in load.failed} <= {"connect"}
        assert not any("reset" in failure for failure in load.failed)


async def test_signal_to_all_processes_stops_them(script: Path) -> None:
    with supervised(script) as (program, url):
        workers = workers_that_answer(url, 2)
        load = Clients(url, keeps=False)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(8))
            while load.answered < 50:
                await asyncio.sleep(0.01)
            for pid in (*workers, program.process.pid):  # as systemd does
                os.kill(pid, signal.SIGTERM)
            await asyncio.to_thread(program.ends, 0)
            load.stop()
        assert {failure.partition(":")[0] for failure in load.failed} <= {"connect"}


def test_second_signal_leaves_at_once(script: Path) -> None:
    with supervised(script) as (program, url):
        connection = connect(url)
        connection.request("GET", "/block?seconds=600")
        program.process.send_signal(signal.SIGINT)
        program.out.wait_for("stopping")
        program.stop(signal.SIGTERM, status=128 + signal.SIGTERM)
        connection.close()


def test_workers_stop_when_the_supervisor_is_killed(script: Path) -> None:
    with supervised(script) as (program, url):
        workers = workers_that_answer(url, 2)
        program.process.kill()
        until(lambda: not any(map(is_alive, workers)))


def test_worker_that_does_not_end_in_time_is_a_failure(script: Path) -> None:
    script.write_text(SCRIPT.replace("grace_s=5", "grace_s=0"))
    with supervised(script) as (program, url):
        connection = connect(url)
        connection.request("GET", "/block?seconds=600")
        program.out.wait_for("blocks")
        program.stop(status=1)
        assert "did not end within grace_s=0: it is killed" in program.err.rest()
        connection.close()


def shutdown_of(pool: WorkerPool, **options: float) -> Shutdown:
    return Shutdown(ServerConfig(**options), pool, Notifier())  # type: ignore[arg-type]


def test_service_that_is_not_ready_stops_without_delay(pool: WorkerPool) -> None:
    shutdown = shutdown_of(pool, drain_delay_s=60)
    shutdown.drain(0.0)
    assert shutdown.is_begun and shutdown.is_stopping


def test_delay_comes_before_the_stop(pool: WorkerPool) -> None:
    pool.has_started = True
    shutdown = shutdown_of(pool, drain_delay_s=60)
    shutdown.drain(5.0)
    assert shutdown.is_begun and not shutdown.is_stopping
    assert shutdown.drains_until == 65.0


def test_first_signal_after_a_drain_moves_no_deadline(pool: WorkerPool) -> None:
    pool.has_started = True
    shutdown = shutdown_of(pool, drain_delay_s=60)
    shutdown.drain(5.0)
    shutdown.take_signal(50.0)
    assert shutdown.is_signalled and not shutdown.is_stopping
    assert shutdown.drains_until == 65.0


def test_first_signal_stops_a_service(pool: WorkerPool) -> None:
    shutdown = shutdown_of(pool)
    assert not shutdown.is_signalled
    shutdown.take_signal(5.0)
    assert shutdown.is_signalled and shutdown.is_stopping


def test_status_is_known_once_no_worker_is_left(pool: WorkerPool) -> None:
    worker = pool.start(pool.places[0])
    shutdown = shutdown_of(pool)
    shutdown.stop(NOT_STARTED, 0.0)
    shutdown.go_on(1.0)
    assert shutdown.status is None
    worker.close()
    pool.remove(worker)
    shutdown.go_on(2.0)
    assert shutdown.status == NOT_STARTED


def test_failure_counts_only_while_the_service_stops(pool: WorkerPool) -> None:
    shutdown = shutdown_of(pool)
    shutdown.note_failure()
    shutdown.stop(STOPPED, 0.0)
    shutdown.go_on(0.0)
    assert shutdown.status == STOPPED
    shutdown.note_failure()
    shutdown.go_on(0.0)
    assert shutdown.status == FAILED
