from __future__ import annotations

import asyncio

from microweb.server.handover import Delivery, take_buffered


async def test_what_a_reader_holds_is_taken_without_waiting() -> None:
    reader = asyncio.StreamReader()
    assert take_buffered(reader, 4) == b""
    reader.feed_data(b"0123456789")
    assert take_buffered(reader, 4) == b"0123456789"
    assert take_buffered(reader, 4) == b""
    reader.feed_data(b"more")
    assert await reader.read(10) == b"more"  # nobody is taken to wait there
    reader.feed_data(b"last")
    reader.feed_eof()
    assert take_buffered(reader, 10) == b"last"
    assert reader.at_eof()


class Noting(asyncio.Protocol):
    """A protocol, and a receiver, that notes what it is told."""

    def __init__(self, notes: list[str], name: str) -> None:
        self.notes = notes
        self.name = name

    def note(self, what: str) -> None:
        self.notes.append(f"{self.name} {what}")

    def data_received(self, data: bytes) -> None:
        self.note(f"data {data!r}")

    def end_received(self) -> None:
        self.note("end")

    def eof_received(self) -> bool:
        self.note("eof")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.note("lost")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")


def test_all_but_the_bytes_goes_to_the_streams() -> None:
    notes: list[str] = []
    delivery = Delivery(Noting(notes, "streams"), Noting(notes, "receiver"))
    delivery.data_received(b"x")
    delivery.pause_writing()
    delivery.resume_writing()
    assert delivery.eof_received() is True
    delivery.connection_lost(None)
    assert notes == [
        "receiver data b'x'",
        "streams pause",
        "streams resume",
        "streams eof",
        "receiver end",
        "streams lost",
        "receiver end",
    ]
