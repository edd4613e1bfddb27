from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.websocketing import (
    CLOSE,
    FIN,
    LIMIT,
    OFFER,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Received,
    close_frame,
    deflated,
    empty_blocks,
    masked,
)
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import CONT
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from microweb.errors import BadRequest
from microweb.websocket.frames import encode_frame
from microweb.websocket.protocol import Frames, Message


def test_nothing_is_read_once_the_parser_is_closed() -> None:
    frames = Frames(LIMIT)
    frames.feed(masked(b"", PING) * 100 + masked("a"))
    assert frames.next_message() is None and frames.has_more
    frames.close_parser()
    assert frames.next_message() is None and not frames.has_more
    frames.feed(masked(b"", PING) + masked("b"))
    assert frames.next_message() is None
    assert frames.is_over


CONTINUED = [masked("He", bits=0), masked("llö", 0)]
MIXED = [
    *(masked("Hello"), masked(b"\0\xff"), masked(""), masked(b""), masked("x" * 125)),
    *(masked("y" * 126), masked(b"z" * 300), masked(b"ping", PING), masked(b"", PONG)),
    *CONTINUED,
    *(masked(b"a", bits=0), masked(b"", PING), masked(b"b", 0, bits=0), masked(b"c", 0)),
    close_frame(1000, "bye"),
]
MESSAGES = ["Hello", b"\0\xff", "", b"", "x" * 125, "y" * 126, b"z" * 300, "Hellö", b"abc"]
ANSWERS = b"\x8a\x04ping" + b"\x8a\x00" + b"\x88\x05\x03\xe8bye"


def test_a_frame_that_drips_takes_no_more_memory_than_it_has() -> None:
    frame, frames = masked(b"x" * 100_000), Frames(100_000)
    tracemalloc.start()
    try:
        for start in range(0, len(frame) - 2, 2):
            frames.feed(bytes(memoryview(frame)[start : start + 2]))  # as a transport reads it
            assert frames.next_message() is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * len(frame)
    frames.feed(frame[-2:])
    assert frames.next_message() == b"x" * 100_000


def test_nothing_is_held_of_a_message_that_was_taken() -> None:
    frame, frames = masked(b"x" * 100_000), Frames(100_000)
    frames.feed(frame[:70_000])
    assert frames.next_message() is None
    assert frames.held == 70_000
    frames.feed(frame[70_000:])
    assert frames.held == len(frame)
    tracemalloc.start()
    try:
        assert frames.next_message() == b"x" * 100_000
        frames.feed(frame + frame)
        assert frames.next_message() == frames.next_message() == b"x" * 100_000
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert frames.held == 0
    assert kept < 10_000


def test_messages_of_all_kinds() -> None:
    received = Received(b"".join(MIXED))
    assert received.messages == MESSAGES
    assert received.output == ANSWERS
    assert received.frames.is_over and not received.frames.has_failed
    assert received.frames.closed_with == (1000, "bye")


@pytest.mark.parametrize("cut", range(1, len(b"".join(MIXED))))
def test_messages_cut_at_every_place(cut: int) -> None:
    data = b"".join(MIXED)
    received = Received(data[:cut], data[cut:])
    assert (received.messages, received.output) == (MESSAGES, ANSWERS)


def test_messages_byte_by_byte() -> None:
    received = Received(*(bytes((byte,)) for byte in b"".join(MIXED)))
    assert (received.messages, received.output) == (MESSAGES, ANSWERS)


@pytest.mark.parametrize("size", [125, 126, 65535, 65536, 100_000])
def test_sizes_around_those_of_the_length_field(size: int) -> None:
    data = masked("é" * (size // 2) + "x" * (size % 2))
    pieces = [data[start : start + 65536] for start in range(0, len(data), 65536)]
    (message,) = Received(*pieces, limit=size).messages
    assert isinstance(message, str) and len(message.encode()) == size
    assert Received(*pieces, limit=size - 1).frames.closed_with == (1009, RefusedSize(size))


class RefusedSize(str):
    """Equal to a reason that names a size."""

    def __new__(cls, size: int) -> RefusedSize:
        return super().__new__(cls, str(size))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str.__str__(self) in other.replace(",", "")

    __hash__ = str.__hash__


# --- violations of the protocol


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (masked("x", bits=FIN | RSV1), 1002),
        (masked("x", bits=FIN | RSV2), 1002),
        (masked("x", bits=FIN | RSV3), 1002),
        *((masked(b"", opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        (masked(b"x" * 126, PING), 1002),
        (masked(b"", PING, bits=0), 1002),
        (masked(b"", CLOSE, bits=0), 1002),
        (masked("x", 0), 1002),  # continues nothing
        (masked("x", bits=0) + masked("y"), 1002),  # begins inside another
        (masked("x", bits=0) + masked(b"y"), 1002),
        (masked(b"\x03", CLOSE), 1002),
        *((close_frame(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)),
        (masked(b"\x03\xe8\xff", CLOSE), 1007),
        (masked(b"\xc3\x28", TEXT), 1007),
        (masked(b"\xed\xa0\x80", TEXT), 1007),  # a surrogate
        (masked(b"\xf4\x90\x80\x80", TEXT), 1007),
        (masked(b"\xce", TEXT), 1007),  # cut
        (masked(b"\xce", TEXT, bits=0) + masked(b"", 0), 1007),
        (
            masked(b"\xce", TEXT, bits=0) + masked(b"\xce", 0, bits=0),
            1007,
        ),  # before its last fragment
        (masked("x" * (LIMIT + 1)), 1009),
        (masked("x" * LIMIT, bits=0) + masked("x", 0), 1009),
        (b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 1009),  # before its payload
    ],
)
def test_what_breaks_the_rules_fails(data: bytes, code: int) -> None:
    received = Received(masked("first") + data + masked("never"))
    assert received.messages == ["first"]
    assert received.frames.is_over and received.frames.has_failed
    assert received.frames.closed_with is not None
    assert received.frames.closed_with[0] == code
    assert received.output.startswith(b"\x88")
    assert received.output[2:4] == code.to_bytes(2)


def test_a_close_without_a_code_is_answered_by_one() -> None:
    received = Received(masked(b"", CLOSE))
    assert received.output == b"\x88\x00"
    assert received.frames.closed_with == (1005, "")
    assert not received.frames.has_failed


def test_nothing_is_read_behind_a_close() -> None:
    received = Received(close_frame(1000) + masked("late") + b"\xff\xff")
    assert received.messages == []
    assert received.output == b"\x88\x02\x03\xe8"


def test_a_close_inside_a_message_is_answered() -> None:
    received = Received(masked("x", bits=0) + close_frame(1001))
    assert received.messages == []
    assert received.output[2:4] in ((1001).to_bytes(2), (1002).to_bytes(2))


def test_our_close_comes_first() -> None:
    frames = Frames(LIMIT)
    frames.close(4000, "done")
    frames.close(4001, "again")
    assert frames.output == b"\x88\x06\x0f\xa0done"
    frames.feed(masked("still") + close_frame(4000))
    assert frames.next_message() == "still"
    assert frames.next_message() is None
    assert frames.is_over and frames.closed_with == (4000, "done")


def test_a_close_may_stand_inside_a_message() -> None:
    received = Received(masked("half", bits=0), close_frame(1000), masked("rest", 0))
    assert received.messages == []
    assert received.output == b"\x88\x02\x03\xe8"
    assert received.frames.closed_with == (1000, "")


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_wrong_byte_in_a_text_is_refused_when_it_comes(cut: int) -> None:
    frame = masked("κόσμε".encode() + b"\xf4\x90\x80\x80" + b"edited", TEXT)
    wrong_at = 6 + len("κόσμε".encode()) + 1  # f4 may begin a character, but 90 can't follow it
    for end in (wrong_at, wrong_at + 1):
        pieces = [frame[:cut], *(frame[at : at + 1] for at in range(cut, end))]
        assert Received(*pieces).frames.is_over == (max(cut, end) > wrong_at), end
    assert Received(frame[:cut], frame[cut : wrong_at + 1]).output[2:4] == b"\x03\xef"  # 1007


def test_a_text_may_be_cut_inside_a_character() -> None:
    text = "κόσμε" * 30
    frame = masked(text)
    for cut in range(1, len(frame)):
        assert Received(frame[:cut], frame[cut:]).messages == [text]


def test_empty_fragments_take_no_room() -> None:
    frames = Frames(LIMIT)
    frames.feed(masked(b"", bits=0))
    assert frames.next_message() is None
    for _ in range(1000):
        frames.feed(masked(b"", 0, bits=0))
        assert frames.next_message() is None
    assert frames._parts == b""
    frames.feed(masked(b"x", 0))
    assert frames.next_message() == b"x"


# --- compression


@pytest.mark.parametrize("offer", [";", "permessage-deflate; =", "a b", "permessage-deflate;;"])
def test_malformed_offers_are_400(offer: str) -> None:
    with pytest.raises(BadRequest):
        Frames(LIMIT).negotiate([offer])


def test_one_read_inflates_message_by_message() -> None:
    bomb = masked(deflated(bytes(100_000)), bits=FIN | RSV1)
    frames = Frames(100_000)
    frames.negotiate([OFFER])
    frames.feed(bomb * 10)
    assert frames.next_message() == bytes(100_000)
    assert frames._position == len(bomb)  # the other frames are unread


def test_text_that_inflates_to_no_utf_8_fails() -> None:
    received = Received(masked(deflated(b"\xff"), TEXT, bits=FIN | RSV1), offers=(OFFER,))
    assert received.frames.closed_with is not None and received.frames.closed_with[0] == 1007


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("size", [1, 100, 126, LIMIT, 65_536, 1_000_000])
def test_a_message_as_large_as_the_limit_is_taken(size: int, level: int) -> None:
    data = random.Random(size).randbytes(size)  # compression makes it larger
    packer = zlib.compressobj(level, wbits=-12, memLevel=1)
    packed = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    whole = masked(packed, bits=FIN | RSV1)
    half = len(packed) // 2
    parts = masked(packed[:half], bits=RSV1) + masked(packed[half:], 0)
    plain = masked(data)
    plain_parts = masked(data[: size // 2], bits=0) + masked(data[size // 2 :], 0)
    for sent in (whole, parts, plain, plain_parts):
        assert Received(sent, limit=size, offers=(OFFER,)).messages == [data]
        refused = Received(sent, limit=size - 1, offers=(OFFER,)) if size > 1 else None
        if refused is not None:
            assert refused.messages == []
            assert refused.frames.closed_with is not None
            assert refused.frames.closed_with[0] == 1009


@pytest.mark.parametrize("size", [1_000, 40_000, 200_000])
@pytest.mark.parametrize("fragments", [1, 7])
def test_inflating_leaves_others_their_turn(size: int, fragments: int) -> None:
    data = empty_blocks(size)
    part = -(-len(data) // fragments)
    sent = b"".join(
        masked(
            data[at : at + part],
            0 if at else TEXT,
            bits=(0 if at else RSV1) | (FIN if at + part >= len(data) else 0),
        )
        for at in range(0, len(data), part)
    )
    frames = Frames(1 << 20)
    frames.negotiate(["permessage-deflate"])
    frames.feed(sent + masked("next"))
    turns, messages = 0, list[Message]()
    while (message := frames.next_message()) is not None or frames.has_more:
        if message is None:
            turns += 1
        else:
            messages.append(message)
    assert messages == ["", "next"]
    assert turns >= len(data) // (64 * 1024)
    assert frames.unread == 0


def test_many_small_messages_that_inflate_to_nothing_leave_others_their_turn() -> None:
    frames = Frames(1 << 20)
    frames.negotiate(["permessage-deflate"])
    frames.feed(masked(empty_blocks(10_000), TEXT, bits=FIN | RSV1) * 20)
    turns = 0
    for _ in range(100):
        if frames.next_message() is None:
            turns += frames.has_more
    assert turns >= 4
    assert frames.unread == 0


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["empty", "one byte"])
@pytest.mark.parametrize("offers", [(), (OFFER,)], ids=["plain", "compressed"])
@pytest.mark.parametrize("count", [50, 10_000])
def test_fragments_leave_others_their_turn(
    piece: bytes, offers: tuple[str, ...], count: int
) -> None:
    packed = RSV1 if offers else 0
    content = deflated(piece * count) if offers else piece * count
    pieces = [content[at : at + 1] for at in range(count)]
    message = masked(b"", bits=packed) + b"".join(masked(each, 0, bits=0) for each in pieces)
    message += masked(b"", 0)
    frames = Frames(count)
    frames.negotiate(list(offers))
    frames.feed(message * (10_000 // count))
    taken, unread, messages = list[int](), frames.unread, list[Message]()
    while (found := frames.next_message()) is not None or frames.has_more:
        if found is None:
            taken.append(unread - frames.unread)
            unread = frames.unread
        else:
            messages.append(found)
    assert messages == [piece * count] * (10_000 // count)
    assert max(taken) <= 100 * len(masked(b"x"))


@pytest.mark.parametrize("cut", range(1, 200_001, 33_333))
def test_a_large_compressed_message_may_be_cut_anywhere(cut: int) -> None:
    data = random.Random(1).randbytes(200_000)
    frame = masked(deflated(data), bits=FIN | RSV1)
    received = Received(frame[:cut], frame[cut:], limit=200_000, offers=(OFFER,))
    assert received.messages == [data]
    received = Received(frame[:cut], frame[cut:], limit=199_999, offers=(OFFER,))
    assert received.messages == []
    assert received.frames.closed_with is not None and received.frames.closed_with[0] == 1009


@pytest.mark.parametrize(
    "frame",
    [
        masked(b"", bits=0) + masked("x" * 126, 0)[:8],  # the header alone
        masked(b"y" * 60, bits=0) + masked("x" * 60, 0),
        masked(b"", 2, bits=RSV1) + b"\x00\xff" + (2000).to_bytes(8) + b"abcd",
    ],
)
def test_a_message_that_will_be_too_large_is_refused_at_once(frame: bytes) -> None:
    received = Received(frame, limit=100, offers=(OFFER,))
    assert received.frames.closed_with is not None and received.frames.closed_with[0] == 1009


def test_an_extension_that_is_not_ours_is_declined() -> None:
    for offer in ('bbf-usp-protocol; eid="proto::agent"', "", ", ,"):
        assert Frames(LIMIT).negotiate([offer]) is None
        answer = Frames(LIMIT).negotiate([offer, OFFER])
        assert answer is not None and answer.startswith("permessage-deflate")


def test_only_what_is_worth_it_is_compressed() -> None:
    frames = Frames(LIMIT)
    assert frames.compress("x" * 5000) is None  # not agreed
    frames.negotiate([OFFER])
    assert frames.compress("x" * 1023) is None
    compressed = frames.compress("x" * 1024)
    assert compressed is not None and len(compressed) < 40
    assert compressed[0] == FIN | RSV1 | TEXT
    assert frames.compress(b"x" * 1024) is not None


# --- with another implementation


def client_of(offers: bool) -> tuple[ClientProtocol, Frames]:
    """Return both sides after a handshake."""
    factory = ClientPerMessageDeflateFactory(compress_settings={"level": 1})
    client = ClientProtocol(
        parse_uri("ws://a/"), extensions=[factory] if offers else None, state=OPEN, max_size=None
    )
    frames = Frames(1_000_000)
    if offers:
        field = client.connect().headers["Sec-WebSocket-Extensions"]
        answer = frames.negotiate([field])
        assert answer is not None
        client.extensions = client.process_extensions(_extensions(answer))
    return client, frames


def _extensions(value: str):  # type: ignore[no-untyped-def]
    from websockets.datastructures import Headers

    return Headers({"Sec-WebSocket-Extensions": value})


messages = st.lists(st.text(max_size=300) | st.binary(max_size=3000), max_size=5)
cuts = st.lists(st.integers(1, 400), min_size=1, max_size=10)


@given(messages, cuts, st.booleans(), st.booleans())
def test_what_a_client_sends_arrives(
    sent: list[Message], sizes: list[int], offers: bool, in_fragments: bool
) -> None:
    client, frames = client_of(offers)
    for message in sent:
        data = message.encode() if isinstance(message, str) else message
        send = client.send_text if isinstance(message, str) else client.send_binary
        if in_fragments and len(data) > 1:
            send(data[:1], fin=False)
            client.send_ping(b"between")
            client.send_continuation(data[1:], fin=True)
        else:
            send(data)
    wire, got, turn = b"".join(client.data_to_send()), [], 0
    while wire:
        size = sizes[turn % len(sizes)]
        frames.feed(wire[:size])
        wire, turn = wire[size:], turn + 1
        while (found := frames.next_message()) is not None or frames.has_more:
            if found is not None:
                got.append(found)
    assert got == sent


@given(messages, st.booleans())
def test_what_is_sent_arrives_at_a_client(sent: list[Message], offers: bool) -> None:
    client, frames = client_of(offers)
    for message in sent:
        client.receive_data(frames.compress(message) or encode_frame(message))
    got = [
        bytes(event.data) if event.opcode == 2 else bytes(event.data).decode()
        for event in client.events_received()
    ]
    assert got == sent
    assert CONT not in {event.opcode for event in client.events_received()}
