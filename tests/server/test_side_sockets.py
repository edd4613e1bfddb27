"""Side sockets: bounded clients in a `poll` that belongs to another."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from support.processes import DEADLINE_S

from microweb.server.side_sockets import (
    CLIENT_S,
    MAX_CLIENTS,
    MAX_REQUEST,
    MAX_UNSENT,
    SideClient,
    SideSocket,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a supervisor needs POSIX")


class House:
    """A side socket with its clients, turned by hand."""

    def __init__(self, bound: socket.socket, end: bytes, stack: ExitStack) -> None:
        self.asked: list[tuple[SideClient, bytes]] = []
        self.side = SideSocket([bound], end, self.answer)
        self.now = time.monotonic()
        self._bound, self._stack = bound, stack
        stack.callback(self.side.close)

    def answer(self, client: SideClient, request: bytes) -> None:
        self.asked.append((client, request))

    def turn(self) -> bool:
        """Let the side socket do what is possible now; return whether a descriptor was ready."""
        poll = select.poll()
        self.side.register(poll)
        ready = dict(poll.poll(0))
        self.side.go_on(ready, self.now)
        return bool(ready)

    def turn_until(self, is_true: Callable[[], object]) -> None:
        ends_at = time.monotonic() + DEADLINE_S
        while not is_true():
            assert time.monotonic() < ends_at
            self.turn()

    def settle(self) -> None:
        while self.turn():
            pass

    def connect(self, data: bytes = b"") -> socket.socket:
        client = self._stack.enter_context(socket.socket(self._bound.family, socket.SOCK_STREAM))
        client.connect(self._bound.getsockname())
        client.setblocking(False)
        if data:
            assert client.send(data) == len(data)
        return client

    def read_all(self, client: socket.socket) -> bytes:
        """Return all bytes until the end of the answer; raise what a client would see."""
        data = b""
        ends_at = time.monotonic() + DEADLINE_S
        while time.monotonic() < ends_at:
            self.turn()
            try:
                piece = client.recv(1 << 20)
            except BlockingIOError:
                continue
            if not piece:
                return data
            data += piece
        raise AssertionError(f"no end of the answer after {len(data)} bytes")


@pytest.fixture(params=["unix", "tcp"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        if request.param == "unix":
            bound = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            bound.bind(str(tmp_path / "side.sock"))
        else:
            bound = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            bound.bind(("127.0.0.1", 0))
        yield House(bound, b"\n", stack)


def is_open(client: socket.socket) -> bool:
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_request_is_answered_and_the_connection_closed(house: House) -> None:
    client = house.connect(b"ask\nrest")
    house.turn_until(lambda: house.asked)
    (asker, request), *_ = house.asked
    assert request == b"ask\n"
    asker.send(b"one ")
    asker.finish(b"two")
    assert house.read_all(client) == b"one two"
    client.close()
    house.turn_until(lambda: asker.is_over)


def test_request_in_pieces_is_handed_on_once(house: House) -> None:
    client = house.connect()
    for piece in (b"a", b"s", b"k"):
        client.send(piece)
        house.settle()
        assert house.asked == []
    client.send(b"\n\n")
    house.turn_until(lambda: house.asked)
    house.settle()
    assert [request for _, request in house.asked] == [b"ask\n"]


def test_end_may_have_several_bytes(house: House) -> None:
    house.side._end = b"\r\n\r\n"
    house.connect(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    house.turn_until(lambda: house.asked)
    assert house.asked[0][1] == b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


def test_request_that_is_too_long_is_handed_on_without_its_end(house: House) -> None:
    def refuse(client: SideClient, request: bytes) -> None:
        house.answer(client, request)
        client.finish(b"too long")

    house.side._on_request = refuse
    client = house.connect()
    rest = memoryview(b"x" * (1 << 20))
    ends_at = time.monotonic() + DEADLINE_S
    while rest and time.monotonic() < ends_at:
        house.turn()
        with suppress(BlockingIOError):
            rest = rest[client.send(rest) :]
    assert not rest  # it is all read, so that the client does not lose the answer
    assert house.read_all(client) == b"too long"
    ((_, request),) = house.asked
    assert len(request) > MAX_REQUEST and not request.endswith(b"\n")


def test_clients_that_send_nothing_keep_nobody_out(house: House) -> None:
    silent = [house.connect() for _ in range(3 * MAX_CLIENTS // 2)]
    house.settle()
    client = house.connect(b"ask\n")
    house.turn_until(lambda: house.asked)
    house.asked[0][0].finish(b"answer")
    assert house.read_all(client) == b"answer"
    assert sum(map(is_open, silent)) == MAX_CLIENTS - 1


def test_client_that_waits_for_its_answer_is_not_replaced(house: House) -> None:
    clients = [house.connect(b"ask\n") for _ in range(MAX_CLIENTS)]
    house.turn_until(lambda: len(house.asked) == MAX_CLIENTS)
    late = house.connect(b"ask\n")
    house.settle()
    assert len(house.asked) == MAX_CLIENTS  # the late one waits in the kernel
    assert all(map(is_open, clients))
    house.asked[0][0].finish(b"answer")
    house.turn_until(lambda: len(house.asked) > MAX_CLIENTS)
    house.asked[-1][0].finish(b"late")
    assert house.read_all(late) == b"late"


def test_client_that_sends_half_a_request_is_cut_off(house: House) -> None:
    client = house.connect(b"as")
    house.settle()
    assert house.side.deadline() == house.now + CLIENT_S
    house.now += CLIENT_S - 0.01
    house.turn()
    assert is_open(client)
    house.now += 0.02
    house.turn()
    assert not is_open(client)
    assert house.side.deadline() == float("inf")


def test_client_without_an_answer_yet_has_no_deadline(house: House) -> None:
    client = house.connect(b"ask\n")
    house.turn_until(lambda: house.asked)
    house.now += 1000 * CLIENT_S
    house.turn()
    assert is_open(client)


def test_client_that_does_not_read_is_cut_off(house: House) -> None:
    house.connect(b"ask\n")
    house.turn_until(lambda: house.asked)
    asker = house.asked[0][0]
    asker.finish(b"x" * MAX_UNSENT)
    house.settle()
    assert not asker.is_over
    house.now = asker.ends_at
    house.turn()
    assert asker.is_over


def test_slow_reader_gets_all(house: House) -> None:
    client = house.connect(b"ask\n")
    house.turn_until(lambda: house.asked)
    house.asked[0][0].finish(b"x" * MAX_UNSENT)
    assert len(house.read_all(client)) == MAX_UNSENT


def test_answer_over_the_limit_cuts_the_client_off(house: House) -> None:
    house.connect(b"ask\n")
    house.turn_until(lambda: house.asked)
    asker = house.asked[0][0]
    asker.send(b"x" * (MAX_UNSENT + 1))
    assert asker.is_over
    asker.send(b"more")
    asker.finish(b"more")
    house.turn()
    assert house.side.deadline() == float("inf")


def test_client_that_hangs_up_is_forgotten(house: House) -> None:
    for data in (b"", b"as", b"ask\n"):
        house.connect(data).close()
    house.settle()
    for asker, _ in house.asked:
        asker.finish(b"x" * 1000)
    house.turn_until(lambda: house.side.deadline() == float("inf"))


def test_error_of_the_owner_closes_only_that_client(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(client: SideClient, request: bytes) -> None:
        raise LookupError("no such command")

    house.side._on_request = fail
    client = house.connect(b"ask\n")
    other = house.connect()
    house.turn_until(lambda: not is_open(client))
    assert is_open(other)
    assert "LookupError('no such command')" in capfd.readouterr().err


def test_missing_descriptors_pause_accepting(house: House) -> None:
    resource = pytest.importorskip("resource")
    client = house.connect(b"ask\n")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(held), limits[1]))
    try:
        house.turn()
        assert not house.turn()  # the socket is not polled, or `poll` would return for ever
        assert house.side.deadline() == house.now + 1.0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in held:
            os.close(number)
    house.now += 1.0
    house.turn()
    house.turn_until(lambda: house.asked)
    house.asked[0][0].finish(b"answer")
    assert house.read_all(client) == b"answer"
