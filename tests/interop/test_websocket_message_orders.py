"""Any order of messages that a WebSocket application may try gives what ASGI's specification says.

An example is a list of steps, run by an ASGI application for one handshake of a client on a real
socket. https://asgi.readthedocs.io/en/latest/specs/www.html#websocket
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.asgi_programs import Message, Receive, Run, Send, Step, check_outcomes
from support.asgi_serving import ServedProgram, served_on
from support.serving import DEADLINE_S
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.http11 import Response

# --- the specification


@dataclass
class Rules:
    """The state of a socket, and the outcome of each message that may be sent."""

    state: str = "connecting"  # "open", "closed", "refused", "refusing", "answered"
    sent: list[str | bytes] = field(default_factory=list)
    code: int = 0  # of the close
    reason: str = ""
    subprotocol: str | None = None
    status: int = 0  # of the refusal
    content: bytes = b""

    def send(self, message: Message) -> str:
        """Return "ok", "error" or "either", and go to the next state."""
        match message["type"], self.state:
            case "websocket.accept", "connecting":
                self.state, self.subprotocol = "open", message.get("subprotocol")
            case "websocket.send", "open":
                text = message.get("text")
                self.sent.append(message["bytes"] if text is None else text)
            case "websocket.close", "open":
                self.state, self.code = "closed", message.get("code", 1000)
                self.reason = message.get("reason") or ""
            case "websocket.close", "connecting":
                self.state, self.status = "refused", 403
            case "websocket.http.response.start", "connecting":
                self.state, self.status = "refusing", message["status"]
            case "websocket.http.response.body", "refusing":
                self.content += message.get("body", b"")
                if not message.get("more_body", False):
                    self.state = "answered"
            case _, "closed" | "refused" | "answered":
                return "either"  # an OSError, or ignored: the connection is closed
            case _:
                return "error"
        return "ok"


# --- examples

ACCEPTS = st.fixed_dictionaries(
    {"type": st.just("websocket.accept")},
    optional={
        "subprotocol": st.sampled_from([None, "chat"]),
        "headers": st.just([(b"x-a", b"1")]),
    },
)
SENDS = st.one_of(
    st.builds(
        lambda text: {"type": "websocket.send", "text": text},
        st.sampled_from(["", "a", "é" * 100, "x" * 2000]),
    ),
    st.builds(
        lambda data: {"type": "websocket.send", "bytes": data, "text": None},
        st.sampled_from([b"", b"\xff", b"y" * 200]),
    ),
)
CLOSES = st.fixed_dictionaries(
    {"type": st.just("websocket.close")},
    optional={
        "code": st.sampled_from([1000, 1008, 3000, 4999]),
        "reason": st.sampled_from(["", "bye", None]),
    },
)
REFUSAL_STARTS = st.fixed_dictionaries(
    {
        "type": st.just("websocket.http.response.start"),
        "status": st.sampled_from([401, 403, 404, 503]),
        "headers": st.sampled_from([[], [(b"x-a", b"1")]]),
    }
)
REFUSAL_BODIES = st.fixed_dictionaries(
    {"type": st.just("websocket.http.response.body")},
    optional={"body": st.sampled_from([b"", b"no", b"x" * 5000]), "more_body": st.booleans()},
)
FOREIGN = st.sampled_from(
    [
        {"type": "websocket.receive"},
        {"type": "websocket.connect"},
        {"type": "http.response.body", "body": b""},
        {"type": "websocket.unknown"},
    ]
)
MESSAGES = st.one_of(ACCEPTS, SENDS, CLOSES, REFUSAL_STARTS, REFUSAL_BODIES, FOREIGN)
DOES = st.one_of(MESSAGES, MESSAGES, st.sampled_from(["receive", "receive", "pause", "fail"]))
IS_CAUGHT = st.sampled_from([True, True, True, False])
STEPS = st.lists(st.builds(Step, DOES, IS_CAUGHT, st.booleans()), max_size=8)


@st.composite
def nearly_right(draw: st.DrawFn) -> list[Step]:
    """Return the steps of a whole conversation or refusal, with up to three others among them."""
    does: list[Message | str] = ["receive"]
    if draw(st.booleans()):
        does.append(draw(ACCEPTS))
        does += draw(st.lists(st.one_of(SENDS, st.just("receive")), max_size=4))
        does += draw(st.lists(CLOSES, max_size=1))
    elif draw(st.booleans()):
        does.append(draw(CLOSES))
    else:
        does.append(draw(REFUSAL_STARTS))
        does += [
            {**draw(REFUSAL_BODIES), "more_body": True} for _ in range(draw(st.integers(0, 2)))
        ]
        does.append({"type": "websocket.http.response.body", "body": b"end"})
    steps = [Step(each, is_caught=False, in_task=draw(st.booleans())) for each in does]
    for other in draw(st.lists(st.builds(Step, DOES, IS_CAUGHT), max_size=3)):
        steps.insert(draw(st.integers(0, len(steps))), other)
    return steps


CLIENT_MESSAGES = st.lists(st.sampled_from(["", "hello", "é", b"", b"\0\1"]), max_size=3)


# --- running them


@pytest.fixture(scope="module")
def served(runner: asyncio.Runner) -> Iterator[ServedProgram]:
    with served_on(runner, run_program) as served:
        yield served


async def run_program(run: Run | None, scope: Message, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"
    assert run is not None
    await run(receive, send)


@dataclass
class Seen:
    """The client's view of the connection."""

    status: int = 0  # of a refusal
    content: bytes = b""
    subprotocol: str | None = None
    messages: list[str | bytes] = field(default_factory=list)
    code: int | None = None
    reason: str = ""
    is_cut: bool = False  # without a response


async def look(served: ServedProgram, run: Run, messages: list[str | bytes]) -> Seen:
    """Connect, send `messages`, and read until the server closes."""
    served.run, seen = run, Seen()
    url = f"ws://{served.host}:{served.port}/program"
    async with asyncio.timeout(DEADLINE_S):
        try:
            async with connect(url, subprotocols=["chat"], proxy=None) as client:  # type: ignore[list-item]
                seen.subprotocol = client.subprotocol
                try:
                    for message in messages:
                        await client.send(message)
                    while True:
                        seen.messages.append(await client.recv())
                except ConnectionClosed:
                    pass
                seen.code, seen.reason = client.close_code, client.close_reason or ""
        except InvalidStatus as error:
            response: Response = error.response
            seen.status, seen.content = response.status_code, response.body or b""
        except (InvalidMessage, OSError):
            seen.is_cut = True
        await run.ended.wait()
    return seen


def waits_for(count: int) -> Callable[[Run], bool]:
    """Return whether the next `receive` of a run would wait for the client or the end."""

    def waits(run: Run) -> bool:
        done = len(run.events) + len(run.listeners)
        if done == 0:
            return False  # `websocket.connect`
        sent = [
            step.does
            for step, outcome in zip(run.steps, run.outcomes, strict=False)
            if outcome is None and not isinstance(step.does, str)
        ]
        now = Rules()
        for message in sent:
            now.send(message)
        if now.state == "open":
            return done > count
        return now.state in ("connecting", "refusing")

    return waits


def check_events(run: Run, messages: list[str | bytes]) -> None:
    """Check what the program received: the connect, the client's messages, the disconnect."""
    events = [*run.events, *run.heard]
    if not events:
        return
    assert events[0]["type"] == "websocket.connect"
    got: list[str | bytes] = []
    for event in events[1:]:
        if event["type"] == "websocket.receive":
            text, data = event.get("text"), event.get("bytes")
            assert (text is None) != (data is None)
            got.append(data if text is None else text)  # type: ignore[arg-type]
        else:
            assert event["type"] == "websocket.disconnect"
            assert isinstance(event["code"], int)
    assert got == messages[: len(got)]


def check_seen(seen: Seen, rules: Rules, failed: bool) -> None:
    match rules.state:
        case "connecting":  # it ended without an answer, which the specification leaves open
            assert seen.status in (403, 500)
        case "refused" | "answered":
            assert seen.status == rules.status
            if rules.state == "answered":
                assert seen.content == rules.content
        case "refusing":
            assert seen.is_cut or seen.status in (500, rules.status)
        case "open" | "closed":
            assert seen.messages == rules.sent
            assert seen.subprotocol == rules.subprotocol
            if rules.state == "closed":
                assert (seen.code, seen.reason) == (rules.code, rules.reason)
            else:  # the application has ended: with 1000, or with 1011 after an error
                assert seen.code == (1011 if failed else 1000)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(messages=CLIENT_MESSAGES, program=st.one_of(nearly_right(), nearly_right(), STEPS))
def test_any_order_gives_what_the_specification_says(
    runner: asyncio.Runner,
    served: ServedProgram,
    messages: list[str | bytes],
    program: list[Step],
) -> None:
    logging.disable(logging.CRITICAL)  # errors of programs are logged
    try:

        async def example() -> None:
            rules = Rules()
            run = Run(program, waits=waits_for(len(messages)))
            seen = await look(served, run, messages)
            failed = check_outcomes(run, rules)
            hypothesis.event(rules.state)
            check_events(run, messages)
            check_seen(seen, rules, failed)

        runner.run(example())
    finally:
        logging.disable(logging.NOTSET)
