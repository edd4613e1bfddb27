"""Side sockets: small services in the supervisor's own `poll`, beside the workers.

A `SideSocket` accepts clients on sockets that listen already, reads one request from each, and
writes one answer. It never blocks, and one turn of it does a bounded amount of work: no client can
delay the supervisor.

- At most 8 clients at a time. One more takes the place of the oldest client whose request is not
  complete, so that clients that send nothing keep nobody out.
- A request ends with the bytes `end`: a newline for a line, CRLF CRLF for a GET of HTTP. It has at
  most 8 KiB and 5 seconds from the connection on.
- The owner gets the request with its `SideClient`. It answers immediately or later, and the client
  stays until `finish`. From then on the client has 5 seconds to read the answer.
- What waits for a client is at most 16 MiB. A client past that limit is cut off.

The supervisor calls the three methods of `Polled` in each turn. `AF_UNIX` and TCP sockets are alike
here; the owner binds them, and removes the file of a Unix socket.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from .addresses import address_of_user
from .console import say
from .unix_sockets import uid_of_peer

MAX_CLIENTS = 8
CLIENT_S = 5.0  # for a request, and once more for an answer
MAX_REQUEST = 8 * 1024
MAX_UNSENT = 16 * 1024 * 1024
BACKLOG = 128  # clients that wait in the kernel

_PIECE = 64 * 1024
_MAX_DISCARDED = 2 * 1024 * 1024  # of a client that sends on, and could lose its answer otherwise
_PAUSE_S = 1.0  # without accepting, after an error such as too many open files
_INPUT = select.POLLIN if hasattr(select, "poll") else 1  # Windows has no poll, and no supervisor
_OUTPUT = select.POLLOUT if hasattr(select, "poll") else 4

OnRequest = Callable[["SideClient", bytes], None]


class Polled(Protocol):
    """Descriptors that the supervisor polls. No method may block or raise."""

    def register(self, poll: select.poll) -> None:
        """Register the descriptors that are to be polled in this turn."""

    def deadline(self) -> float:
        """Return the monotonic time at which to call `go_on`, even if no descriptor is ready."""

    def go_on(self, ready: Mapping[int, int], now: float) -> None:
        """Process the descriptors that are ready, with their events, and the deadlines."""

    def close(self) -> None:
        """Close the descriptors, because the supervisor ends."""


class SideClient:
    """One client of a side socket: its request as it arrives, its answer as it leaves."""

    def __init__(self, connected: socket.socket, now: float) -> None:
        connected.setblocking(False)
        self.is_over = False  # the connection is closed
        self.ends_at = now + CLIENT_S
        self.has_asked = False  # its request is complete
        self._connected = connected
        self._received = bytearray()
        self._unsent = bytearray()
        self._is_finished = False  # nothing is added to the answer
        self._is_sent = False  # the answer is, so that the client is awaited to close
        self._discarded = 0  # bytes behind the request

    def fileno(self) -> int:
        """Return the descriptor, -1 once the connection is closed."""
        return self._connected.fileno()

    # --- for the owner

    @property
    def user(self) -> str:
        """The user of a client of a Unix socket, as in `uid=33`."""
        return address_of_user(uid_of_peer(self._connected)).host

    def send(self, data: bytes) -> None:
        """Send a part of the answer."""
        if self.is_over or self._is_finished:
            return
        self._unsent += data
        if len(self._unsent) > MAX_UNSENT:
            self.close()
        else:
            self._write()

    def finish(self, data: bytes = b"") -> None:
        """Send the last part of the answer. The connection closes once the client has it."""
        self.send(data)
        self._is_finished, self.ends_at = True, time.monotonic() + CLIENT_S
        self._end_output()

    def close(self) -> None:
        """Close the connection immediately."""
        self.is_over = True
        self._connected.close()

    # --- for the side socket

    @property
    def may_be_replaced(self) -> bool:
        """Whether another client may take the place of this one: it has no claim to an answer."""
        return not self.has_asked or self._is_sent

    @property
    def events(self) -> int:
        """The events to poll for, beside an error and a hang-up."""
        is_read = not self.has_asked or self._is_sent
        return (_INPUT if is_read else 0) | (_OUTPUT if self._unsent else 0)

    def go_on(self, events: int, end: bytes) -> bytes | None:
        """Read and write; return the request if it has become complete."""
        if events & _OUTPUT:
            self._write()
            self._end_output()
        if self.is_over or not events & ~_OUTPUT:
            return None
        if self.has_asked and not self._is_sent:  # a hang-up
            self.close()
            return None
        return self._read(end)

    def _read(self, end: bytes) -> bytes | None:
        try:
            data = self._connected.recv(MAX_REQUEST)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if self.has_asked:
            self._discarded += len(data)
        if not data or self._discarded > _MAX_DISCARDED:
            self.close()
        if not data or self.has_asked:
            return None
        self._received += data
        place = self._received.find(end)
        if place < 0 and len(self._received) <= MAX_REQUEST:
            return None
        self.has_asked, self.ends_at = True, float("inf")
        # Pass a request that is too long on truncated: the owner refuses it.
        request = bytes(self._received[: place + len(end)] if place >= 0 else self._received)
        self._received.clear()
        return request

    def _write(self) -> None:
        while self._unsent and not self.is_over:
            try:
                sent = self._connected.send(self._unsent[:_PIECE])
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            del self._unsent[:sent]

    def _end_output(self) -> None:
        # To close while bytes are unread would make the kernel reset the connection, and the
        # client could lose the answer. So wait until the client closes, up to the deadline.
        if self._is_finished and not self._unsent and not self._is_sent and not self.is_over:
            self._is_sent = True
            with suppress(OSError):
                self._connected.shutdown(socket.SHUT_WR)


class SideSocket:
    """Listening sockets with their clients. `on_request` gets each client with its request.

    A request without `end` as its last bytes was over 8 KiB, and is to be refused.
    """

    def __init__(self, bound: Sequence[socket.socket], end: bytes, on_request: OnRequest) -> None:
        self._bound = bound
        self._end = end
        self._on_request = on_request
        self._clients: list[SideClient] = []  # the oldest first
        self._accepts_at = 0.0
        for each in bound:
            each.setblocking(False)
            each.listen(BACKLOG)

    def register(self, poll: select.poll) -> None:
        """Register the clients, and the listening sockets if there is room for a client."""
        self._forget_closed()
        for client in self._clients:
            poll.register(client, client.events)
        if not self._accepts_at and self._has_room():
            for each in self._bound:
                poll.register(each, _INPUT)

    def deadline(self) -> float:
        """Return when the first client is to be cut off."""
        times = [client.ends_at for client in self._clients if not client.is_over]
        return min(*times, self._accepts_at or float("inf"), float("inf"))

    def go_on(self, ready: Mapping[int, int], now: float) -> None:
        """Read, write, accept, and cut off the clients that are late."""
        if now >= self._accepts_at:
            self._accepts_at = 0.0
        for client in self._clients:
            events = ready.get(client.fileno(), 0)
            request = client.go_on(events, self._end) if events else None
            if request is not None:
                self._ask(client, request)
            if now >= client.ends_at and not client.is_over:
                client.close()
        self._forget_closed()
        for each in self._bound:
            if each.fileno() in ready and self._has_room():
                self._accept(each, now)

    def close(self) -> None:
        """Close the clients, and the listening sockets."""
        for client in self._clients:
            client.close()
        for each in self._bound:
            each.close()
        self._clients.clear()

    def _ask(self, client: SideClient, request: bytes) -> None:
        try:
            self._on_request(client, request)
        except Exception as error:  # must not end the supervisor, and with it the service
            say(f"a request to a side socket failed: {error!r}", sys.stderr)
            client.close()

    def _accept(self, bound: socket.socket, now: float) -> None:
        try:
            connected, _ = bound.accept()
        except (BlockingIOError, ConnectionAbortedError):  # the client has left
            return
        except OSError:  # no descriptor is left: the client waits in the kernel
            self._accepts_at = now + _PAUSE_S
            return
        if len(self._clients) >= MAX_CLIENTS:
            next(each for each in self._clients if each.may_be_replaced).close()
            self._forget_closed()
        self._clients.append(SideClient(connected, now))

    def _has_room(self) -> bool:
        is_free = len(self._clients) < MAX_CLIENTS
        return is_free or any(each.may_be_replaced for each in self._clients)

    def _forget_closed(self) -> None:
        self._clients = [client for client in self._clients if not client.is_over]
