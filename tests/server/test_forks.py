"""Children that an endpoint forks: they do not own the server's sockets, signals and logs."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.processes import DEADLINE_S, Program, get

from microweb.server.forks import called_in_children, release_descriptors

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

LOOPS = ["asyncio"]
if importlib.util.find_spec("uvloop") is not None:
    LOOPS.append("uvloop")

SOURCE = """
import logging, os, signal, sys, time, warnings

# Before the functions of microweb, so that each child has the server's handlers for a while.
os.register_at_fork(after_in_child=lambda: time.sleep(0.2))

from microweb import App

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
app = App()

def fork() -> str:
    child = os.fork()
    if not child:
        logging.getLogger("app").warning("written by the child")
        os.read(0, 1)  # to the end of stdin, which is the end of the test, however it ends
        os._exit(0)
    return str(child)

@app.get("/fork")
async def fork_on_the_loop() -> str:
    return fork()

@app.get("/fork-in-thread")
def fork_in_a_thread() -> str:
    return fork()

@app.get("/end/{child}")
def end(child: int) -> str:
    os.kill(child, signal.SIGTERM)
    return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

app.run("127.0.0.1", 0, loop=sys.argv[1])
"""


class Forking:
    """A server whose endpoints fork."""

    def __init__(self, program: Program) -> None:
        self.program = program
        (self.url,) = program.urls()

    def address(self) -> tuple[str, int]:
        place = urlsplit(self.url)
        assert place.hostname is not None and place.port is not None
        return place.hostname, place.port

    def fork(self, path: str) -> int:
        """Return the child, once the answer has arrived up to the close of the connection."""
        with socket.create_connection(self.address(), timeout=DEADLINE_S) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            with client.makefile("rb") as file:
                answer = file.read()
        return int(answer.rpartition(b"\r\n\r\n")[2])


@pytest.fixture(params=LOOPS)
def forking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forking]:
    script = tmp_path / "app.py"
    script.write_text(SOURCE)
    with Program(script, request.param) as program:
        yield Forking(program)


@pytest.mark.parametrize("path", ["/fork", "/fork-in-thread"])
def test_end_of_an_answer_reaches_the_client(forking: Forking, path: str) -> None:
    forking.fork(path)
    forking.fork(path)


@pytest.mark.parametrize("path", ["/fork", "/fork-in-thread"])
def test_a_signal_for_a_new_child_does_not_reach_the_server(forking: Forking, path: str) -> None:
    child = forking.fork(path)
    assert get(forking.url, f"/end/{child}") == (200, str(-signal.SIGTERM))
    assert get(forking.url, "/nothing")[0] == 404  # only the child got the signal


def test_port_is_free_once_the_server_is_gone(forking: Forking) -> None:
    forking.fork("/fork")
    forking.program.stop()
    with socket.create_server(forking.address()):
        pass


def test_child_can_log(forking: Forking) -> None:
    forking.fork("/fork")
    forking.program.err.wait_for("written by the child")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_function_is_called_in_a_child_only_inside_the_block() -> None:
    reader, writer = os.pipe()
    with called_in_children(lambda: os.write(writer, b" and called")):
        assert forked(reader, writer, b"forked and called") == 0
    assert forked(reader, writer, b"forked") == 0
    os.close(reader)
    os.close(writer)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_leaves_the_blocked_signals_as_they_were() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with called_in_children(lambda: None):
        child = os.fork()
        if not child:
            os._exit(signal.pthread_sigmask(signal.SIG_BLOCK, []) != before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def forked(reader: int, writer: int, expected: bytes) -> int:
    """Return 0 if a child that is forked now finds exactly `expected` in the pipe."""
    os.write(writer, b"forked")
    child = os.fork()
    if not child:
        os._exit(os.read(reader, 64) != expected)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_released_descriptor_keeps_its_number_and_drops_the_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        release_descriptors([ours.fileno(), -1])
        assert theirs.recv(1) == b""  # the other end sees the end
        assert os.write(ours.fileno(), b"to nowhere") == 10
        assert not os.get_inheritable(ours.fileno())
