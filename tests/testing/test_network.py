"""Connections in memory behave as sockets do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from microweb.testing.network import ClientEnd, connect

Streams = tuple[ClientEnd, asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[..., Streams]


@pytest.fixture
async def open_streams() -> AsyncIterator[Connect]:
    """A factory of (client's end, server's reader, server's writer)."""
    writers: list[asyncio.StreamWriter] = []

    def open_streams(sslcontext: ssl.SSLContext | None = None) -> Streams:
        readers: list[asyncio.StreamReader] = []

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            readers.append(reader)
            writers.append(writer)

        end = connect(
            accept,
            limit=16 * 1024,
            client=("127.0.0.1", 50000),
            server=("127.0.0.1", 80),
            sslcontext=sslcontext,
        )
        return end, readers[0], writers[-1]

    yield open_streams
    for writer in writers:
        writer.close()


async def turn_over() -> None:
    """Run the event loop until no task can continue without a further event."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_bytes_arrive_in_both_directions(open_streams: Connect) -> None:
    end, reader, writer = open_streams()
    await end.write(b"ping")
    assert await reader.read(100) == b"ping"
    writer.write(b"pong")
    assert await end.read(2) == b"po"
    assert await end.read() == b"ng"


async def test_server_sees_the_addresses(open_streams: Connect) -> None:
    _, _, writer = open_streams()
    assert writer.get_extra_info("peername") == ("127.0.0.1", 50000)
    assert writer.get_extra_info("sockname") == ("127.0.0.1", 80)
    assert writer.get_extra_info("sslcontext") is None


async def test_read_waits_for_the_server(open_streams: Connect) -> None:
    end, _, writer = open_streams()
    reading = asyncio.create_task(end.read())
    await turn_over()
    assert not reading.done()
    assert not end.is_readable
    writer.write(b"now")
    assert end.is_readable
    assert await reading == b"now"


async def test_cancelled_read_takes_nothing(open_streams: Connect) -> None:
    end, _, writer = open_streams()
    reading = asyncio.create_task(end.read())
    await turn_over()
    reading.cancel()
    writer.write(b"kept")
    await turn_over()
    assert reading.cancelled()
    assert await end.read() == b"kept"


async def test_server_that_is_not_read_from_has_to_wait(open_streams: Connect) -> None:
    end, _, writer = open_streams()
    writer.write(bytes(500_000))
    draining = asyncio.create_task(writer.drain())
    await turn_over()
    assert not draining.done()
    assert writer.transport.get_write_buffer_size() == 500_000 - 64 * 1024
    while not draining.done():
        assert await end.read(4096)
        await asyncio.sleep(0)
    assert (
        writer.transport.get_write_buffer_size() > 0
    )  # `drain` waits until most bytes are read, not all


async def test_what_a_kernel_would_hold_counts_as_sent(open_streams: Connect) -> None:
    _, _, writer = open_streams()
    writer.write(bytes(64 * 1024))
    assert writer.transport.get_write_buffer_size() == 0


async def test_lower_water_marks_hold_at_once(open_streams: Connect) -> None:
    end, _, writer = open_streams()
    writer.write(bytes(64 * 1024 + 2))
    writer.transport.set_write_buffer_limits(0)
    draining = asyncio.create_task(writer.drain())
    await turn_over()
    assert not draining.done()
    await end.read(1)
    await turn_over()
    assert not draining.done()
    await end.read(1)
    await draining


async def test_client_whose_server_does_not_read_has_to_wait(open_streams: Connect) -> None:
    end, reader, _ = open_streams()
    writing = asyncio.create_task(end.write(bytes(200_000)))
    await turn_over()
    assert not writing.done()
    received = 0
    while received < 200_000:
        received += len(await reader.read(65536))
    await writing


async def test_client_that_closes_while_it_waits_is_told(open_streams: Connect) -> None:
    end, _, _ = open_streams()
    writing = asyncio.create_task(end.write(bytes(200_000)))
    await turn_over()
    end.close()
    with pytest.raises(BrokenPipeError):
        await writing


async def test_half_closed_client_reads_on(open_streams: Connect) -> None:
    end, reader, writer = open_streams()
    await end.write(b"question")
    end.write_eof()
    assert await reader.read() == b"question"
    assert not writer.is_closing()
    writer.write(b"answer")
    writer.close()
    assert await end.read() == b"answer"
    assert await end.read() == b""
    with pytest.raises(BrokenPipeError):
        await end.write(b"more")


async def test_half_closed_server_reads_on(open_streams: Connect) -> None:
    end, reader, writer = open_streams()
    writer.write(b"last words")
    writer.write_eof()
    assert await end.read() == b"last words"
    assert await end.read() == b""
    await end.write(b"heard")
    assert await reader.read(100) == b"heard"


async def test_tls_has_no_half_close(open_streams: Connect) -> None:
    end, _, writer = open_streams(sslcontext=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert writer.get_extra_info("sslcontext") is not None
    assert not writer.can_write_eof()
    end.write_eof()
    assert writer.is_closing()


async def test_close_sends_what_was_written_first(open_streams: Connect) -> None:
    end, _, writer = open_streams()
    writer.write(bytes(300_000))
    writer.close()
    received = 0
    while piece := await end.read():
        received += len(piece)
    assert received == 300_000
    await writer.wait_closed()


async def test_abort_drops_what_was_not_sent(open_streams: Connect) -> None:
    end, reader, writer = open_streams()
    writer.write(bytes(300_000))
    writer.transport.abort()
    received = 0
    while piece := await end.read():
        received += len(piece)
    assert received == 64 * 1024
    assert await reader.read() == b""


async def test_write_to_a_server_that_has_closed_is_refused(open_streams: Connect) -> None:
    end, _, writer = open_streams()
    writer.close()
    with pytest.raises(BrokenPipeError):
        await end.write(b"too late")


async def test_client_that_leaves_is_an_end_of_input(open_streams: Connect) -> None:
    end, reader, writer = open_streams()
    end.close()
    assert await reader.read() == b""
    assert not writer.is_closing()
    with pytest.raises(ConnectionAbortedError):
        await end.read()


async def test_write_to_a_client_that_has_left_is_a_reset(open_streams: Connect) -> None:
    end, _, writer = open_streams()
    end.close()
    writer.write(b"anyone?")
    with pytest.raises(ConnectionResetError):
        await writer.drain()


async def test_client_that_leaves_with_unread_bytes_resets(open_streams: Connect) -> None:
    end, reader, writer = open_streams()
    writer.write(b"unread")
    end.close()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert writer.is_closing()
