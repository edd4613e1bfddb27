"""The metrics of the supervisor, by real clients."""

from __future__ import annotations

import http.client
import os
import re
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.processes import DEADLINE_S, free_port, get
from support.supervising import supervised, workers_that_answer

from microweb import ConfigurationError
from microweb.server import metrics_socket
from microweb.server.board import Board
from microweb.server.metrics_registry import Registry
from microweb.server.metrics_series import COUNTER, Definition
from microweb.server.metrics_socket import MetricsSocket, open_metrics
from microweb.server.metrics_text import OPENMETRICS, PROMETHEUS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no supervisor")

ORDERS = Definition("orders", COUNTER, ("country",))


class House:
    """A metrics socket, and the turns that a supervisor would make."""

    def __init__(self, stack: ExitStack, slots: int = 4) -> None:
        self.board = Board.create(slots)
        (bound,) = open_metrics("0", stack)
        self.metrics = MetricsSocket([bound], self.board)
        self.address = bound.getsockname()
        self.turns = 0

    def turn(self) -> None:
        self.turns += 1
        poll = select.poll()
        self.metrics.register(poll)
        wait_s = min(max(self.metrics.deadline() - time.monotonic(), 0), 0.05)
        ready = dict(poll.poll(wait_s * 1000))
        self.metrics.go_on(ready, time.monotonic())

    def ask(self, request: bytes) -> bytes:
        """Return the answer to a request."""
        ends_at, answer = time.monotonic() + DEADLINE_S, b""
        with socket.create_connection(self.address) as client:
            client.sendall(request)
            client.setblocking(False)
            while time.monotonic() < ends_at:
                self.turn()
                try:
                    piece = client.recv(1 << 20)
                except BlockingIOError:
                    continue
                if not piece:
                    return answer
                answer += piece
        raise AssertionError(f"expected the end of the answer, got {answer!r}")


@pytest.fixture
def house() -> Iterator[House]:
    with ExitStack() as stack:
        made = House(stack)
        yield made
        made.metrics.close()
        made.board.close()


def fields_of(answer: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the status, the content type and the content."""
    head, _, content = answer.partition(b"\r\n\r\n")
    (media_type,) = re.findall(rb"(?m)^Content-Type: (.*)\r$", head)
    return head.split(b" ")[1], media_type, content


def test_metrics_in_both_formats(house: House) -> None:
    status, media_type, content = fields_of(house.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert (status, media_type) == (b"200", PROMETHEUS.encode())
    assert b"microweb_workers{" in content
    accept = b"accept: application/openmetrics-text"
    answer = house.ask(b"GET /metrics?x=1 HTTP/1.0\r\n%b\r\n\r\n" % accept)
    assert fields_of(answer)[1] == OPENMETRICS.encode()
    assert answer.endswith(b"\n# EOF\n")


def test_head_has_the_length_and_no_content(house: House) -> None:
    answer = house.ask(b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    (length,) = re.findall(rb"Content-Length: (\d+)", answer)
    assert int(length) > 100
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metricsx HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/2.0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 9000, b"431"),
    ],
)
def test_other_requests_are_refused(house: House, request_: bytes, status: bytes) -> None:
    answer = house.ask(request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close\r\n" in answer


def test_long_text_is_made_in_several_turns(house: House) -> None:
    registries = []
    for slot in house.board.slots:
        registry = Registry()
        registry.move_to(slot, house.board)
        family = registry.family(ORDERS, "Orders", 5000)
        for number in range(3000):
            family.series((f"{slot.number}-{number}",))
        registries.append(registry)
    begun = house.turns
    answer = house.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.count(b"orders_total{") > 4 * 2900
    assert house.turns - begun > 4
    for registry in registries:
        registry.move_back()


def test_text_that_is_too_long_is_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    content = fields_of(house.ask(request))[2]
    monkeypatch.setattr(metrics_socket, "MAX_TEXT", len(content))
    assert fields_of(house.ask(request))[0] == b"200"
    monkeypatch.setattr(metrics_socket, "MAX_TEXT", len(content) - 1)
    status, media_type, content = fields_of(house.ask(request))
    assert (status, media_type) == (b"500", b"text/plain; charset=utf-8")
    assert content.startswith(b"the metrics have over ") and b"lower max_series" in content


def test_text_that_can_not_be_written_is_an_error(
    house: House, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    with monkeypatch.context() as patched:
        patched.setattr(metrics_socket, "read_board", lambda board: 1 / 0)
        assert fields_of(house.ask(request))[0] == b"500"
    assert "the metrics can't be written: ZeroDivisionError" in capfd.readouterr().err
    assert fields_of(house.ask(request))[0] == b"200"


def test_client_that_leaves_is_forgotten(house: House) -> None:
    with socket.create_connection(house.address) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(20):
        house.turn()
    assert fields_of(house.ask(b"GET /metrics HTTP/1.1\r\n\r\n"))[0] == b"200"


@pytest.mark.parametrize("text", ["x", "70000", "localhost:x", "unix:"])
def test_address_is_checked(text: str) -> None:
    with ExitStack() as stack, pytest.raises(ConfigurationError, match=r"^metrics_bind: "):
        open_metrics(text, stack)


def test_port_alone_is_of_this_machine() -> None:
    with ExitStack() as stack:
        (bound,) = open_metrics("0", stack)
        assert bound.getsockname()[0] == "127.0.0.1"


def test_busy_port_is_named() -> None:
    with ExitStack() as stack:
        (bound,) = open_metrics("0", stack)
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(ConfigurationError, match=r"^metrics_bind: "):
            open_metrics(str(port), stack)


# --- a service ------------------------------------------------------------------------

SERVICE = """
import os
from microweb import App

app = App()

@app.get("/")
async def index() -> str:
    return f"{os.getpid()}"

if __name__ == "__main__":
    app.run(port=0, metrics_bind="PORT", workers=2)
"""


def text_of(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_clients_that_send_nothing_delay_nothing(tmp_path: Path) -> None:
    script, port = tmp_path / "service.py", free_port()
    script.write_text(SERVICE.replace("PORT", str(port)))
    with supervised(script) as (program, url), ExitStack() as stack:
        victim = min(workers_that_answer(url, 2))
        for _ in range(8):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            silent.sendall(b"GET /met")
        os.kill(victim, signal.SIGKILL)
        program.err.wait_for(f"worker {victim} was killed by SIGKILL")
        program.err.wait_for("is ready")
        assert all(get(url)[0] == 200 for _ in range(5))
        text = text_of(port)
        assert 'microweb_worker_restarts_total{cause="signal"} 1.0\n' in text
        assert 'http_route="/",http_response_status_code="200"} ' in text
        program.stop()


def test_single_worker_is_supervised(tmp_path: Path) -> None:
    script, port = tmp_path / "service.py", free_port()
    script.write_text(SERVICE.replace("PORT", str(port)).replace(", workers=2", ""))
    with supervised(script) as (program, _):
        assert 'microweb_workers{state="ready"} 1.0\n' in text_of(port)
        program.stop()
