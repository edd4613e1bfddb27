"""Accept connections, pause while file descriptors are scarce, and close without losing clients.

Without free descriptors, asyncio logs a traceback for each attempt to accept (600,000 lines in five
seconds were seen), and uvloop drops the connections silently. So the server pauses before that.
The kernel gives a new descriptor the lowest free number, so a number near the limit means that few
are left. The event loop's listener is then closed, but a copy of the socket keeps listening. New
clients wait in the kernel's queue until there is room.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from ..concurrency.descriptors import MIN_SPARE, spare_descriptors
from ..concurrency.throttle import Throttle
from ..logs import Log
from .handshakes import ignore_new_handshakes
from .sockets import has_input

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

_MAX_ACCEPTS = 64  # per socket and iteration of the event loop
_TURNS = 3  # iterations from the kernel's accept to `accept`: all their connections need room
_CLOSE_S = 1.0  # at most, to accept the connections that wait in the queues
_RETRY_S = 0.05
CHECKED_PART = 16  # of the reserved descriptors may be taken between two checks

_log = Log("microweb.server")


class Listeners:
    """Accepts connections on `sockets` from `open()` to `close()`.

    A pause replaces the items of `sockets` by copies, so they are always the listening sockets.
    """

    def __init__(
        self, sockets: list[socket.socket], accept: Accept, *, limit: int, backlog: int
    ) -> None:
        self.is_paused = False
        self._sockets = sockets
        self._accept = accept
        self._limit = limit  # of the StreamReaders, in bytes
        self._backlog = backlog
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.Server] = []  # of the first sockets, in the same order
        self._paused: list[asyncio.Server] = []  # accept no more, and must be closed
        self._opening: asyncio.Task[None] | None = None  # ends a pause
        self._pauses = Throttle()
        self._spare = MIN_SPARE  # descriptors reserved for endpoints, threads and logs
        self._ceiling = float("inf")  # a descriptor with this number or more is one of the last
        self._unchecked = 0  # connections that `check_descriptor` still lets pass
        self._read_limit()

    async def open(self) -> None:
        """Begin to accept."""
        # For each ready socket the event loop calls accept as many times as its backlog. 2048
        # calls stall it for 100 ms. So asyncio gets a small backlog, the kernel the real one.
        accepts = self._spare // (2 * _TURNS * len(self._sockets))
        accepts = max(1, min(accepts, _MAX_ACCEPTS))
        for bound in self._sockets[len(self._servers) :]:
            bound.listen(accepts)  # uvloop silently closes a socket that cannot listen
            server = await asyncio.start_server(
                self._accept, sock=bound, limit=self._limit, backlog=accepts
            )
            self._servers.append(server)
            bound.listen(self._backlog)

    async def close(self, *, leaves_queue: bool = False) -> None:
        """Stop listening once no connection waits in a queue, at most a second later.

        When a listener closes, the kernel resets its waiting connections. So let no new ones come,
        accept until the queues are empty, pause, let accepted connections arrive, and check again.
        """
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        for bound in self._sockets:
            ignore_new_handshakes(bound)
        ends_at = self._loop.time() + _CLOSE_S
        while not await self._is_quiet() and self._loop.time() < ends_at:
            await self._accept_all(ends_at)
        _close(self._paused)
        _close(self._servers)
        for bound in self._sockets:
            bound.close()

    def check_descriptor(self, transport: asyncio.BaseTransport) -> None:
        """Pause if a new connection has one of the last descriptors.

        Only one connection in six or more is checked, because uvloop asks the kernel for the
        socket, which takes 2 us. So many connections need a small part of the reserve.
        """
        if self._unchecked:
            self._unchecked -= 1
            return
        self._unchecked = self._spare // CHECKED_PART
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.fileno() >= self._ceiling and not self.is_paused:
            self._pause()

    def check(self) -> None:
        """End a pause if there is room again. Called once a second."""
        self._read_limit()
        if self.is_paused and (self._opening is None or self._opening.done()) and self._has_room():
            self._opening = self._loop.create_task(self._reopen())

    # --- private

    def _is_awaited(self) -> bool:
        return any(map(has_input, self._sockets))

    async def _accept_all(self, ends_at: float) -> None:
        if self.is_paused:
            if not self._has_room():
                await asyncio.sleep(_RETRY_S)
                return
            await self._reopen()
        while self._is_awaited() and not self.is_paused and self._loop.time() < ends_at:
            await asyncio.sleep(0)  # the event loop accepts

    async def _is_quiet(self) -> bool:
        """Stop accepting; return whether the queues stay empty until accepted clients arrive."""
        if self._is_awaited():
            return False
        if not self.is_paused:
            self._hold()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return not self._is_awaited()

    def _read_limit(self) -> None:
        self._spare, self._ceiling = spare_descriptors()
        self._unchecked = 0

    def _pause(self) -> None:
        if not self._hold():
            return  # no descriptor is left: the next connection calls this again
        if self._pauses.permits():
            _log.warning(
                "nearly out of file descriptors (%d are left): "
                "new connections wait until others have closed",
                self._spare,
            )

    def _hold(self) -> bool:
        """Stop accepting, and let new connections wait in the kernel's queues."""
        copies: list[socket.socket] = []
        try:
            for bound in self._sockets:
                copies.append(bound.dup())
        except OSError:
            for copy in copies:
                copy.close()
            return False
        self.is_paused = True
        for server, bound in zip(self._servers, self._sockets, strict=True):
            # In asyncio this stops the accepting. Accepted connections may not have reached
            # `accept` yet, and a close would drop them, so close at the end of the pause.
            if not self._loop.remove_reader(bound):
                server.close()
        self._paused += self._servers
        self._servers.clear()
        self._sockets[:] = copies
        return True

    def _has_room(self) -> bool:
        """Whether many new connections would get descriptors below the ceiling."""
        taken: list[int] = []
        try:
            while len(taken) < self._spare // 2:
                taken.append(os.dup(self._sockets[0].fileno()))
                if taken[-1] >= self._ceiling:
                    return False
        except OSError:
            return False
        finally:
            for number in taken:
                os.close(number)
        return True

    async def _reopen(self) -> None:
        _close(self._paused)
        try:
            await self.open()
        except OSError:
            _log.exception("can't accept connections: trying again")
        else:
            self.is_paused = False


def _close(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    servers.clear()
