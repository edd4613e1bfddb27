"""Workers that die, hang, or do not start, and signals at a bad time: the service goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from support.load import Clients
from support.processes import Program, get
from support.supervising import (
    HANGING,
    children,
    first_workers,
    is_alive,
    supervised,
    until,
    workers_that_answer,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="of /proc")

APP = """
import asyncio, os, subprocess, sys
from microweb import App

app = App()

LISTS = '''
import os
for number in sorted(os.listdir("/proc/self/fd")):
    try:
        print(os.readlink("/proc/self/fd/" + number))
    except OSError:
        pass
'''

@app.get("/")
async def index() -> str:
    return f"{os.getpid()}"

@app.get("/slow")
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slow"

@app.get("/child")
def child() -> str:
    command = [sys.executable, "-c", LISTS]
    return subprocess.run(command, close_fds=False, capture_output=True, text=True).stdout

@app.get("/orphan")
def orphan() -> str:
    subprocess.run("sleep 0.5 &", shell=True)
    return ""

@app.get("/siblings")
def siblings() -> str:
    with open("/proc/1/task/1/children") as children:
        return children.read()

@app.get("/environment")
async def environment() -> str:
    return " ".join(os.environ)
"""
APP += HANGING
APP += """
# LIFE

if __name__ == "__main__":
    app.run(port=0, workers=2, grace_s=3)
"""

FAILS = """
@app.lifespan
async def life(app):
    raise RuntimeError("no database")
    yield
"""

EXITS = """
if "MICROWEB_WORKER" in os.environ:
    sys.exit(0)
"""

SLOW_START = """
@app.lifespan
async def life(app):
    await asyncio.sleep(600)
    yield
"""


CLEANS_UP = """
@app.lifespan
async def life(app):
    try:
        print("begins", flush=True)
        await asyncio.sleep(600)
        yield
    finally:
        await asyncio.sleep(0.5)
        print("left", flush=True)
"""

FAILS_ONCE = """
import os, sys
if os.path.exists("fails"):
    os.remove("fails")
    sys.exit(1)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(APP)
    return path


def change(script: Path, *, options: str = "", life: str = "", before: str = "") -> None:
    """Write the program with other options of `run`, a lifespan, or code before all."""
    text = APP.replace("# LIFE", life)
    if options:
        text = text.replace("workers=2, grace_s=3", options)
    script.write_text(before + text)


def asked(url: str, path: str) -> threading.Thread:
    """Ask for a path in a thread, whatever the answer is."""

    def ask() -> None:
        with contextlib.suppress(OSError):
            get(url, path)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


# --- workers that hang


@pytest.mark.parametrize("path", ["/sleep", "/regex"])
def test_one_of_two_that_hangs_is_replaced(script: Path, path: str) -> None:
    change(script, options="workers=2, grace_s=3, worker_stall_s=2")
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)
        asking = asked(url, path)
        program.out.wait_for("hangs")  # before, it may accept a connection of these
        for _ in range(40):
            assert get(url)[0] == 200
        program.err.wait_for(f"in {path[1:]}")
        program.err.wait_for("is ready")
        assert len(workers_that_answer(url, 2) - before) == 1
        asking.join()
        program.stop()


@pytest.mark.parametrize("count", [1, 2])
def test_all_that_hang_are_replaced(script: Path, count: int) -> None:
    options = f"workers={count}, supervised=True, grace_s=3, worker_stall_s=1"
    change(script, options=options)
    with supervised(script) as (program, url):
        before = workers_that_answer(url, count)
        asking = []
        for _ in range(count):  # a worker that hangs accepts no other connection
            asking.append(asked(url, "/sleep"))
            program.out.wait_for("hangs")
        for _ in range(count):
            program.err.wait_for("its event loop stands still for 1 s")
        for each in asking:
            each.join()
        assert len(workers_that_answer(url, count) - before) == count
        program.stop()


def test_stopped_and_continued_service_replaces_no_worker(script: Path) -> None:
    change(script, options="workers=2, grace_s=3, worker_stall_s=1")
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)
        for pause_s in (1.2, 3.5):
            os.killpg(program.process.pid, signal.SIGSTOP)
            time.sleep(pause_s)
            os.killpg(program.process.pid, signal.SIGCONT)
            assert workers_that_answer(url, 2) == before
            time.sleep(2.5)  # longer than a worker may stand still
        assert workers_that_answer(url, 2) == before
        program.stop()
        assert program.err.rest() == ""


# --- workers that die


async def test_workers_that_are_killed_again_and_again(script: Path) -> None:
    with supervised(script) as (program, url):
        load = Clients(url, keeps=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(8))
            for _ in range(3):
                dead = await asyncio.to_thread(children, program)
                os.kill(dead[0], signal.SIGKILL)
                await asyncio.to_thread(program.err.wait_for, f"worker {dead[0]} was killed by")
                await asyncio.to_thread(program.err.wait_for, "is ready")
            load.stop()
        assert load.answered
        assert len(load.failed) <= 3 * 8
        assert not any("connect" in each for each in load.failed)
        program.stop()


def test_worker_that_dies_after_it_was_replaced(script: Path) -> None:
    change(script, options="workers=1, supervised=True, grace_s=9")
    with supervised(script) as (program, url):
        (old,) = workers_that_answer(url, 1)
        asking = asked(url, "/slow?seconds=60")
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("reload complete")
        os.kill(old, signal.SIGSEGV)
        program.err.wait_for(f"worker {old} was killed by SIGSEGV while it stopped")
        asking.join()
        assert workers_that_answer(url, 1) != {old}
        program.stop()


def test_old_worker_that_does_not_finish_is_killed(script: Path) -> None:
    change(script, options="workers=1, supervised=True, grace_s=0")
    with supervised(script) as (program, url):
        (old,) = workers_that_answer(url, 1)
        asking = asked(url, "/sleep")
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("reload complete")
        program.err.wait_for(f"worker {old} did not end within grace_s=0: it is killed")
        until(lambda: not is_alive(old))
        asking.join()
        program.stop()


def test_all_workers_that_crash_end_the_service(script: Path) -> None:
    quick = "import microweb.server.supervisor as s; s.HOPELESS_S = 0.5\n"
    change(script, before=quick)
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)
        change(script, before=quick, life=FAILS)
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        program.err.wait_for("no worker became ready for 0.5 s, all crashed: the service stops")
        program.ends(4)


# --- workers that do not start


@pytest.mark.parametrize(
    ("options", "life", "said"),
    [
        ("", FAILS, "RuntimeError: no database"),
        ("", EXITS, "exited with status 0 before it was ready: the service stops"),
        ("workers=2, worker_start_s=0.5", SLOW_START, "it is not ready after 0.5 s"),
    ],
    ids=["lifespan", "exit", "slow"],
)
def test_first_start_that_fails(script: Path, options: str, life: str, said: str) -> None:
    change(script, options=options, life=life)
    with Program(script) as program:
        program.err.wait_for(said)
        program.ends(3)


@pytest.mark.parametrize(
    ("options", "life", "said"),
    [
        ("", FAILS, "RuntimeError: no database"),
        ("", EXITS, "exited with status 0 before it was ready: the old ones go on"),
        ("workers=2, worker_start_s=6", SLOW_START, "it is not ready after 6 s"),
    ],
    ids=["lifespan", "exit", "slow"],
)
def test_reload_that_fails(script: Path, options: str, life: str, said: str) -> None:
    change(script, options=options)
    with supervised(script) as (program, url):
        before = workers_that_answer(url, 2)
        change(script, options=options, life=life)
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for(said)
        if "go on" not in said:
            program.err.wait_for("the old ones go on")
        assert workers_that_answer(url, 2) == before
        program.stop()


def test_directory_that_is_gone_leaves_the_old_workers(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    with supervised("app.py", cwd=folder) as (program, url):
        before = workers_that_answer(url, 2)
        folder.rename(tmp_path / "moved")
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("reload failed: a worker can't be started: ")
        assert workers_that_answer(url, 2) == before
        dead = min(before)
        os.kill(dead, signal.SIGKILL)
        program.err.wait_for("a worker can't be started")
        (tmp_path / "moved").rename(folder)
        program.err.wait_for("is ready")
        assert dead not in workers_that_answer(url, 2)
        program.stop()


# --- signals at a bad time


def test_signals_while_the_service_starts(script: Path) -> None:
    change(script, before="import time; time.sleep(0.5)\n")
    with Program("-m", "microweb", "run", script, "--workers", "2", "--port", "0") as program:
        first = first_workers(program, 2)
        for number in (signal.SIGQUIT, signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU):
            program.process.send_signal(number)
        program.urls()
        program.err.wait_for("reload complete")
        until(lambda: set(first).isdisjoint(children(program)))  # the old workers end
        program.stop()
        assert "before it was ready" not in program.err.rest()


def test_stop_while_the_service_starts(script: Path) -> None:
    change(script, before="import time; time.sleep(600)\n", options="workers=2, grace_s=30")
    with Program("-m", "microweb", "run", script, "--workers", "2", "--port", "0") as program:
        first = first_workers(program, 2)
        program.stop()
        assert not any(map(is_alive, first))
        assert program.err.rest() == ""


@pytest.mark.parametrize("is_whole_group", [False, True])
def test_stop_leaves_a_lifespan_that_starts(script: Path, *, is_whole_group: bool) -> None:
    change(script, life=CLEANS_UP, options="workers=1, supervised=True")
    with Program("-u", script, is_session=True) as program:
        program.out.wait_for("begins")
        if is_whole_group:  # as systemd does
            os.killpg(program.process.pid, signal.SIGTERM)
            program.ends(0)
        else:
            program.stop()
        assert program.out.rest().count("left") == 1
        assert program.err.rest() == ""


def test_signal_to_a_worker_that_starts_leaves_its_lifespan(script: Path) -> None:
    change(script, life=CLEANS_UP, options="workers=1, supervised=True")
    with Program("-u", script) as program:
        program.out.wait_for("begins")
        (first,) = children(program)
        os.kill(first, signal.SIGTERM)
        program.out.wait_for("left")
        expected = "got SIGTERM and exited with status 0 before it was ready: a new one starts"
        program.err.wait_for(f"worker {first} {expected}")
        program.out.wait_for("begins")
        program.stop()  # the end of a worker that was asked to end is no failed start
        assert program.out.rest().count("left") == 2


def test_worker_less_while_it_starts_leaves_its_lifespan(script: Path) -> None:
    change(script, life=CLEANS_UP, options="workers=2")
    with Program("-u", script) as program:
        for _ in range(2):
            program.out.wait_for("begins")
        program.process.send_signal(signal.SIGTTOU)
        program.err.wait_for("SIGTTOU: 1 workers")
        program.stop()  # also while the first one cleans up
        assert program.out.rest().count("left") == 2
        assert "exited" not in program.err.rest()


def test_signal_to_a_worker_holds_until_it_is_replaced(script: Path) -> None:
    change(script, before=FAILS_ONCE)
    with supervised(script, cwd=script.parent) as (program, url):
        old = min(workers_that_answer(url, 2))
        (script.parent / "fails").touch()
        os.kill(old, signal.SIGTERM)
        program.err.wait_for("the old one goes on, the next attempt is in 0 s")
        program.err.wait_for(f"worker {old} is replaced by")
        until(lambda: not is_alive(old))
        program.stop()


def test_stop_during_a_reload(script: Path) -> None:
    with supervised(script) as (program, _):
        change(script, before="import time; time.sleep(600)\n")
        program.process.send_signal(signal.SIGHUP)
        program.err.wait_for("reload: replacing 2 workers")
        until(lambda: len(children(program)) == 3)
        program.process.send_signal(signal.SIGHUP)
        program.stop()
        assert program.err.rest().count("\n") <= 1


def test_reload_during_a_reload_and_a_stop(script: Path) -> None:
    with supervised(script) as (program, url):
        asking = asked(url, "/slow?seconds=1.5")
        for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU):
            program.process.send_signal(number)
            time.sleep(0.05)  # another state of the reload each time
        program.err.wait_for("reload complete")
        program.err.wait_for("reload complete")
        assert len(workers_that_answer(url, 2)) == 2
        asking.join()
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGHUP)
        program.ends(0)


def test_interrupt_of_the_terminal_is_one_line(script: Path) -> None:
    with supervised(script) as (program, url):
        workers_that_answer(url, 2)
        os.killpg(program.process.pid, signal.SIGINT)
        program.ends(0)
        assert program.out.rest().count("stopping") == 1
        assert program.err.rest() == ""


# --- the processes


def test_supervisor_has_one_thread_and_no_application(script: Path) -> None:
    script.write_text("import os; open(f'imported.{os.getpid()}', 'w')\n" + APP)
    run = ("-m", "microweb", "run", script, "--workers", "2", "--port", "0")
    with supervised(*run, cwd=script.parent) as (program, url):
        workers = workers_that_answer(url, 2)
        importers = {int(path.suffix[1:]) for path in script.parent.glob("imported.*")}
        assert importers == workers
        assert len(os.listdir(f"/proc/{program.process.pid}/task")) == 1
        assert "eventpoll" not in targets(program)
        program.stop()


def targets(program: Program) -> str:
    """Return the files of all descriptors of a program."""
    folder = Path(f"/proc/{program.process.pid}/fd")
    return " ".join(os.readlink(each) for each in folder.iterdir())


def test_program_that_a_worker_starts_inherits_nothing(script: Path) -> None:
    with supervised(script) as (program, url):
        inherited = get(url, "/child")[1]
        assert "socket:" not in inherited and "memfd" not in inherited
        assert "MICROWEB_WORKER" not in get(url, "/environment")[1]
        program.stop()


def test_reloads_leave_nothing_in_the_supervisor(script: Path) -> None:
    change(script, options="workers=1, supervised=True, grace_s=3")
    with supervised(script) as (program, _):
        before = None
        for _ in range(3):
            program.process.send_signal(signal.SIGHUP)
            program.err.wait_for("reload complete")
            until(lambda: len(children(program)) == 1)
            before = before or len(targets(program).split())
        until(lambda: len(targets(program).split()) <= (before or 0))
        program.stop()


async def test_limit_of_requests_replaces_workers_and_loses_none(script: Path) -> None:
    change(script, options="workers=2, grace_s=3, max_requests=200")
    with supervised(script) as (program, url):
        load = Clients(url, keeps=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run(8))
            for _ in range(2):
                line = await asyncio.to_thread(program.err.wait_for, "is replaced by")
                assert re.search(r"worker \d+ is replaced by \d+", line)
            load.stop()
        assert load.failed == []
        program.stop()
        assert "max_requests=200" in program.err.rest()
        assert "reload complete" not in program.err.rest()


@pytest.mark.skipif(os.getuid() != 0, reason="of a new PID namespace")
def test_first_process_reaps_orphans(script: Path) -> None:
    change(script, options="workers=1, supervised=True, grace_s=3")
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, str(script)]
    with Program("-c", f"import os; os.execvp('unshare', {unshare})") as program:
        (url, *_) = program.urls()
        get(url, "/orphan")
        assert len(get(url, "/siblings")[1].split()) == 2
        until(lambda: len(get(url, "/siblings")[1].split()) == 1)
        (first,) = children(program)
        os.kill(first, signal.SIGTERM)
        program.ends(0)
        assert program.err.rest() == ""
