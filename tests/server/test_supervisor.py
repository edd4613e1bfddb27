"""Workers in processes of their own: started, replaced, reloaded, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from support.load import Clients
from support.processes import Program, run_to_end
from support.supervising import (
    SCRIPT,
    is_alive,
    supervised,
    until,
    workers_that_answer,
)

from microweb.server.exits import NOT_STARTED

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")


def test_workers_serve_and_stop(script: Path) -> None:
    with supervised(script) as (program, url):
        workers = workers_that_answer(url, 2)
        assert program.process.pid not in workers
        program.stop()
        assert program.out.rest().count("behind run") == 0
        assert not any(map(is_alive, workers))
        assert program.err.rest() == ""


def test_code_behind_run_does_not_run_in_a_worker(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(SCRIPT.replace("workers=2", "workers=1, supervised=True"))
    with supervised(script) as (program, url):
        (worker,) = workers_that_answer(url, 1)
        os.kill(worker, signal.SIGTERM)
        program.err.wait_for(f"worker {worker} is replaced by")
        until(lambda: not is_alive(worker))
        assert workers_that_answer(url, 1) != {worker}
        program.stop()
        assert "behind run" not in program.out.rest()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_worker_that_dies_is_replaced(script: Path, number: signal.Signals) -> None:
    with supervised(script) as (program, url):
        dead = min(workers_that_answer(url, 2))
        os.kill(dead, number)
        program.err.wait_for(f"worker {dead} was killed by {number.name}")
        program.err.wait_for("is ready")
        assert dead not in workers_that_answer(url, 2)
        program.stop()


def test_first_worker_that_fails_ends_the_service(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(SCRIPT.replace("app = App()", "app = App()\n1 / 0"))
    ended = run_to_end(["-m", "microweb", "run", script, "--workers", "2", "--port", "0"], tmp_path)
    assert ended.returncode == NOT_STARTED == 3
    assert "ZeroDivisionError" in ended.stderr and "before it was ready" in ended.stderr


def test_stacks_of_all_workers_are_written(script: Path) -> None:
    with supervised(script) as (program, _):
        program.process.send_signal(signal.SIGQUIT)
        program.err.wait_for("most recent call first")
        program.stop()


def test_program_from_standard_input_is_refused(tmp_path: Path) -> None:
    with Program("-", cwd=tmp_path) as program:
        program.stdin.write(SCRIPT)
        program.stdin.close()
        program.ends(1)
        assert "standard input can't be started again" in program.err.rest()


@pytest.mark.skipif(sys.platform != "linux", reason="the balance of a shared socket")
async def test_connections_are_spread_over_the_workers(script: Path) -> None:
    with supervised(script) as (program, url):
        load = Clients(url, keeps=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(64))
            while load.answered < 2000:
                await asyncio.sleep(0.01)
            load.stop()
        program.stop()
        assert load.failed == []
        assert len(load.bodies) == 2
