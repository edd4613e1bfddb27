"""SIGTERM with `drain_delay_s`: not ready immediately, and served until the delay is over."""

from __future__ import annotations

import http.client
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, Program, connect, get

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and workers")

SOURCE = """
import os, time
from microweb import App
from microweb.middleware.health import Health

app = App()
app.use(Health())

@app.get("/")
async def index() -> str:
    return f"{os.getpid()}"

@app.on_startup
async def start() -> None:
    print("starting", flush=True)
    START

if __name__ == "__main__":
    app.run(port=0, log="text", OPTIONS)
"""
DELAY_S = 4.0
LONG_S = 600.0


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., Path]:
    def write(workers: int, drain_delay_s: float, start: str = "pass") -> Path:
        path = tmp_path / "app.py"
        options = f"workers={workers}, drain_delay_s={drain_delay_s}"
        path.write_text(SOURCE.replace("OPTIONS", options).replace("START", start))
        return path

    return write


Started = tuple[Program, str, dict[str, http.client.HTTPConnection]]


@contextmanager
def started(script: Path, workers: int) -> Iterator[Started]:
    """Yield a server, its URL, and a connection to each worker by its process."""
    with Program(script) as program:
        url = program.urls()[0]
        with connections_to(url, workers) as kept:
            yield program, url, kept


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read().decode()


@contextmanager
def connections_to(url: str, workers: int) -> Iterator[dict[str, http.client.HTTPConnection]]:
    """Yield an open connection to each worker, by its process."""
    found: dict[str, http.client.HTTPConnection] = {}
    ends_at = time.monotonic() + DEADLINE_S
    with ExitStack() as stack:
        while len(found) < workers:
            assert time.monotonic() < ends_at
            connection = stack.enter_context(closing(connect(url)))
            status, worker = ask(connection, "/")
            assert status == 200
            found.setdefault(worker, connection)
        yield found


def until_not_ready(connection: http.client.HTTPConnection) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while ask(connection, "/readyz") != (503, '{"status":"draining"}'):
        assert time.monotonic() < ends_at


def until_gone(worker: int) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends_at:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError(f"worker {worker} still runs")


@pytest.mark.parametrize("workers", [1, 2])
def test_requests_are_served_while_the_server_is_not_ready(
    script: Callable[..., Path], workers: int
) -> None:
    with started(script(workers, DELAY_S), workers) as (program, url, kept):
        for connection in kept.values():
            assert ask(connection, "/readyz")[0] == 200

        begun = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        for connection in kept.values():
            until_not_ready(connection)

        answered = 0
        while time.monotonic() - begun < DELAY_S * 0.7:
            for worker, connection in kept.items():
                assert ask(connection, "/") == (200, worker)
                assert ask(connection, "/readyz")[0] == 503
                assert ask(connection, "/livez")[0] == 200
            assert get(url)[0] == 200
            assert get(url, "/readyz")[0] == 503
            answered += 1
        assert answered
        program.ends(0)
        assert time.monotonic() - begun >= DELAY_S
        log = program.err.rest()
        assert "GET / 200" in log
        assert "readyz" not in log and "livez" not in log


@pytest.mark.parametrize("workers", [1, 2])
def test_second_signal_leaves_immediately(script: Callable[..., Path], workers: int) -> None:
    with started(script(workers, LONG_S), workers) as (program, _, kept):
        program.process.send_signal(signal.SIGTERM)
        until_not_ready(min(kept.items())[1])
        program.stop(signal.SIGTERM, status=128 + signal.SIGTERM)


@pytest.mark.parametrize("workers", [1, 2])
def test_startup_is_not_delayed(script: Callable[..., Path], workers: int) -> None:
    with Program(script(workers, LONG_S, "import asyncio; await asyncio.sleep(600)")) as program:
        program.out.wait_for("starting")
        program.stop()


def test_ctrl_c_says_how_long_the_server_goes_on(script: Callable[..., Path]) -> None:
    with Program(script(1, 0.1)) as program:
        program.urls()
        program.process.send_signal(signal.SIGINT)
        program.out.wait_for("stopping in 0.1 s: requests are still answered")
        program.ends(0)


def test_worker_that_replaces_another_during_the_delay_is_not_ready(
    script: Callable[..., Path],
) -> None:
    with started(script(2, LONG_S), 2) as (program, url, kept):
        program.process.send_signal(signal.SIGTERM)
        for connection in kept.values():
            until_not_ready(connection)
        os.kill(int(min(kept)), signal.SIGKILL)
        new = re.findall(r"worker (\d+) is ready", program.err.wait_for("is ready"))
        with connections_to(url, 2) as fresh:
            assert ask(fresh[new[0]], "/readyz")[0] == 503
        program.stop(status=128 + signal.SIGTERM)


def test_reload_that_is_asked_for_during_the_delay_does_not_begin(
    script: Callable[..., Path],
) -> None:
    with started(script(2, DELAY_S), 2) as (program, _, kept):
        program.process.send_signal(signal.SIGTERM)
        for connection in kept.values():
            until_not_ready(connection)
        program.process.send_signal(signal.SIGHUP)
        program.ends(0)
        assert "reload" not in program.err.rest()


def test_workers_stop_if_the_supervisor_is_killed_during_the_delay(
    script: Callable[..., Path],
) -> None:
    with started(script(2, LONG_S), 2) as (program, _, kept):
        program.process.send_signal(signal.SIGTERM)
        for connection in kept.values():
            until_not_ready(connection)
        program.process.kill()
        for worker in kept:
            until_gone(int(worker))
