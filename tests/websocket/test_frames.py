"""Frames that the server sends."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from microweb.websocket.frames import PING, encode_frame


def client() -> ClientProtocol:
    return ClientProtocol(parse_uri("ws://a/"), state=OPEN)


def test_a_ping_has_no_content() -> None:
    peer = client()
    peer.receive_data(PING)
    assert b"".join(peer.data_to_send())[:1] == b"\x8a"  # the peer's pong


@pytest.mark.parametrize("buffer", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_buffers_are_binary(buffer: bytes) -> None:
    assert encode_frame(buffer) == b"\x82\x03abc"


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a message as str or bytes, got dict"):
        encode_frame({"a": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70_000])
def test_frames_of_every_length_field(size: int) -> None:
    peer = client()
    peer.receive_data(encode_frame(b"x" * size) + encode_frame("y" * size))
    first, second = peer.events_received()
    assert (bytes(first.data), bytes(second.data)) == (b"x" * size, b"y" * size)
    assert (first.opcode, second.opcode) == (2, 1)
