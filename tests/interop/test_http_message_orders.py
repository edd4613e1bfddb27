"""Any order of messages that an HTTP application may try gives what ASGI's specification says.

An example is a list of steps, run by an ASGI application for one request of a client on a real
socket. `Rules` is the specification: which messages are allowed in which state, and the answer that
the client must get. https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import h11
import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.asgi_programs import Message, Receive, Run, Send, Step, check_outcomes
from support.asgi_serving import ServedProgram, served_on
from support.serving import DEADLINE_S

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


# --- the specification


@dataclass
class Rules:
    """The state of an answer, and the outcome of each message that may be sent."""

    state: str = "begin"  # "begin", "started", "sending", "trailing", "complete"
    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    has_trailers: bool = False
    content: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    hints: int = 0
    late_hints: int = 0  # which the server may drop

    def send(self, message: Message) -> str:
        """Return "ok", "error" or "either", and go to the next state."""
        if self.state == "complete":  # "any further messages on the channel will be ignored"
            return "ok" if message["type"].startswith("http.response.") else "either"
        match message["type"], self.state:
            case "http.response.start", "begin":
                self.state, self.status = "started", message["status"]
                self.fields = list(message.get("headers", []))
                self.has_trailers = message.get("trailers", False)
            case "http.response.body", "started" | "sending":
                self.content += message.get("body", b"")
                self.state = "sending"
                if not message.get("more_body", False):
                    self.state = "trailing" if self.has_trailers else "complete"
            case "http.response.trailers", "trailing":
                self.trailers += message["headers"]
                if not message.get("more_trailers", False):
                    self.state = "complete"
            case "http.response.early_hint", "begin" | "started":
                self.hints += 1
            case "http.response.early_hint", _:
                self.late_hints += 1
                return "either"  # allowed up to the last body, but its head is sent
            case _:
                return "error"
        return "ok"


# --- examples

PIECES = st.sampled_from([b"", b"a", b"bc", b"x" * 5000])
STARTS = st.fixed_dictionaries(
    {"type": st.just("http.response.start"), "status": st.sampled_from([200, 200, 404, 204, 304])},
    optional={
        "headers": st.sampled_from(
            [[], [(b"x-a", b"1"), (b"x-a", b"2")], [(b"transfer-encoding", b"chunked")]]
        ),
        "trailers": st.booleans(),
    },
)
BODIES = st.fixed_dictionaries(
    {"type": st.just("http.response.body")}, optional={"body": PIECES, "more_body": st.booleans()}
)
TRAILERS = st.fixed_dictionaries(
    {
        "type": st.just("http.response.trailers"),
        "headers": st.sampled_from([[], [(b"x-t", b"1")], [(b"x-u", b"2"), (b"x-v", b"3")]]),
    },
    optional={"more_trailers": st.booleans()},
)
HINTS = st.fixed_dictionaries(
    {
        "type": st.just("http.response.early_hint"),
        "links": st.just([b"</style.css>; rel=preload; as=style"]),
    }
)
FOREIGN = st.sampled_from(
    [
        {"type": "http.request"},
        {"type": "websocket.accept"},
        {"type": "websocket.send", "text": "a"},
        {"type": "http.response.unknown"},
    ]
)
MESSAGES = st.one_of(STARTS, BODIES, BODIES, TRAILERS, HINTS, FOREIGN)
DOES = st.one_of(MESSAGES, MESSAGES, st.sampled_from(["receive", "receive", "pause", "fail"]))


IS_CAUGHT = st.sampled_from([True, True, True, False])
STEPS = st.lists(st.builds(Step, DOES, IS_CAUGHT, st.booleans()), max_size=8)


@st.composite
def nearly_right(draw: st.DrawFn) -> list[Step]:
    """Return the steps of a whole answer, with up to three others among them."""
    start = draw(STARTS)
    does: list[Message] = [start]
    for _ in range(draw(st.integers(0, 3))):
        does.append({"type": "http.response.body", "body": draw(PIECES), "more_body": True})
    does.append({"type": "http.response.body", "body": draw(PIECES)})
    if start.get("trailers", False):
        does.append({"type": "http.response.trailers", "headers": [(b"x-t", b"1")]})
    steps = [Step(each, is_caught=False, in_task=draw(st.booleans())) for each in does]
    for other in draw(st.lists(st.builds(Step, DOES, IS_CAUGHT), max_size=3)):
        steps.insert(draw(st.integers(0, len(steps))), other)
    return steps


@dataclass(frozen=True)
class Asked:
    """The request: its method and version, and its body in pieces."""

    method: str
    version: str
    pieces: tuple[bytes, ...]
    is_chunked: bool

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    def encode(self) -> bytes:
        kept = "keep-alive" if self.version == "1.1" else "close"
        head = f"{self.method} /program HTTP/{self.version}\r\nHost: a\r\nConnection: {kept}\r\n"
        if self.is_chunked and self.version == "1.1":
            chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.pieces if piece]
            return b"".join(
                (head.encode(), b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n")
            )
        if not self.pieces:
            return f"{head}\r\n".encode()
        return f"{head}Content-Length: {len(self.content)}\r\n\r\n".encode() + self.content


ASKED = st.builds(
    Asked,
    st.sampled_from(["GET", "GET", "POST", "HEAD"]),
    st.sampled_from(["1.1", "1.1", "1.0"]),
    st.lists(PIECES, max_size=3).map(tuple),
    st.booleans(),
)


# --- running them


@pytest.fixture(scope="module")
def served(runner: asyncio.Runner) -> Iterator[ServedProgram]:
    with served_on(runner, run_program) as served:
        yield served


async def run_program(run: Run | None, scope: Message, receive: Receive, send: Send) -> None:
    if scope["path"] == "/next":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-next", b"1")]})
        await send({"type": "http.response.body", "body": b"next"})
        return
    assert run is not None
    await run(receive, send)


def has_whole_body(run: Run) -> bool:
    """Whether the body was received to its end, so that `receive` waits for the disconnect."""
    return any(not event.get("more_body", False) for event in run.events)


async def exchange(served: ServedProgram, asked: Asked, run: Run) -> bytes:
    """Send the request and one behind it, and return all bytes of the server."""
    served.run = run
    reader, writer = await asyncio.open_connection(served.host, served.port)
    received = b""
    try:
        async with asyncio.timeout(DEADLINE_S):
            writer.write(asked.encode())
            if asked.version == "1.1":
                writer.write(NEXT)
            try:
                while piece := await reader.read(65536):
                    received += piece
            except ConnectionError:
                pass  # a cut answer
            await run.ended.wait()
    finally:
        writer.close()
    return received


async def leave(served: ServedProgram, asked: Asked, run: Run) -> None:
    """Send the request, and reset the connection when the program says so."""
    served.run = run
    _, writer = await asyncio.open_connection(served.host, served.port)
    async with asyncio.timeout(DEADLINE_S):
        writer.write(asked.encode())
        waits = [asyncio.ensure_future(each.wait()) for each in (run.may_leave, run.ended)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        connected: socket.socket = writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.gather(*waits)


@dataclass
class Answer:
    """The first answer among the received bytes, as h11 understands it."""

    hints: int = 0
    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    content: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    is_whole: bool = False
    rest: bytes = b""


def parse(received: bytes, method: str) -> Answer:
    answer, client = Answer(), h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(received)
    client.receive_data(b"")
    try:
        while True:
            event = client.next_event()
            if isinstance(event, h11.InformationalResponse):
                answer.hints += event.status_code == 103
            elif isinstance(event, h11.Response):
                answer.status = event.status_code
                answer.fields = [(name, value) for name, value in event.headers]
            elif isinstance(event, h11.Data):
                answer.content += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                answer.trailers = list(event.headers)
                answer.is_whole = True
                answer.rest = client.trailing_data[0]
                return answer
            else:
                return answer
    except h11.RemoteProtocolError:
        return answer


def check_events(run: Run, asked: Asked) -> None:
    """Check what the program received: the body in pieces, and then the disconnect alone."""
    requests = [event for event in run.events if event["type"] == "http.request"]
    got = b"".join([event.get("body", b"") for event in requests])
    assert asked.content.startswith(got)
    assert run.events[: len(requests)] == requests  # no disconnect among them
    if any(not event.get("more_body", False) for event in requests):
        assert got == asked.content
        assert not requests[-1].get("more_body", False)
    for event in [*run.events[len(requests) :], *run.heard]:
        assert event["type"] == "http.disconnect"


def check_answer(answer: Answer, asked: Asked, rules: Rules) -> None:
    is_chunked = asked.version == "1.1"
    has_content = asked.method != "HEAD" and rules.status not in (204, 304)
    assert answer.hints <= (rules.hints + rules.late_hints if is_chunked else 0)
    if rules.state == "complete":
        assert answer.is_whole
        assert answer.hints >= (rules.hints if is_chunked else 0)
        assert answer.status == rules.status
        own = [(name, value) for name, value in answer.fields if name.startswith(b"x-")]
        assert own == [pair for pair in rules.fields if pair[0].startswith(b"x-")]
        assert answer.content == (rules.content if has_content else b"")
        if not has_content or not is_chunked:
            assert answer.trailers == []
        elif (b"transfer-encoding", b"chunked") in answer.fields:
            assert answer.trailers == rules.trailers
    elif rules.state == "begin":
        assert (answer.status, answer.is_whole) == (500, True)
    elif rules.state == "started":  # nothing of the answer is sent: a 500 or a cut
        assert answer.status == 500 or not answer.is_whole
    elif has_content and is_chunked and answer.status != 500:
        assert not answer.is_whole
        assert rules.content.startswith(answer.content)
    if answer.rest:
        following = parse(answer.rest, "GET")
        assert (following.status, following.content) == (200, b"next")
        assert (b"x-next", b"1") in following.fields


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(asked=ASKED, program=st.one_of(nearly_right(), nearly_right(), STEPS))
def test_any_order_gives_what_the_specification_says(
    runner: asyncio.Runner, served: ServedProgram, asked: Asked, program: list[Step]
) -> None:
    logging.disable(logging.CRITICAL)  # errors of programs are logged
    try:

        async def example() -> None:
            rules = Rules()
            run = Run(program, waits=has_whole_body)
            received = await exchange(served, asked, run)
            check_outcomes(run, rules)
            hypothesis.event(rules.state)
            check_events(run, asked)
            check_answer(parse(received, asked.method), asked, rules)

        runner.run(example())
    finally:
        logging.disable(logging.NOTSET)


@st.composite
def with_a_client_that_leaves(draw: st.DrawFn) -> list[Step]:
    steps = draw(nearly_right())
    place = draw(st.integers(0, len(steps)))
    return [*map(caught, steps[:place]), Step("leave"), *map(caught, steps[place:])]


def caught(step: Step) -> Step:
    return replace(step, is_caught=True)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(asked=ASKED, program=with_a_client_that_leaves())
def test_send_to_a_client_that_has_left_is_an_os_error(
    runner: asyncio.Runner, served: ServedProgram, asked: Asked, program: list[Step]
) -> None:
    logging.disable(logging.CRITICAL)
    try:

        async def example() -> None:
            run, rules, has_left = Run(program, waits=has_whole_body), Rules(), False
            await leave(served, asked, run)
            for step, outcome in zip(program, run.outcomes, strict=True):
                if step.does == "leave":
                    has_left = True
                if isinstance(step.does, str):
                    continue
                state, expected = rules.state, rules.send(step.does)
                if asked.method == "HEAD" or rules.status in (204, 304):
                    continue  # its answer may be complete on the network, with its head
                if step.does["type"] == "http.response.early_hint":
                    continue  # hints are optional
                if not has_left:
                    assert (outcome is None) or expected != "ok"
                elif state != "complete" and expected == "ok":
                    assert isinstance(outcome, OSError), f"{step} in state {state}"
                    break  # the answer is over: later messages may be in a wrong order
            assert run.events[-1]["type"] == "http.disconnect"

        runner.run(example())
    finally:
        logging.disable(logging.NOTSET)
