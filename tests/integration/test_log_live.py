"""The log of a whole service: as `jq` reads it, without a reader, and set up again by the app."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.log_objects import LogObjects
from support.processes import DEADLINE_S, ENVIRONMENT, free_port, get
from support.supervising import pids_in, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor")

APP = """
import logging, os, warnings
from microweb import App
from microweb.middleware.metrics import Metrics

app = App()
app.use(Metrics("/metrics"))

@app.get("/")
async def index() -> str:
    return f"{os.getpid()}"

@app.get("/fail")
async def fail() -> str:
    raise ValueError("x" * 20_000)

@app.get("/warn")
async def warn() -> str:
    warnings.warn("a warning", stacklevel=1)
    return "warned"
"""


def command_of(script: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "microweb",
        "run",
        str(script),
        "--log",
        "json",
        *arguments,
    ]


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(DEADLINE_S)


def refused(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as client:
        client.sendall(b"GET\t/ \x1b\xff\r\n\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 400 ")


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_jq_reads_every_line_of_a_service(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(APP)
    service = subprocess.Popen(
        command_of(script, "--port", "0", "--workers", "2"),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert service.stdout is not None and service.stderr is not None
    arguments = ["jq", "--unbuffered", "--compact-output", "--exit-status", "."]
    with (
        service,
        service.stdout,
        subprocess.Popen(arguments, stdin=service.stdout, stdout=subprocess.PIPE) as jq,
    ):
        assert jq.stdout is not None
        objects = LogObjects(jq.stdout)
        with ended(service):
            listening = objects.message("listening on")["message"]
            url, pids = listening.split()[2], pids_in(listening)
            assert get(url)[0] == 200
            assert get(url, "/fail")[0] == 500
            assert get(url, "/warn") == (200, "warned")
            refused(url)
            for logger in ("access", "error", "protocol"):
                objects.of(f"microweb.{logger}")  # a worker that is killed loses waiting lines
            objects.of("py.warnings")
            os.kill(pids[0], signal.SIGKILL)
            objects.message(f"worker {pids[0]} was killed by SIGKILL")
            objects.message("is ready")
            service.send_signal(signal.SIGHUP)
            objects.message("reload complete")
        assert jq.wait(DEADLINE_S) == 0
        objects.join()
        assert service.stderr.read() == b""
    error = objects.of("microweb.error")
    assert error["http.route"] == "/fail" and len(error["exception.stacktrace"]) > 20_000


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_jq_reads_a_wrong_option(tmp_path: Path) -> None:
    failed = subprocess.run(
        command_of(tmp_path / "shop.py", "--workers", "0"),
        env=ENVIRONMENT,
        capture_output=True,
    )
    assert (failed.returncode, failed.stderr) == (2, b"")
    read = subprocess.run(["jq", "-e", ".message"], input=failed.stdout, capture_output=True)
    assert read.returncode == 0 and b"workers: expected" in read.stdout


@pytest.mark.parametrize("stdout", ["full disk", "pipe that nobody reads"])
def test_lines_that_are_lost_are_in_the_metrics(tmp_path: Path, stdout: str) -> None:
    script, port = tmp_path / "shop.py", free_port()
    script.write_text(APP)
    reading, writing = os.pipe()
    with open("/dev/full", "wb") as full:
        target = full.fileno() if stdout == "full disk" else writing
        service = subprocess.Popen(
            command_of(script, "--port", str(port), "--workers", "2"),
            env=ENVIRONMENT,
            stdout=target,
        )
    os.close(writing)
    url = f"http://127.0.0.1:{port}"

    def is_counted() -> bool:
        assert get(url, "/fail")[0] == 500
        lines = get(url, "/metrics")[1].splitlines()
        (count,) = (line for line in lines if line.startswith("microweb_log_lines_dropped_total "))
        return float(count.split()[1]) > 0

    with service, ended(service):
        until(lambda: is_open(port))
        until(is_counted)
        assert get(url)[0] == 200
    os.close(reading)


def is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S):
            return True
    except ConnectionRefusedError:
        return False


# --- an application that sets up `logging` in its lifespan

LIFESPAN = """
import logging, logging.config, sys
from collections.abc import AsyncIterator
from microweb import App

app = App()

@app.lifespan
async def life(app: App) -> AsyncIterator[None]:
    SETUP
    yield

@app.get("/")
async def index() -> str:
    return "hello"
"""
OWN = "logging.StreamHandler(sys.stderr)"
CONFIG = """logging.config.dictConfig({
        "version": 1,
        "handlers": {"own": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["own"], "level": "INFO"},
        "disable_existing_loggers": %s,
    })"""


@pytest.mark.parametrize(
    ("setup", "is_object", "is_text"),
    [
        ("logging.basicConfig(level='INFO')", True, False),
        ("logging.basicConfig(level='INFO', force=True)", False, True),
        (f"logging.getLogger().addHandler({OWN})", True, True),
        (f"logging.getLogger('microweb.access').addHandler({OWN})", True, True),
        ("logging.getLogger('microweb.access').setLevel('WARNING')", False, False),
        (CONFIG % True, False, False),  # the default of Python
        (CONFIG % False, False, True),
    ],
)
def test_logging_that_a_lifespan_sets_up(
    tmp_path: Path, setup: str, is_object: bool, is_text: bool
) -> None:
    script = tmp_path / "shop.py"
    script.write_text(LIFESPAN.replace("SETUP", setup))
    with subprocess.Popen(
        command_of(script, "--port", "0"),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as service:
        assert service.stdout is not None and service.stderr is not None
        objects = LogObjects(service.stdout)
        with ended(service):
            url = objects.message("listening on")["message"].split()[2]
            assert get(url) == (200, "hello")
        objects.join()
        text = service.stderr.read().decode()
    assert ("microweb.access" in {each["logger"] for each in objects.found}) is is_object
    assert ("GET / 200 " in text) is is_text
    assert text.count("GET / 200 ") == is_text
