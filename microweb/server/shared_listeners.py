"""Listening sockets that several workers share: accept evenly.

asyncio and uvloop accept up to the backlog in one turn, so that one of two workers got all of 64
connections. Here the event loop watches the socket, and a worker accepts several connections in a
turn, but only until it is ahead of the others. A worker that has over one connection more than the
one with the fewest waits a millisecond, once, before it accepts.
64 connections come out as 32 and 32.

If connections still wait then, the other workers are too busy to take them. Each further wait lets
twice as many pass, up to four, until the queue is empty. Otherwise new connections would starve
beside kept ones that keep all workers busy: of 48 each, they got 0.12 of the requests, now 0.3.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from ..concurrency.descriptors import MIN_SPARE, spare_descriptors
from ..concurrency.throttle import Throttle
from ..logs import Log
from .handshakes import ignore_new_handshakes
from .listeners import CHECKED_PART, Accept

_MAX_ACCEPTS = 16  # in one turn: with one, new connections starved beside busy kept ones
_MAX_PASSING = 4  # behind a gate: more of them made the balance worse
_GATE_S = 0.001
_CLOSE_S = 1.0  # at most, until the connections that wait are accepted

_log = Log("microweb.server")


class SharedListeners:
    """Accepts on `sockets` from `open()` to `close()`; other processes accept on them as well.

    `is_ahead(count)` tells whether this worker has more connections than others, with `count` ones
    that are not on the board yet.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        accept: Accept,
        *,
        limit: int,
        backlog: int,
        is_ahead: Callable[[int], bool],
    ) -> None:
        self.is_paused = False  # nearly out of file descriptors
        self._sockets = sockets
        self._accept = accept
        self._limit = limit
        self._backlog = backlog
        self._is_ahead = is_ahead
        self._loop = asyncio.get_running_loop()
        self._gates: dict[socket.socket, asyncio.TimerHandle] = {}  # sockets that wait
        self._passing = 1  # connections that are accepted after the next wait
        self._connecting: set[asyncio.Task[object]] = set()
        self._pauses = Throttle()
        self._spare, self._ceiling = MIN_SPARE, float("inf")
        self._unchecked = 0  # connections that `check_descriptor` still lets pass
        self._is_open = False
        self.check()

    async def open(self) -> None:
        """Begin to accept."""
        self._is_open = True
        for bound in self._sockets:
            bound.listen(self._backlog)
            self._watch(bound)

    async def close(self, *, leaves_queue: bool) -> None:
        """Stop accepting. `leaves_queue`: other workers accept the connections that wait.

        Otherwise no worker gets further ones: accept until no connection waits, at most a second.
        """
        ends_at = self._loop.time() + _CLOSE_S
        self._unwatch_all()
        for bound in self._sockets:
            if not leaves_queue:
                ignore_new_handshakes(bound)
            while not leaves_queue and self._loop.time() < ends_at and self._accept_one(bound):
                await asyncio.sleep(0)
        self._is_open = False
        while self._connecting:
            await asyncio.wait(self._connecting)
        for bound in self._sockets:
            bound.close()

    def check_descriptor(self, transport: asyncio.BaseTransport) -> None:
        """Pause if a new connection has one of the last descriptors: see `Listeners`."""
        if self._unchecked:
            self._unchecked -= 1
            return
        self._unchecked = self._spare // CHECKED_PART
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.fileno() >= self._ceiling:
            self._pause()

    def check(self) -> None:
        """Accept again if there is room: once a second."""
        self._spare, self._ceiling = spare_descriptors()
        self._unchecked = 0
        if self.is_paused and self._is_open:
            self.is_paused = False
            for bound in self._sockets:
                self._watch(bound)

    # --- private

    def _watch(self, bound: socket.socket) -> None:
        self._loop.add_reader(bound, self._on_readable, bound)

    def _unwatch_all(self) -> None:
        for gate in self._gates.values():
            gate.cancel()
        self._gates.clear()
        for bound in self._sockets:
            self._loop.remove_reader(bound)

    def _on_readable(self, bound: socket.socket) -> None:
        if self._is_ahead(len(self._connecting)):
            self._loop.remove_reader(bound)
            self._gates[bound] = self._loop.call_later(_GATE_S, self._pass_gate, bound)
            return
        for _ in range(_MAX_ACCEPTS):
            if not self._accept_one(bound):
                self._passing = 1
                return
            if self._is_ahead(len(self._connecting)):
                return

    def _pass_gate(self, bound: socket.socket) -> None:
        del self._gates[bound]
        if all(self._accept_one(bound) for _ in range(self._passing)):
            self._passing = min(2 * self._passing, _MAX_PASSING)
        else:
            self._passing = 1
        if not self.is_paused and self._is_open:
            self._watch(bound)

    def _accept_one(self, bound: socket.socket) -> bool:
        """Accept one connection; return False if none waits."""
        try:
            connected, _ = bound.accept()
        except (BlockingIOError, InterruptedError):
            return False  # another worker was faster
        except ConnectionError:
            return True  # the client has left the queue
        except OSError:
            self._pause()  # no descriptor, or no memory
            return False
        connected.setblocking(False)
        task = self._loop.create_task(self._connect(connected))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return True

    async def _connect(self, connected: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connected)
        except OSError:
            connected.close()  # the client has left

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=self._limit, loop=self._loop)
        return asyncio.StreamReaderProtocol(reader, self._accept, loop=self._loop)

    def _pause(self) -> None:
        if self.is_paused:
            return
        self.is_paused = True
        self._unwatch_all()
        if self._pauses.permits():
            _log.warning(
                "nearly out of file descriptors (%d are left): "
                "new connections wait until others have closed",
                self._spare,
            )
