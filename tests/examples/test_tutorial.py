"""Run the tutorial's five steps as a reader does, and compare the outputs in its README."""

import http.client
import importlib
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "examples" / "from_socket_to_app"
DEADLINE_S = 10.0

BLOCKING = ["step1_socket", "step2_parse", "step3_respond"]
CONCURRENT = ["step4_asyncio", "step5_microweb"]
EVERY = [*BLOCKING, *CONCURRENT]
ROUTED = ["step3_respond", *CONCURRENT]

REQUEST = b"GET /blog HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Step:
    """A step in its own process, by default on a free port; its output is read line by line."""

    def __init__(self, name: str, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", TUTORIAL / f"{name}.py", str(port)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_lines)
        self._reader.start()
        self.urls: list[str] = []

    def __enter__(self) -> Self:
        try:
            self.urls = re.findall(r"http://[\w.:\[\]]+:\d+", self.wait_for("http://"))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, text: str) -> str:
        """Return the next line of output that has this text in it."""
        seen: list[str] = []
        ends_at = time.monotonic() + DEADLINE_S
        try:
            while (line := self._lines.get(timeout=max(0, ends_at - time.monotonic()))) is not None:
                if text in line:
                    return line
                seen.append(line)
        except queue.Empty:
            pass
        pytest.fail(f"expected {text!r} in the output, got {seen}")

    def interrupt(self) -> tuple[int, list[str]]:
        """Send Ctrl-C; return the exit status and the lines that were not read yet."""
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status, [line for line in iter(self._lines.get_nowait, None) if line is not None]

    def connect(self) -> socket.socket:
        url = urlsplit(self.urls[0])
        return socket.create_connection((url.hostname, url.port), timeout=DEADLINE_S)

    def send(self, request: bytes) -> bytes:
        """Send bytes, and return all bytes that the server sends until it closes."""
        with self.connect() as client:
            client.sendall(request)
            return read_all(client)

    def ask(self, path: str, method: str = "GET") -> Answer:
        return ask(self.urls[0], path, method)


def ask(url: str, path: str, method: str = "GET") -> Answer:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=DEADLINE_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


class StartStep(Protocol):
    def __call__(self, name: str, port: int = 0) -> Step: ...


ParseRequest = Callable[[str], tuple[str, str]]
GenerateResponse = Callable[[str], bytes]


@pytest.fixture
def start() -> Iterator[StartStep]:
    """Start steps by name, and stop them after the test."""
    # A background process of a shell ignores Ctrl-C, and its children would inherit that.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start_step(name: str, port: int = 0) -> Step:
        return stack.enter_context(Step(name, port))

    try:
        with ExitStack() as stack:
            yield start_step
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.fixture
def parse_request(monkeypatch: pytest.MonkeyPatch) -> ParseRequest:
    monkeypatch.syspath_prepend(TUTORIAL)
    function: ParseRequest = importlib.import_module("step2_parse").parse_request
    return function


@pytest.fixture
def generate_response(monkeypatch: pytest.MonkeyPatch) -> GenerateResponse:
    monkeypatch.syspath_prepend(TUTORIAL)
    function: GenerateResponse = importlib.import_module("step3_respond").generate_response
    return function


# parse_request


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ("GET", "/")),
        ("POST /blog?page=2 HTTP/1.0\r\n\r\n", ("POST", "/blog?page=2")),
    ],
)
def test_method_and_url_are_parsed(
    parse_request: ParseRequest, request_text: str, expected: tuple[str, str]
) -> None:
    assert parse_request(request_text) == expected


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "\r\n",
        "GET",
        "GET /\r\n",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\n",
        "GET  / HTTP/1.1\r\n",
        "GET / extra HTTP/1.1\r\n",
        "GET /caf\xe9 HTTP/1.1\r\n",
        "GET / HTTP/2.0\r\n",
        "get / HTTP/1.1\r\n",
        "\x16\x03\x01\x02\x00",
    ],
)
def test_what_is_no_request_line_is_a_value_error(
    parse_request: ParseRequest, request_text: str
) -> None:
    with pytest.raises(ValueError, match=r"expected 'METHOD URL HTTP/1\.1', got"):
        parse_request(request_text)


def test_error_shows_at_most_80_characters(
    parse_request: ParseRequest,
) -> None:
    with pytest.raises(ValueError, match=r"got 'x{80}'$"):
        parse_request("x" * 1000)


# generate_response


@pytest.mark.parametrize(
    ("request_line", "status_line", "body"),
    [
        ("GET / HTTP/1.1", b"HTTP/1.1 200 OK", b"hello world"),
        ("GET /blog HTTP/1.1", b"HTTP/1.1 200 OK", b"hello blog"),
        ("GET /blog?page=2 HTTP/1.1", b"HTTP/1.1 200 OK", b"hello blog"),
        ("GET /nowhere HTTP/1.1", b"HTTP/1.1 404 Not Found", b"not found"),
        ("POST /nowhere HTTP/1.1", b"HTTP/1.1 404 Not Found", b"not found"),
        ("POST / HTTP/1.1", b"HTTP/1.1 405 Method Not Allowed", b"method not allowed"),
        ("hello?", b"HTTP/1.1 400 Bad Request", b"bad request"),
    ],
)
def test_response_has_status_line_length_and_body(
    generate_response: GenerateResponse, request_line: str, status_line: bytes, body: bytes
) -> None:
    head, _, content = generate_response(f"{request_line}\r\n\r\n").partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == status_line
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert content == body


def test_405_says_what_is_allowed(generate_response: GenerateResponse) -> None:
    assert b"\r\nAllow: GET, HEAD\r\n" in generate_response("DELETE / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("url", ["/", "/nowhere"])
def test_head_is_get_without_the_body(generate_response: GenerateResponse, url: str) -> None:
    got = generate_response(f"GET {url} HTTP/1.1\r\n\r\n")
    head = generate_response(f"HEAD {url} HTTP/1.1\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert without_date(got.decode()).startswith(without_date(head.decode()))


def without_date(text: str) -> str:
    return re.sub(r"(?m)^Date: .*$", "Date:", text)


# The steps, run


@pytest.mark.parametrize("name", EVERY)
def test_step_says_hello(start: StartStep, name: str) -> None:
    answer = start(name).ask("/")
    assert (answer.status, answer.body) == (200, b"hello world")
    assert answer.headers.get_content_type() == "text/plain"


@pytest.mark.parametrize("name", ROUTED)
def test_step_answers_by_url_and_method(start: StartStep, name: str) -> None:
    step = start(name)
    assert step.ask("/blog").body == b"hello blog"
    assert step.ask("/nowhere").status == 404
    refused = step.ask("/blog", "DELETE")
    assert refused.status == 405
    assert "GET" in refused.headers["Allow"].split(", ")
    head = step.ask("/blog", "HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, "10", b"")


def test_step1_prints_the_client_and_an_escaped_request(start: StartStep) -> None:
    step = start("step1_socket")
    with step.connect() as client:
        host, port = client.getsockname()
        client.sendall(b"GET /\x1b[31m\xff HTTP/1.1\r\n\r\n")
        assert read_all(client).endswith(b"\r\n\r\nhello world")
    step.wait_for(f"connection from {host}:{port}")
    step.wait_for(r"  'GET /\x1b[31m\xff HTTP/1.1'")


def test_step2_prints_method_and_url(start: StartStep) -> None:
    step = start("step2_parse")
    step.ask("/blog?page=2", "POST")
    assert step.wait_for("/blog") == "POST /blog?page=2"


@pytest.mark.parametrize("name", ["step3_respond", "step4_asyncio"])
def test_step_prints_the_status_line(start: StartStep, name: str) -> None:
    step = start(name)
    step.ask("/nowhere")
    assert step.wait_for("404") == "HTTP/1.1 404 Not Found"


@pytest.mark.parametrize("name", EVERY[1:])
def test_bad_request_is_refused_and_the_next_is_answered(start: StartStep, name: str) -> None:
    step = start(name)
    assert step.send(b"\xff\x00 hello?\r\n\r\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert step.ask("/").status == 200


@pytest.mark.parametrize("name", EVERY)
def test_client_that_leaves_or_resets_does_not_end_the_loop(start: StartStep, name: str) -> None:
    step = start(name)
    for sent in [b"", REQUEST[:10], REQUEST]:
        step.connect().close()
        with step.connect() as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
    assert step.ask("/").status == 200


@pytest.mark.parametrize("name", EVERY)
def test_silent_client_does_not_keep_the_others_waiting(start: StartStep, name: str) -> None:
    step = start(name)
    with step.connect(), step.connect():
        began = time.monotonic()
        assert step.ask("/").status == 200
        assert time.monotonic() - began < 4.0  # two timeouts of 1 s, and a slow machine


@pytest.mark.parametrize("name", CONCURRENT)
def test_request_split_anywhere_is_answered(start: StartStep, name: str) -> None:
    step = start(name)
    for cut in range(1, len(REQUEST)):
        with step.connect() as client:
            client.sendall(REQUEST[:cut])
            assert step.ask("/").status == 200  # now the server has read the first piece
            client.sendall(REQUEST[cut:])
            assert read_all(client).endswith(b"\r\n\r\nhello blog")


def test_step4_closes_on_half_a_head_and_on_a_head_without_end(start: StartStep) -> None:
    step = start("step4_asyncio")
    with step.connect() as client:
        client.sendall(REQUEST[:-1])
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""
    step.wait_for("IncompleteReadError")
    with step.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 66_000)
        step.wait_for("LimitOverrunError")


def test_step4_listens_on_both_loopback_addresses(start: StartStep) -> None:
    step = start("step4_asyncio")
    assert [urlsplit(url).hostname for url in step.urls] == ["127.0.0.1", "::1"]
    assert [ask(url, "/").body for url in step.urls] == [b"hello world"] * 2


@pytest.mark.parametrize("name", EVERY[1:])
def test_restart_on_the_same_port_works_at_once(start: StartStep, name: str) -> None:
    step = start(name)
    port = urlsplit(step.urls[0]).port
    assert port is not None
    assert step.send(REQUEST) != b""  # the server closes first, so TIME_WAIT is on its side
    step.stop()
    assert start(name, port).ask("/").status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent Ctrl-C")
@pytest.mark.parametrize("name", EVERY)
def test_ctrl_c_ends_the_step_quietly(start: StartStep, name: str) -> None:
    step = start(name)
    with step.connect():
        step.ask("/")  # now the step has accepted the silent client, and step 4 still waits for it
        status, lines = step.interrupt()
    assert status == 0
    assert not [line for line in lines if "Traceback" in line or "KeyboardInterrupt" in line]


# The README


class Example(NamedTuple):
    step: str
    command: str
    output: str


def read_examples() -> Iterator[Example]:
    """Yield each curl command of the README, with its step and the output in the README."""
    for section in (TUTORIAL / "README.md").read_text("utf-8").split("\n## ")[1:]:
        step = re.findall(r"/(step\d_\w+)\.py\n", section)[0]
        for block in re.findall(r"(?s)```console\n(.*?)```", section):
            for command, output in re.findall(r"(?m)^\$ (curl .*)\n((?:(?!\$ ).*\n)*)", block):
                yield Example(step, command, output)


EXAMPLES = list(read_examples())


def test_readme_has_an_example_of_every_step() -> None:
    assert [example.step for example in EXAMPLES] == sorted(example.step for example in EXAMPLES)
    assert {example.step for example in EXAMPLES} == set(EVERY)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda example: f"{example.step}: {example.command}"
)
def test_readme_shows_what_curl_prints(start: StartStep, example: Example) -> None:
    step = start(example.step)
    command = example.command.replace("http://localhost:5000", step.urls[0])
    command = command.replace("http://[::1]:5000", step.urls[-1])
    # -q and --noproxy: ignore the reader's configuration of curl
    arguments = ["curl", "-q", "--noproxy", "*", *shlex.split(command)[1:]]
    printed = subprocess.run(arguments, capture_output=True, timeout=DEADLINE_S, check=True).stdout
    shown = printed.decode().replace("\r\n", "\n").rstrip("\n")
    assert without_date(shown) == without_date(example.output.rstrip("\n"))
