"""Workers in processes of their own: started, replaced, reloaded, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from support.load import Clients
from support.processes import Program, connect, get, run_to_end
from support.supervising import is_alive, supervised, until, workers_that_answer

from microweb.server import supervisor

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers inherit sockets")

APP = """
import os, sys, time
from microweb import App, Request

app = App()

@app.get("/")
async def index() -> str:
    return f"{os.getpid()}"

@app.post("/")
async def post(request: Request) -> str:
    return (await request.text()) and f"{os.getpid()}"

@app.get("/block")
async def block(seconds: float) -> str:
    time.sleep(seconds)
    return "unblocked"
"""
SCRIPT = (
    APP
    + """
if __name__ == "__main__":
    app.run(port=0, workers=2, grace_s=5)
    print("behind run")
"""
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(SCRIPT)
    return path


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


def test_signal_to_a_worker_keeps_the_others_serving(script: Path) -> None:
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)
        os.kill(min(before), signal.SIGTERM)
        program.err.wait_for(f"worker {min(before)} is replaced by")
        assert max(before) in workers_that_answer(url, 2)
        program.stop()


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


def test_first_worker_that_fails_ends_the_service(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(SCRIPT.replace("app = App()", "app = App()\n1 / 0"))
    ended = run_to_end(["-m", "microweb", "run", script, "--workers", "2", "--port", "0"], tmp_path)
    assert ended.returncode == supervisor.NOT_STARTED == 3
    assert "ZeroDivisionError" in ended.stderr and "before it was ready" in ended.stderr


def test_workers_stop_when_the_supervisor_is_killed(script: Path) -> None:
    with supervised(script) as (program, url):
        workers = workers_that_answer(url, 2)
        program.process.kill()
        until(lambda: not any(map(is_alive, workers)))


def test_number_of_workers_changes_by_signals(script: Path) -> None:
    with supervised(script) as (program, url):
        program.process.send_signal(signal.SIGTTIN)
        program.err.wait_for("3 workers")
        assert len(workers_that_answer(url, 3)) == 3
        program.process.send_signal(signal.SIGTTOU)
        program.err.wait_for("2 workers")
        program.stop()


def test_stacks_of_all_workers_are_written(script: Path) -> None:
    with supervised(script) as (program, _):
        program.process.send_signal(signal.SIGQUIT)
        program.err.wait_for("most recent call first")
        program.stop()


def test_second_signal_leaves_at_once(script: Path) -> None:
    with supervised(script) as (program, url):
        connection = connect(url)
        connection.request("GET", "/block?seconds=600")
        program.process.send_signal(signal.SIGINT)
        program.out.wait_for("stopping")
        program.stop(signal.SIGTERM, status=128 + signal.SIGTERM)
        connection.close()


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
