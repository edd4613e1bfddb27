"""The listening sockets as the loop serves them: opened, paused while files are short, closed.

Out of file descriptors, asyncio logs a traceback for each accept that it tries (600,000 lines in
five seconds: seen), and uvloop drops the connections without a word. So it does not come to that:
a new descriptor has the lowest number that is free, hence one near the limit says that few are
left. The loop's part is closed then; a copy of the socket keeps listening, and those who connect
wait in the kernel's queue until there is room.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from ..concurrency.descriptors import MIN_SPARE, spare_descriptors
from ..concurrency.throttle import Throttle
from ..logs import Log
from .sockets import has_input

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

_MAX_ACCEPTS = 64  # per socket and turn of the loop
_TURNS = 3  # from the kernel's accept to ours: what was taken meanwhile needs room too
_CLOSE_S = 1.0  # at most, until those that wait in the queues are accepted
_RETRY_S = 0.05

_log = Log("microweb.server")


class Listeners:
    """Has the loop accept on `sockets` from `open()` to `close()`.

    `sockets` are the listening ones at any time: a pause replaces them by copies.
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
        self._servers: list[asyncio.Server] = []  # of the first sockets, in their order
        self._paused: list[asyncio.Server] = []  # that accept no more, and are to be closed
        self._opening: asyncio.Task[None] | None = None  # at the end of a pause
        self._pauses = Throttle()
        self._spare = MIN_SPARE  # descriptors left to endpoints, threads and logs
        self._ceiling = float("inf")  # a descriptor from here on is one of the last
        self._look_at_limit()

    async def open(self) -> None:
        """Begin to accept."""
        # One readiness of a socket is answered by as many accepts as the backlog is long; but
        # those of 2048 stall the loop for 100 ms. So a small one here; the kernel's is set again.
        accepts = self._spare // (2 * _TURNS * len(self._sockets))
        accepts = max(1, min(accepts, _MAX_ACCEPTS))
        for bound in self._sockets[len(self._servers) :]:
            bound.listen(accepts)  # uvloop closes a socket that cannot listen, and does not say so
            server = await asyncio.start_server(
                self._accept, sock=bound, limit=self._limit, backlog=accepts
            )
            self._servers.append(server)
            bound.listen(self._backlog)

    async def close(self) -> None:
        """Stop listening once no connection waits in a queue, at most a second later.

        The kernel resets those that wait when their listener is closed. So accept until the queues
        are empty, accept no more, let those on the way arrive, and look once more.
        """
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        ends_at = self._loop.time() + _CLOSE_S
        while not await self._is_quiet() and self._loop.time() < ends_at:
            await self._accept_all(ends_at)
        _close(self._paused)
        _close(self._servers)
        for bound in self._sockets:
            bound.close()

    def look_at(self, transport: asyncio.BaseTransport) -> None:
        """Pause where a new connection has one of the last descriptors."""
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.fileno() >= self._ceiling and not self.is_paused:
            self._pause()

    def check(self) -> None:
        """Go on where there is room again: once a second."""
        self._look_at_limit()
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
            await asyncio.sleep(0)  # a turn of the loop, which accepts

    async def _is_quiet(self) -> bool:
        """Accept no more; return whether the queues are empty once all that were taken are here."""
        if self._is_awaited():
            return False
        if not self.is_paused:
            self._hold()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return not self._is_awaited()

    def _look_at_limit(self) -> None:
        self._spare, self._ceiling = spare_descriptors()

    def _pause(self) -> None:
        if not self._hold():
            return  # not one descriptor is left: the next connection comes here again
        if self._pauses.permits():
            _log.warning(
                "nearly out of file descriptors (%d are left): "
                "new connections wait until others have closed",
                self._spare,
            )

    def _hold(self) -> bool:
        """Accept no more, and leave the connections that come in the kernel's queues."""
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
            # Where this is how the loop accepts (asyncio), connections may be on their way to us
            # that it would drop if its server closed now: that is left to the end of the pause.
            if not self._loop.remove_reader(bound):
                server.close()
        self._paused += self._servers
        self._servers.clear()
        self._sockets[:] = copies
        return True

    def _has_room(self) -> bool:
        """Whether a burst of connections would fit under the ceiling."""
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
