"""Reloads, and workers that are replaced one at a time."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from support.load import Clients
from support.processes import get
from support.supervising import (
    SCRIPT,
    supervised,
    until,
    workers_that_answer,
)

from microweb.server.pool import WorkerPool
from microweb.server.replacements import Replacements

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")


async def test_reload_loses_no_request(script: Path) -> None:
    with supervised(script) as (program, url):
        loads = [
            Clients(url, keeps=True),
            Clients(url, keeps=False),
            Clients(url, keeps=True, pause_s=2.0),
        ]
        async with asyncio.TaskGroup() as tasks:
            for load, count in zip(loads, (8, 8, 50), strict=True):
                tasks.create_task(load.run(count))
            for _ in range(2):
                program.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(program.err.wait_for, "reload complete")
            for load in loads:
                load.stop()
        program.stop()
        assert [load.failed for load in loads] == [[], [], []]
        assert all(load.answered for load in loads)
        workers = {pid for load in loads for pid in load.bodies}
        assert len(workers) >= 4  # of six; the last may have answered none yet


async def test_many_signals_to_reload_lose_no_request(script: Path) -> None:
    with supervised(script) as (program, url):
        loads = [
            Clients(url, keeps=True, method="POST", pause_s=0.5),
            Clients(url, keeps=False),
        ]
        async with asyncio.TaskGroup() as tasks:
            for load, count in zip(loads, (30, 8), strict=True):
                tasks.create_task(load.run(count))
            for _ in range(10):
                program.process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.05)
            for _ in range(2):  # a signal during a reload starts one more at its end
                await asyncio.to_thread(program.err.wait_for, "reload complete")
            for load in loads:
                load.stop()
        program.stop()
        assert [load.failed for load in loads] == [[], []]
        assert all(load.answered for load in loads)


def test_signal_to_a_worker_keeps_the_others_serving(script: Path) -> None:
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)
        os.kill(min(before), signal.SIGTERM)
        program.err.wait_for(f"worker {min(before)} is replaced by")
        until(lambda: max(before) in workers_that_answer(url, 2))
        program.stop()


def test_reload_runs_new_code(script: Path) -> None:
    with supervised(script) as (program, url):
        script.write_text(SCRIPT.replace('f"{os.getpid()}"', '"new"'))
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("reload complete")
        until(lambda: get(url)[1] == "new")
        program.stop()


def test_code_that_fails_at_a_reload_leaves_the_old_workers(script: Path) -> None:
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)
        script.write_text("import nothing_of_this_name")
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("No module named 'nothing_of_this_name'")
        program.err.wait_for("the old ones go on")
        assert workers_that_answer(url, 2) == before
        script.write_text(SCRIPT)
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("reload complete")
        program.stop()


def test_reload_waits_for_the_first_start(pool: WorkerPool) -> None:
    replacements = Replacements(pool)
    replacements.request_reload()
    replacements.go_on(0.0)
    assert not replacements.is_reloading
    pool.has_started = True
    replacements.go_on(0.0)
    assert replacements.is_reloading and pool.places[0].next is not None


def test_worker_that_could_not_be_replaced_is_tried_later(
    pool: WorkerPool, capsys: pytest.CaptureFixture[str]
) -> None:
    (place,) = pool.places
    replacements = Replacements(pool)
    pool.start(place)
    replacements.request(place, "its limit", "limit")
    replacements.request(place, "its limit", "limit")  # it waits already
    replacements.go_on(0.0)
    assert place.next is not None
    replacements.fail(place, "no luck", now=10.0)
    replacements.fail(place, "no luck", now=10.0)
    assert place.starts_at == 10.5
    assert [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()] == [
        f"worker {pool.workers()[0].pid} is to be replaced: its limit",
        "no luck: the old one goes on, the next attempt is in 0 s",
        "no luck: the old one goes on, the next attempt is in 0.5 s",
    ]


def test_place_that_is_gone_ends_a_reload(
    pool: WorkerPool, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.has_started = True
    replacements = Replacements(pool)
    replacements.request_reload()
    replacements.go_on(0.0)
    replacements.end(pool.places[0])
    assert not replacements.is_reloading
    assert "reload complete" in capsys.readouterr().err
