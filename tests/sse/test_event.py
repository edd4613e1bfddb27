from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answering import make_request

from microweb.http.limits import Limits
from microweb.http.request_head import RequestLines
from microweb.parser import Parser
from microweb.sse.event import HEARTBEAT, ServerEvent, encode, event_encoder
from microweb.testing.eventsource import EventParser, ReceivedEvent

LINE_ENDS = ["\n", "\r", "\r\n"]
NO_LINE_ENDS = ["\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1c", "\x1d", "\x1e", "\0"]

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# The texts that a parser may most easily mistake for another field or line.
FORGERY = st.lists(
    st.sampled_from(
        [*LINE_ENDS, "data: x", "id: 7", "event: y", "retry: 1", ":", " ", "\0", "\ufeff", *"ab"]
    )
).map("".join)
DATA = TEXT | FORGERY
TYPES = TEXT.filter(lambda text: "\n" not in text and "\r" not in text)
IDS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32, exclude_characters="\x7f"))


def parse(data: bytes) -> list[ReceivedEvent]:
    return EventParser().feed(data)


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        ("hello", b"data: hello\n\n"),
        ("", b"data: \n\n"),
        (" é", b"data:  \xc3\xa9\n\n"),
        ({"a": [1, "x\ny"]}, b'data: {"a":[1,"x\\ny"]}\n\n'),
        ([date(2026, 1, 2)], b'data: ["2026-01-02"]\n\n'),
        (7, b"data: 7\n\n"),
        (ServerEvent(None), b"data: null\n\n"),
        (ServerEvent("a", event="tick"), b"event: tick\ndata: a\n\n"),
        (ServerEvent("a", id="7"), b"id: 7\ndata: a\n\n"),
        (ServerEvent("a", id=""), b"id: \ndata: a\n\n"),
        (ServerEvent("a", event=""), b"data: a\n\n"),
        (ServerEvent("a", retry=0), b"retry: 0\ndata: a\n\n"),
        (
            ServerEvent([], event="e", id="i", retry=1500),
            b"event: e\nid: i\nretry: 1500\ndata: []\n\n",
        ),
    ],
)
def test_event_is_encoded(event: object, encoded: bytes) -> None:
    assert encode(event) == encoded


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_each_line_of_data_is_a_field(line_end: str) -> None:
    assert encode(f"a{line_end}{line_end}b{line_end}") == b"data: a\ndata: \ndata: b\ndata: \n\n"


@pytest.mark.parametrize("text", NO_LINE_ENDS)
def test_what_ends_no_line_stays_in_it(text: str) -> None:
    assert encode(f"a{text}b") == b"data: a%bb\n\n" % text.encode()
    assert parse(encode(ServerEvent(f"a{text}b", f"e{text}"))) == [
        ReceivedEvent(f"a{text}b", f"e{text}")
    ]


@pytest.mark.parametrize("line_end", LINE_ENDS)
@pytest.mark.parametrize("field", ["event", "id"])
def test_type_and_id_are_one_line(field: str, line_end: str) -> None:
    with pytest.raises(ValueError, match="expected an event"):
        ServerEvent("a", **{field: f"x{line_end}data: forged"})  # type: ignore[arg-type]


@pytest.mark.parametrize("id", ["a\0", "\x1f", "a\tb", "\x7f", " a", "a ", "\ud800"])
def test_id_that_no_field_brings_back_is_refused(id: str) -> None:
    with pytest.raises(ValueError):
        ServerEvent("a", id=id)


@pytest.mark.parametrize("event", ["\ud800", 7])
def test_type_that_is_no_text_is_refused(event: str) -> None:
    with pytest.raises(ValueError):
        ServerEvent("a", event=event)


@pytest.mark.parametrize("retry", [-1, 1.5, True, "5"])
def test_retry_is_a_number_of_milliseconds(retry: int) -> None:
    with pytest.raises(ValueError, match="expected retry in milliseconds"):
        ServerEvent("a", retry=retry)


@pytest.mark.parametrize("event", [None, b"bytes", object()])
def test_what_stands_for_no_event_is_refused(event: object) -> None:
    with pytest.raises(TypeError):
        encode(event)


def test_what_json_does_not_know_is_asked_for() -> None:
    @dataclass
    class Point:
        x: int

    assert encode(Point(1), None) == b'data: {"x":1}\n\n'
    assert encode(1j, lambda value: "1j") == b'data: "1j"\n\n'
    assert encode(ServerEvent(1j, id="1"), lambda value: "1j") == b'id: 1\ndata: "1j"\n\n'


def test_what_is_encoded_already_is_sent_as_it_is() -> None:
    class Message:
        def encode_event(self) -> bytes:
            return b"id: 1\ndata: once for all\n\n"

    assert encode(Message()) == b"id: 1\ndata: once for all\n\n"


def test_heartbeat_is_no_event() -> None:
    assert parse(HEARTBEAT * 3) == []
    assert parse(b"data: a\n\n" + HEARTBEAT + b"data: b\n\n") == [
        ReceivedEvent("a"),
        ReceivedEvent("b"),
    ]


def test_event_shows_what_it_is() -> None:
    assert repr(ServerEvent("a", id="1")) == "ServerEvent('a', event=None, id='1', retry=None)"


@given(data=DATA, event=TYPES, id=IDS, retry=st.none() | st.integers(0, 10**12))
def test_what_is_encoded_is_read_as_one_event(
    data: str, event: str, id: str, retry: int | None
) -> None:
    try:
        sent = ServerEvent(data, event, id, retry)
    except ValueError:
        assert id != id.strip(" ")
        return
    lines = data.replace("\r\n", "\n").replace("\r", "\n")
    assert parse(encode(sent)) == [ReceivedEvent(lines, event or "message", id, retry)]


@given(st.lists(DATA))
def test_no_data_forges_an_event(texts: list[str]) -> None:
    received = parse(b"".join(map(encode, texts)))
    assert [event.data for event in received] == [
        text.replace("\r\n", "\n").replace("\r", "\n") for text in texts
    ]
    assert {(event.event, event.id, event.retry) for event in received} <= {("message", "", None)}


@given(IDS)
def test_id_comes_back_in_the_next_request(id: str) -> None:
    try:
        ServerEvent("", id=id)
    except ValueError:
        return
    parser = Parser(make_request().transport, RequestLines(), Limits())
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\nLast-Event-ID: %b\r\n\r\n" % id.encode())
    request = parser.next_request()
    assert request is not None
    assert (request.last_event_id or "") == id


def test_last_event_id_is_utf_8_and_may_be_missing() -> None:
    assert make_request().last_event_id is None
    parser = Parser(make_request().transport, RequestLines(), Limits())
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\nLast-Event-ID: \xff7\r\n\r\n")
    request = parser.next_request()
    assert request is not None
    assert request.last_event_id == "\ufffd7"


@pytest.mark.parametrize(
    ("name", "value"),
    [("id", "1\n\ndata: forged"), ("event", "a\rdata: forged"), ("retry", -1), ("retry", True)],
)
def test_what_is_set_later_is_checked_as_well(name: str, value: object) -> None:
    event = ServerEvent("a", "b", "c", 1)
    with pytest.raises(ValueError, match="expected"):
        setattr(event, name, value)
    assert (event.event, event.id, event.retry) == ("b", "c", 1)


# --- the encoder of many events


class Order(dict[str, object]):
    pass


class Encoded:
    def encode_event(self) -> bytes:
        return b"data: own\n\n"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"n": 1},
        {"text": "a\nb\r\u2028c", "ö": ["\ud800", None, True, 1.5]},
        [],
        [1, {"a": [2]}],
        {"at": date(2026, 10, 1)},
        {"own": object},
        Order(a=1),
        "text\nof two lines",
        ServerEvent({"n": 1}, "type", "7"),
        Encoded(),
        3,
        (1, 2),
    ],
    ids=lambda event: type(event).__name__,
)
def test_encoder_of_many_events_writes_each_as_one_does(event: object) -> None:
    def default(value: object) -> object:
        return repr(value)

    assert event_encoder(default)(event) == encode(event, default)


def nested() -> list[object]:
    value: list[object] = []
    for _ in range(200_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"n": math.nan},
        lambda: [math.inf],
        lambda: {"n": object()},
        nested,
        lambda: None,
        lambda: b"bytes",
        lambda: {(1, 2): 3},
    ],
)
def test_encoder_of_many_events_refuses_what_one_refuses(make: Callable[[], object]) -> None:
    event = make()
    with pytest.raises((TypeError, ValueError)) as one:
        encode(event)
    with pytest.raises(type(one.value)) as many:
        event_encoder(None)(event)
    assert (type(many.value), str(many.value)) == (type(one.value), str(one.value))
