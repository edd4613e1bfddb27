"""TLS over the transport of a connection, in place of the TLS layers of asyncio and uvloop.

`TLSTransport` is a protocol for the transport below it, and a transport for the protocol above it.
There are four reasons for it:

- A connection is counted, and has its deadlines, from its first byte on. asyncio reports it only
  after the handshake.
- `get_write_buffer_size` counts all bytes that wait. asyncio's does not know those in the transport
  below: it returned 0 while 50 MB waited for a slow client.
- `write_eof` sends close_notify and goes on reading, so that a client that still uploads can read
  an early answer.
- It is the same on both event loops and on all versions of Python.

The cryptography is OpenSSL's, by `ssl.SSLObject`. RFC 8446, RFC 5246.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Protocol

from ..errors import HTTPSExpected, ProtocolError
from .addresses import address_of_peer
from .inflow import Inflow
from .refusal_log import log_refusal
from .tls_context import tls_info
from .tls_hello import Hello, hello_state

_RECORD_BYTES = 16 * 1024  # the largest content of a record
_BATCH_BYTES = 256 * 1024  # encrypted in one turn: 50 MB would stall the event loop for 50 ms
_MOST_BYTES = 2 * _BATCH_BYTES  # that wait for the peer when it asks for the answer to a KeyUpdate
_OVERHEAD_BYTES = 29  # of a record, at most, without padding
_BARE_BYTES = 2 * _RECORD_BYTES  # without content, in one read; a half of it may be incomplete
_DISCARDED_BYTES = 256 * 1024  # of a peer whose handshake has failed


class ContextSource(Protocol):
    """The owner of the certificates: `context` is the one for handshakes that begin now."""

    @property
    def context(self) -> ssl.SSLContext: ...


class _State(Enum):
    HELLO = auto()  # its first record is not complete
    HANDSHAKE = auto()
    OPEN = auto()
    HTTP = auto()  # the peer speaks HTTP without TLS
    FAILED = auto()


_OPEN = _State.OPEN  # access to an Enum attribute costs 0.1 us


class TLSTransport(asyncio.Transport, asyncio.Protocol):
    """The TLS side of a connection: `set_protocol` sets the protocol that gets decrypted bytes.

    Bytes that are written before the end of the handshake wait for it. If the peer speaks HTTP
    without TLS, the connection gets the error HTTPSExpected, and the answer to it is sent without
    TLS. If the handshake fails, the connection stays open until its deadline or until the peer
    closes, so that the peer can read the alert.
    """

    __slots__ = (
        "_above",
        "_backlog",
        "_below",
        "_discarded",
        "_early",
        "_encrypted",
        "_has_ended",
        "_hello",
        "_incoming",
        "_is_output_over",
        "_is_paused",
        "_is_waited_for",
        "_outgoing",
        "_read",
        "_replaced",
        "_source",
        "_state",
        "_waiting",
        "_write",
        "client",
        "ssl_object",
    )

    def __init__(
        self,
        below: asyncio.Transport,
        source: ContextSource,
        replaced: asyncio.StreamWriter,
    ) -> None:
        super().__init__()
        self._below = below
        self._above = asyncio.Protocol()
        self._source = source
        # The streams of `below`. They are kept, because the end of a StreamWriter closes it.
        self._replaced: tuple[asyncio.StreamWriter, asyncio.BaseProtocol] | None
        self._replaced = replaced, below.get_protocol()
        peer = below.get_extra_info("peername")  # uvloop forgets it when the peer has left
        self.client = address_of_peer(*peer[:2]).host if isinstance(peer, tuple) else "a peer"
        self._state = _State.HELLO
        self._hello = b""
        self._early = b""  # written before the end of the handshake
        self.ssl_object: ssl.SSLObject | None = None
        self._encrypted = 0  # bytes that the transport below got
        self._has_ended = False  # the peer sends no more
        self._discarded = 0  # bytes of a peer whose handshake has failed
        self._is_output_over = False  # close_notify is sent, or is to follow the handshake
        self._is_paused = False  # the transport below holds enough
        self._is_waited_for = False  # the protocol above was told to pause
        self._backlog: deque[memoryview] = deque()  # not encrypted yet
        self._waiting = 0  # bytes in it

    # --- the protocol of the transport below

    def data_received(self, data: bytes) -> None:
        """Decrypt bytes of the peer, or go on with the handshake."""
        if len(data) > _RECORD_BYTES and self._state in (_OPEN, _State.HANDSHAKE):
            self._receive_slices(data)
        elif self._state is _OPEN:
            self._incoming.write(data)
            self._receive()
        elif self._state is _State.HELLO:
            self._begin(data)
        elif self._state is _State.HANDSHAKE:
            self._incoming.write(data)
            self._shake_hands()
        elif self._state is _State.HTTP:
            self._above.data_received(data)
        else:
            self._discarded += len(data)
            if self._discarded > _DISCARDED_BYTES:
                self.abort()

    def eof_received(self) -> bool:
        """End the input, and keep the connection open: the peer may still read its answer."""
        self._end_input()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the protocol above, and break the reference cycles, so that all is freed now."""
        self._backlog.clear()
        self._waiting = 0
        above, self._above = self._above, asyncio.Protocol()
        above.connection_lost(error)
        replaced, self._replaced = self._replaced, None
        if replaced is not None:
            replaced[1].connection_lost(None)

    def pause_writing(self) -> None:
        """Keep further bytes until the transport below has room."""
        self._is_paused = True
        if not self._is_waited_for:
            self._is_waited_for = True
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """Encrypt the bytes that wait."""
        self._is_paused = False
        self._pump()
        if self._is_waited_for and not self._is_paused:
            self._is_waited_for = False
            self._above.resume_writing()

    # --- the transport of the protocol above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return `tls`, `ssl_object`, `sslcontext`, or a property of the transport below.

        `encrypted_bytes` are all that were written, with those that wait.
        """
        if name == "tls":
            return tls_info(self.ssl_object) if self._state is _OPEN and self.ssl_object else None
        if name == "encrypted_bytes":
            return self._encrypted + self._waiting
        if name == "ssl_object":
            return self.ssl_object
        if name == "sslcontext":
            return self._source.context
        return self._below.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give decrypted bytes to `protocol` from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that gets decrypted bytes."""
        return self._above

    def is_closing(self) -> bool:
        """Return whether the connection closes or is closed."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Receive no bytes until `resume_reading`."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Receive bytes again."""
        self._below.resume_reading()

    def is_reading(self) -> bool:
        """Return whether bytes are received."""
        return self._below.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits of the transport below."""
        self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the limits of the transport below."""
        return self._below.get_write_buffer_limits()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait, encrypted or not; those before a handshake do not count."""
        return self._waiting + self._below.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        if self._state is not _OPEN:
            self._write_early(data)
        elif self._backlog or self._is_paused or len(data) > _BATCH_BYTES:
            self._backlog.append(memoryview(bytes(data)))
            self._waiting += len(data)
            self._pump()
        elif data:
            self._encrypt(data)

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def write_eof(self) -> None:
        """Send the bytes that wait, then close_notify. Bytes of the peer are still received."""
        if self._state in (_State.HELLO, _State.HANDSHAKE):
            self._is_output_over = True  # once the handshake is complete
        elif not self._is_output_over and not self.is_closing():
            self._end_output()
            self._below.write_eof()

    def close(self) -> None:
        """Send the bytes that wait and close_notify, then close."""
        if not self._is_output_over and not self.is_closing():
            self._end_output()
        self._below.close()

    def abort(self) -> None:
        """Close immediately, without the bytes that wait."""
        self._below.abort()

    # --- the handshake

    def _begin(self, data: bytes) -> None:
        self._hello += data
        hello, state = self._hello, hello_state(self._hello)
        if state is Hello.UNFINISHED:
            return
        self._hello = b""
        if state is Hello.COMPLETE:
            self._state = _State.HANDSHAKE
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            made = self._source.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            self.ssl_object, self._read, self._write = made, made.read, made.write
            self._incoming.write(hello)
            self._shake_hands()
        elif state is Hello.HTTP:
            self.refuse_plainly(HTTPSExpected("HTTP without TLS on a port that speaks HTTPS"))
        elif state is Hello.COSTLY:
            self._fail("the hello offers groups of finite fields, and no elliptic curve")
        elif state is Hello.BAD_NAME:
            self._fail("the server name in the hello is not the name of a host")
        else:
            self._fail("the first bytes are no hello")

    def refuse_plainly(self, error: ProtocolError) -> None:
        """Let the answer to `error` be sent without TLS."""
        self._state = _State.HTTP
        if isinstance(self._above, Inflow):  # else it is turned away, and its bytes are discarded
            self._above.fail(error)

    def _shake_hands(self) -> None:
        assert self.ssl_object is not None
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self._send_control()
        except ssl.SSLError as error:
            self._send_control()  # the alert
            self._fail((error.reason or "it ended early").replace("_", " ").lower())
        else:
            self._state = _OPEN
            is_over, self._is_output_over = self._is_output_over, False
            self._send_control()
            early, self._early = self._early, b""
            if not self.is_closing():
                self.write(early)
            if is_over:
                self.write_eof()
            self._receive()  # the first request may have come with the end of the handshake

    def _fail(self, reason: str) -> None:
        self._state = _State.FAILED
        log_refusal("no TLS for %s: %s", self.client, reason, reason=reason, client=self.client)
        if not self.is_closing():
            self._below.write_eof()

    def _write_early(self, data: bytes | bytearray | memoryview) -> None:
        if self._state is _State.HTTP:
            self._below.write(data)
        elif self._state is not _State.FAILED:
            self._early += data

    # --- bytes of the peer

    def _receive_slices(self, data: bytes) -> None:
        """Decrypt much data in slices, and cut a peer whose records have almost no content.

        256 KiB of KeyUpdate messages blocked the event loop for 300 ms.
        """
        bare = 0
        for start in range(0, len(data), _RECORD_BYTES):
            piece = data[start : start + _RECORD_BYTES]
            if self._state is _State.HANDSHAKE:
                self.data_received(piece)
            elif self._state is _OPEN and not self.is_closing():
                self._incoming.write(piece)
                contents = self._receive()
                bare += len(piece) - sum(map(len, contents)) - _OVERHEAD_BYTES * len(contents)
                if bare > _BARE_BYTES:
                    self.abort()

    def _receive(self) -> list[bytes]:
        """Decrypt all records that are complete, give their content to the protocol above, and
        return it.

        So no bytes wait in this layer while the protocol above reads none: a test of the socket
        sees all of them.
        """
        pieces: list[bytes] = []
        is_over = False
        try:
            while piece := self._read(_RECORD_BYTES):
                pieces.append(piece)
                if not self._incoming.pending:
                    break
            else:
                is_over = True  # close_notify
        except ssl.SSLWantReadError:
            pass  # the next record is not complete
        except ssl.SSLZeroReturnError:
            is_over = True
        except ssl.SSLError as error:
            self._break(error)
            return pieces
        if self._outgoing.pending:
            self._send_control()
        if pieces and not self._has_ended:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if is_over:
            self._end_input()
        return pieces

    def _break(self, error: ssl.SSLError) -> None:
        """End a connection whose peer has sent an alert or a broken record."""
        self._send_control()
        self._end_input()
        self._is_output_over = True
        if self.get_write_buffer_size():
            self.abort()
        else:
            self._below.close()

    def _end_input(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._above.eof_received()

    # --- bytes to the peer

    def _send_control(self) -> None:
        """Send a part of the handshake, an alert, or the answer to a KeyUpdate."""
        data = self._outgoing.read()
        if not data or (self._is_output_over and self._state is _OPEN) or self.is_closing():
            return
        if self._below.get_write_buffer_size() > _MOST_BYTES:
            self.abort()  # a peer that never reads could ask for answers without end
        else:
            self._below.write(data)

    def _pump(self) -> None:
        """Encrypt bytes that wait, as long as the transport below has room."""
        while self._backlog and not self._is_paused and not self.is_closing():
            self._encrypt_one()

    def _encrypt_one(self) -> None:
        data = self._backlog.popleft()
        batch = data[:_BATCH_BYTES]
        if len(data) > len(batch):
            self._backlog.appendleft(data[_BATCH_BYTES:])
        self._waiting -= len(batch)
        self._encrypt(batch)

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        self._write(data)
        encrypted = self._outgoing.read()
        self._encrypted += len(encrypted)
        self._below.write(encrypted)

    def _end_output(self) -> None:
        """Encrypt all bytes that wait, and send close_notify."""
        self._is_output_over = True
        if self._state is not _OPEN or self.ssl_object is None:
            return
        while self._backlog:
            self._encrypt_one()
        with suppress(ssl.SSLError):  # the peer has not sent its own yet
            self.ssl_object.unwrap()
        data = self._outgoing.read()
        if data:
            self._below.write(data)
