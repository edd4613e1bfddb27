from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microweb.errors import BadRequest
from microweb.testing.eventsource import EventParser, ReceivedEvent

STREAM = (
    b"\xef\xbb\xbf: a comment\r\n"
    b"data: first\xc3\xa9\ndata:  second\r\rretry: 250\nid: 7\n\n"
    b"event: tick\r\ndata\r\n\r\nunknown: x\ndata:\xff\nid: a\0b\nretry: 1x\n\n"
    b"id\ndata: \xe2\x80\xa8\n\ndata: never ended\n"
)
EVENTS = [
    ReceivedEvent("firsté\n second", "message", ""),
    ReceivedEvent("", "tick", "7", 250),
    ReceivedEvent("\ufffd", "message", "7"),
    ReceivedEvent("\u2028", "message", ""),
]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_stream_is_read_however_it_is_cut(cut: int) -> None:
    parser = EventParser()
    assert parser.feed(STREAM[:cut]) + parser.feed(STREAM[cut:]) == EVENTS
    assert (parser.last_event_id, parser.retry) == ("", 250)


def test_stream_is_read_byte_by_byte() -> None:
    parser = EventParser()
    assert [event for byte in STREAM for event in parser.feed(bytes([byte]))] == EVENTS


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_each_line_end_counts_as_soon_as_it_is_there(end: bytes) -> None:
    parser = EventParser()
    assert parser.feed(b"data: a" + end + end) == [ReceivedEvent("a")]
    assert parser.feed(end + b"data: b" + end + end) == [ReceivedEvent("b")]


@pytest.mark.parametrize(
    ("field", "data"),
    [
        (b"data:a", "a"),
        (b"data: a", "a"),
        (b"data:  a", " a"),
        (b"data:\ta", "\ta"),
        (b"data: a:b", "a:b"),
        (b"data", ""),
        (b"data:", ""),
        (b"\xef\xbb\xbfdata: a", "a"),
    ],
)
def test_field_is_read(field: bytes, data: str) -> None:
    assert EventParser().feed(field + b"\n\n") == [ReceivedEvent(data)]


@pytest.mark.parametrize(
    "line", [b":data: a", b" data: a", b"Data: a", b"data : a", b"\n\xef\xbb\xbfdata: a", b"dat"]
)
def test_what_is_no_field_is_ignored(line: bytes) -> None:
    assert EventParser().feed(line + b"\n\n") == []


def test_event_without_data_is_none_and_its_type_is_forgotten() -> None:
    parser = EventParser()
    assert parser.feed(b"event: tick\nid: 7\n\n") == []
    assert parser.last_event_id == "7"
    assert parser.feed(b"data: a\n\n") == [ReceivedEvent("a", "message", "7")]


def test_id_counts_once_its_event_has_ended() -> None:
    parser = EventParser("5")
    parser.feed(b"id: 6\ndata: a\n")
    assert parser.last_event_id == "5"
    assert parser.feed(b"\n") == [ReceivedEvent("a", "message", "6")]
    assert parser.last_event_id == "6"


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "٣", "1" * 5000])
def test_retry_that_is_no_number_is_ignored(value: str) -> None:
    parser = EventParser()
    parser.feed(f"retry: {value}\n\n".encode())
    assert parser.retry is None


def test_data_is_read_as_json() -> None:
    (event,) = EventParser().feed('data: {"a":\ndata: "é"}\n\n'.encode())
    assert event.json() == {"a": "é"}
    with pytest.raises(BadRequest):
        ReceivedEvent("x").json()


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"data", b"id", b":", b" ", b"a", b"\xc3", b"\xa9"])),
    st.data(),
)
def test_cuts_change_nothing(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cut = data.draw(st.integers(0, len(stream)))
    whole, parts = EventParser(), EventParser()
    assert parts.feed(stream[:cut]) + parts.feed(stream[cut:]) == whole.feed(stream)
    assert parts.last_event_id == whole.last_event_id
