"""Compression: negotiation, the limit, and final blocks. RFC 7692"""

from __future__ import annotations

import zlib

import pytest
from support.websocketing import (
    FIN,
    LIMIT,
    OFFER,
    PING,
    RSV1,
    TEXT,
    Received,
    deflated,
    masked,
)

from microweb.websocket.deflate import NAME, agree
from microweb.websocket.protocol import Frames


def test_an_offer_that_can_not_be_met_is_declined() -> None:
    assert agree([("server_max_window_bits", "8")], LIMIT) is None
    agreed = agree([("server_max_window_bits", "10")], LIMIT)
    assert agreed is not None and agreed[0].startswith(f"{NAME}; ")


def test_compression_is_agreed_with_small_windows() -> None:
    frames = Frames(LIMIT)
    assert frames.negotiate([]) is None
    assert frames.negotiate(["x-webkit-deflate-frame, permessage-other"]) is None
    assert frames.negotiate(["permessage-deflate"]) == (
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=12"
    )
    assert Frames(LIMIT).negotiate([OFFER]) == (
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; "
        "client_max_window_bits=12"
    )


def test_the_first_offer_that_can_be_met_is_taken() -> None:
    offers = ["permessage-deflate; server_max_window_bits=8, permessage-deflate"]
    answer = Frames(LIMIT).negotiate(offers)
    assert answer == "permessage-deflate; server_no_context_takeover; server_max_window_bits=12"
    assert Frames(LIMIT).negotiate(["permessage-deflate; unknown=1"]) is None


def test_compressed_messages_are_received() -> None:
    text = "hello " * 100
    data = deflated(text.encode())
    received = Received(
        masked(data, TEXT, bits=FIN | RSV1)
        + masked(data[:9], bits=RSV1)
        + masked(b"", PING)
        + masked(data[9:], 0)
        + masked("plain"),
        offers=(OFFER,),
    )
    assert received.messages == [text, text.encode(), "plain"]


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_bomb_does_not_go_off(fragments: int) -> None:
    data = deflated(bytes(10_000_000))
    size = -(-len(data) // fragments)
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    frames = []
    for index, part in enumerate(parts):
        bits = (RSV1 if index == 0 else 0) | (FIN if part is parts[-1] else 0)
        frames.append(masked(part, 2 if index == 0 else 0, bits=bits))
    received = Received(b"".join(frames), limit=100_000, offers=(OFFER,))
    assert received.messages == []
    assert received.frames.closed_with is not None and received.frames.closed_with[0] == 1009


def test_a_message_that_fills_the_limit_when_inflated() -> None:
    packed = masked(deflated(bytes(LIMIT)), bits=FIN | RSV1)
    assert Received(packed, offers=(OFFER,)).messages == [bytes(LIMIT)]
    packed = masked(deflated(bytes(LIMIT + 1)), bits=FIN | RSV1)
    assert Received(packed, offers=(OFFER,)).messages == []


def test_what_can_not_be_inflated_fails() -> None:
    received = Received(masked(b"\xff" * 20, bits=FIN | RSV1), offers=(OFFER,))
    assert received.frames.closed_with is not None and received.frames.closed_with[0] == 1002


def finished(data: bytes, window: bytes = b"", bits: int = 12) -> bytes:
    """Return a message whose last block has BFINAL. RFC 7692 section 7.2.3.4"""
    packer = zlib.compressobj(wbits=-bits, zdict=window)
    return packer.compress(data) + packer.flush(zlib.Z_FINISH) + b"\0"


HELLO = bytes.fromhex("f348cdc9c9070000")  # of RFC 7692 section 7.2.3.4


def test_the_final_block_of_the_rfc() -> None:
    assert finished(b"Hello") == HELLO
    packed = masked(HELLO, TEXT, bits=FIN | RSV1)
    for offer in ("permessage-deflate", OFFER, f"{OFFER}; client_no_context_takeover"):
        received = Received(packed + packed + masked("plain") + packed, offers=(offer,))
        assert received.messages == ["Hello", "Hello", "plain", "Hello"]


@pytest.mark.parametrize(("offer", "bits"), [(OFFER, 12), ("permessage-deflate", 15)])
def test_a_final_block_leaves_the_window(offer: str, bits: int) -> None:
    texts = [bytes(str(list(range(start, start + 900))), "ascii") for start in (0, 0, 450, 0)]
    sent, window = b"", b""
    for text in texts:
        packed = finished(text, window[-(1 << bits) :], bits)
        sent += masked(packed, TEXT, bits=FIN | RSV1)
        window += text
    packer = zlib.compressobj(wbits=-bits, zdict=window[-(1 << bits) :])  # it never finishes
    packed = packer.compress(texts[0]) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(packed) < 3000 if bits == 15 else True  # it refers to the messages before
    sent += masked(packed[:-4], TEXT, bits=FIN | RSV1)
    received = Received(sent, limit=10_000, offers=(offer,))
    assert received.messages == [text.decode() for text in (*texts, texts[0])]


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_final_block_may_stand_inside_a_message(cut: int) -> None:
    data = finished(b"Hello")[:-1] + finished(b"Hello, world", b"Hello")
    first, rest = data[:cut], data[cut:]
    frames = masked(first, TEXT, bits=RSV1) + masked(rest, 0)
    again = masked(HELLO, TEXT, bits=FIN | RSV1)
    received = Received(frames + again, offers=(OFFER,))
    assert received.messages == ["HelloHello, world", "Hello"]


def test_final_blocks_in_a_message_are_bounded() -> None:
    received = Received(masked(b"\x03\0" * 400, TEXT, bits=FIN | RSV1), offers=(OFFER,))
    assert received.frames.closed_with == (1002, "too many final blocks in a message")
