"""The servers that these benchmarks start: microweb on both event loops, and its peers."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.processes import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent
START_S = 30.0
STOP_S = 40.0

Command = Callable[[str, int, int], list[str]]  # of a directory of programs, a port, workers


def _own(loop: str, *options: str) -> Command:
    return lambda programs, port, workers: [
        *(sys.executable, "-m", "microweb", "run", f"{HERE}/apps/own.py:app"),
        *("--port", str(port), "--workers", str(workers), "--loop", loop, *options),
    ]


SERVERS: dict[str, Command] = {
    "microweb-uvloop": _own("uvloop", "--supervised"),
    "microweb-asyncio": _own("asyncio", "--supervised"),
    "alone-uvloop": _own("uvloop"),
    "alone-asyncio": _own("asyncio"),
    "uvicorn": lambda programs, port, workers: [
        *(f"{programs}/uvicorn", "peers:asgi", "--log-level", "warning", "--no-access-log"),
        *("--port", str(port), "--workers", str(workers)),
    ],
    "gunicorn-gthread": lambda programs, port, workers: [
        *(f"{programs}/gunicorn", "peers:wsgi", "-k", "gthread", "--threads", "8"),
        *("-b", f"127.0.0.1:{port}", "-w", str(workers), "--log-level", "warning"),
    ],
    "gunicorn-asgi": lambda programs, port, workers: [
        *(f"{programs}/gunicorn", "peers:asgi", "-k", "asgi"),
        *("-b", f"127.0.0.1:{port}", "-w", str(workers), "--log-level", "warning"),
    ],
    "granian": lambda programs, port, workers: [
        *(f"{programs}/granian", "peers:asgi", "--interface", "asgi", "--log-level", "warning"),
        *("--port", str(port), "--workers", str(workers)),
    ],
    "hypercorn": lambda programs, port, workers: [
        *(f"{programs}/hypercorn", "peers:asgi", "-k", "uvloop", "--log-level", "WARNING"),
        *("-b", f"127.0.0.1:{port}", "-w", str(workers)),
    ],
}


def _uvicorn(app: str) -> Command:
    return lambda programs, port, workers: [
        *(f"{programs}/uvicorn", f"{app}:app", "--loop", "uvloop", "--http", "httptools"),
        *("--port", str(port), "--log-level", "warning", "--no-access-log"),
    ]


# Each in one process, without an access log.
ORDERS: dict[str, Command] = {
    "orders-microweb": lambda programs, port, workers: [
        *(sys.executable, "-m", "microweb", "run", f"{HERE}/apps/orders_microweb.py:app"),
        *("--port", str(port), "--loop", "uvloop", "--log", "off"),
    ],
    "orders-falcon": _uvicorn("orders_falcon"),
    "orders-litestar": _uvicorn("orders_litestar"),
    "orders-blacksheep": _uvicorn("orders_blacksheep"),
    "orders-fastapi": _uvicorn("orders_fastapi"),
    "orders-sanic": lambda programs, port, workers: [
        *(f"{programs}/python", "orders_sanic.py", str(port)),
    ],
    "orders-robyn": lambda programs, port, workers: [
        *(f"{programs}/python", "orders_robyn.py", str(port)),
    ],
}

# An ASGI application in one process on uvloop, without an access log.
ASGI: dict[str, Callable[[str], Command]] = {
    "microweb": lambda app: (
        lambda programs, port, workers: [
            *(f"{programs}/python", "-m", "microweb", "run", f"{app}:app", "--interface", "asgi"),
            *("--port", str(port), "--loop", "uvloop", "--log", "off"),
        ]
    ),
    "uvicorn": _uvicorn,
    "granian": lambda app: (
        lambda programs, port, workers: [
            *(f"{programs}/granian", f"{app}:app", "--interface", "asgi", "--log-level", "warning"),
            *("--port", str(port), "--workers", "1", "--loop", "uvloop", "--http", "1"),
        ]
    ),
    "hypercorn": lambda app: (
        lambda programs, port, workers: [
            *(f"{programs}/hypercorn", f"{app}:app", "-k", "uvloop", "--log-level", "WARNING"),
            *("-b", f"127.0.0.1:{port}", "-w", "1", "--backlog", "4096"),
        ]
    ),
}
ASGI_APPS = ("raw", "starlette", "fastapi")
ASGI_SERVERS = {
    f"{server}-{app}": command(f"asgi_{app}")
    for server, command in ASGI.items()
    for app in ASGI_APPS
}


# microweb alone, with more connections than its default allows.
FAN_OUT: dict[str, Command] = {
    "fan-out": lambda programs, port, workers: [
        *(sys.executable, "-m", "microweb", "run", f"{HERE}/apps/fan_out.py:app"),
        *("--port", str(port), "--loop", "uvloop", "--log", "off", "--max-connections", "20000"),
    ],
}


class Site(NamedTuple):
    """A server of `python -m benchmarks`: its command, its packages and its workloads."""

    command: Command
    packages: tuple[str, ...]  # to import
    distributions: tuple[str, ...]  # the same as they are installed
    workloads: frozenset[str]


SHORT = frozenset(("close", "notfound", "varied", "echo", "json"))
_RAW = SHORT | {"small", "sse100", "stream"}
_OF_PYTHON = ("uvicorn", "httptools", "uvloop")
_GRANIAN = ("granian", "uvloop")
_STARLETTE = ("starlette", "itsdangerous", "jinja2")


# Each in one process, without an access log.
def _microweb(loop: str) -> Site:
    return Site(
        lambda programs, port, workers: [
            *(sys.executable, "-m", "microweb", "run", f"{HERE}/apps/site_microweb.py:app"),
            *("--port", str(port), "--loop", loop, "--log", "off"),
        ],
        (),
        (),
        _RAW | {"real", "session_read", "session_write", "typed", "multipart", "page"},
    )


SITES: dict[str, Site] = {
    "microweb": _microweb("uvloop"),
    "microweb-asyncio": _microweb("asyncio"),
    "streams": Site(
        lambda programs, port, workers: [f"{programs}/python", "site_streams.py", str(port)],
        ("uvloop",),
        ("uvloop",),
        frozenset(("close", "varied", "json")),
    ),
    "granian": Site(ASGI["granian"]("site_raw"), _GRANIAN, _GRANIAN, _RAW),
    "uvicorn": Site(_uvicorn("site_raw"), _OF_PYTHON, _OF_PYTHON, _RAW),
    "Starlette": Site(
        _uvicorn("site_starlette"),
        (*_OF_PYTHON, *_STARLETTE, "python_multipart"),
        (*_OF_PYTHON, *_STARLETTE, "python-multipart"),
        _RAW | {"real", "session_read", "session_write", "multipart", "page"},
    ),
    "FastAPI": Site(
        _uvicorn("site_fastapi"),
        (*_OF_PYTHON, "fastapi"),
        (*_OF_PYTHON, "fastapi"),
        SHORT | {"typed"},
    ),
    "Sanic": Site(
        lambda programs, port, workers: [f"{programs}/python", "site_sanic.py", str(port)],
        ("sanic",),
        ("sanic",),
        SHORT | {"stream"},
    ),
    "Robyn": Site(
        lambda programs, port, workers: [f"{programs}/python", "site_robyn.py", str(port)],
        ("robyn",),
        ("robyn",),
        SHORT,
    ),
}
_SITE_COMMANDS = {f"site-{name}": site.command for name, site in SITES.items()}


def _overloaded(*options: str) -> Command:
    return lambda programs, port, workers: [
        *(sys.executable, "-m", "microweb", "run", f"{HERE}/apps/overloaded.py:app"),
        *("--port", str(port), "--loop", "uvloop", "--log", "off", *options),
    ]


OVERLOADED = {
    "none": _overloaded(),
    "no queue": _overloaded("--max-concurrent", "4", "--max-queued", "0"),
    "queue": _overloaded(
        *("--max-concurrent", "4", "--max-queued", "30", "--queue-timeout-s", "0.3")
    ),
}


def _observed(middleware: str, log: str) -> Command:
    return lambda programs, port, workers: [
        *("env", f"OBSERVED={middleware}", sys.executable, "-m", "microweb", "run"),
        *(f"{HERE}/apps/observed.py:app", "--port", str(port), "--loop", "uvloop", "--log", log),
    ]


# Log, metrics and traces, each alone.
OBSERVED = {
    "off": _observed("", "off"),
    "log text": _observed("", "text"),
    "log json": _observed("", "json"),
    "metrics": _observed("metrics", "off"),
    "tracing": _observed("tracing", "off"),
    "unsampled": _observed("unsampled", "off"),
}
_ALL = SERVERS | ORDERS | ASGI_SERVERS | FAN_OUT | OVERLOADED | OBSERVED | _SITE_COMMANDS


class Service:
    """A server in processes of its own."""

    def __init__(self, name: str, programs: str, *, port: int, workers: int = 2) -> None:
        self.name, self.port, self.workers = name, port, workers
        self._command = _ALL[name](programs, port, workers)
        self._log = tempfile.NamedTemporaryFile(prefix=f"{name}-", suffix=".log")  # noqa: SIM115
        self.start()

    @property
    def log(self) -> str:
        """The lines that the server has written."""
        return Path(self._log.name).read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The first process of the server."""
        return self._process.pid

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._seen = len(self.log)
        self._process = subprocess.Popen(
            self._command,
            cwd=HERE / "apps",
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that nothing of it is left behind
        )
        ends_at = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError(f"{self.name} does not answer:\n{self.log}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        if (
            "-m microweb" in " ".join(self._command)
            and "listening on" not in self.log[self._seen :]
        ):
            return False  # not all workers are ready
        try:
            return bool(ask(self.port))
        except (OSError, http.client.HTTPException):
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the first process."""
        self._process.send_signal(number)

    def stop(self) -> float:
        """Stop the server; return how many seconds that took."""
        begun = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        return time.monotonic() - begun

    def kill(self) -> None:
        """Kill all processes of the server."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def service(name: str, programs: str, *, workers: int = 2) -> Iterator[Service]:
    """Yield a running server; end it at the end."""
    running = Service(name, programs, port=free_port(), workers=workers)
    try:
        yield running
    finally:
        running.stop()
        running.kill()


def ask(port: int) -> str:
    """Return the body of `GET /`: the process that answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()
