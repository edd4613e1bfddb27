"""Server: the listening sockets, their connections, and the timer of all connections.

A server needs only a handler, `async Request -> Response`, and knows no router. One timer serves
all connections: once a second `_tick` updates the date and makes each connection check its
deadline.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from ..concurrency.threads import Pools, open_pools
from ..errors import ThreadsStuck
from ..logs import Log
from ..request import Handler
from .binds import ListeningSockets
from .bounded import bounded_lifespan
from .config import ServerConfig
from .connection import Connection
from .eviction import Eviction
from .forks import called_in_children, release_descriptors
from .guests import Guests
from .listeners import Listeners
from .proxy_protocol import expect_proxy_header
from .records import Observer
from .shared_listeners import SharedListeners
from .sockets import cannot_listen_on, url_of
from .state import Refuse, ServerState, refuse_plainly
from .sweep import Sweep
from .unfinished import log_unfinished, unfinished, work_under_way
from .unix_sockets import is_unix_socket
from .worker import Worker

if TYPE_CHECKING:
    from .tls import ServerTLS

_TICK_S = 1.0
_STOP_TICK_S = 0.1  # while the server stops, so that a stop does not take a second longer
_SILENCE_S = 1.0  # at a stop, an idle connection closes after this time
STREAM_LIMIT = 16 * 1024  # a paused reader holds at most twice this plus one read
_RETRY_AFTER_S = 5
_CANCEL_S = 1.0  # for cancelled handlers to end, and for the last background tasks and threads
_MAX_REFUSED = 100  # connections over the limit that get a 503; further ones are only closed

_log = Log("microweb.server")


class Server:
    """Serves `handler` from `start()` to `stop()`; also `async with server` and `await server`.

    The server enters `lifespan` before the first request, and always leaves it after the last. It
    does not handle signals: that is the caller's part.
    """

    def __init__(
        self,
        handler: Handler,
        config: ServerConfig | None = None,
        *,
        refuse: Refuse = refuse_plainly,
        lifespan: AbstractAsyncContextManager[object] | None = None,
        observers: tuple[Observer, ...] = (),
        worker: Worker | None = None,
    ) -> None:
        self.config = config or ServerConfig()
        self.state = ServerState(handler, self.config, refuse=refuse, observers=observers)
        self.background = self.state.background
        self.connections: set[Connection] = set()
        self.guests = Guests()  # requests of another server
        self.pools: Pools | None = None
        self.sockets: list[socket.socket] = []
        self._worker = worker
        self._tls: ServerTLS | None = None
        self._listeners: Listeners | SharedListeners | None = None
        self._refused: set[Connection] = set()
        self._eviction = Eviction(self.connections, clock := lambda: self.state.clock())
        self._sweep = Sweep(Connection.check, clock)
        self._stop_sweep = Sweep(Connection.check_stop, clock)
        self._lifespan = lifespan
        self._cleanup = AsyncExitStack()  # leaves the lifespan
        self._resources = ExitStack()
        self._timer: asyncio.TimerHandle | None = None
        self._stop_timer: asyncio.TimerHandle | None = None
        self._silence_s = _SILENCE_S
        self._stop_lock = asyncio.Lock()
        self._on_end = self._forget  # one bound method, of 64 bytes, for all connections

    @property
    def url(self) -> str:
        """The URL of the first listening socket: `http://127.0.0.1:5000`."""
        return url_of(self.sockets[0], self.config.scheme)

    # --- start and stop

    async def start(self) -> Server:
        """Listen and serve.

        The server binds the address, enters the lifespan, and only then listens. Before that the
        kernel refuses clients, so that a proxy tries its next backend.

        Raises: ConfigurationError if the address is not available; any exception of the lifespan.
        In both cases nothing stays open.
        """
        worker = self._worker
        if self.config.has_tls:
            from .tls import ServerTLS

            warns = worker is None or worker.warns
            self._tls = ServerTLS(self.config, limit=STREAM_LIMIT, warns=warns)
        opened = worker or ListeningSockets.open(self.config.addresses).owned_by(self._resources)
        self.sockets = opened.sockets
        self.state.has_users = any(map(is_unix_socket, self.sockets))
        try:
            await self.open()
            self._listeners = self._make_listeners()
            await self._listen(self._listeners)
            if worker is not None:
                worker.ready()
        except BaseException:
            for bound in self.sockets:
                bound.close()
            await self.stop()
            raise
        return self

    def _make_listeners(self) -> Listeners | SharedListeners:
        backlog, worker = self.config.backlog, self._worker
        if worker is None:
            return Listeners(self.sockets, self.accept, limit=STREAM_LIMIT, backlog=backlog)
        return SharedListeners(
            self.sockets, self.accept, limit=STREAM_LIMIT, backlog=backlog, is_ahead=worker.is_ahead
        )

    async def _listen(self, listeners: Listeners | SharedListeners) -> None:
        try:
            await listeners.open()
        except OSError as error:  # another server began to listen after the port was bound
            raise cannot_listen_on(self.sockets[0], error) from error

    async def open(self) -> None:
        """Start everything except the listening sockets: tests use other kinds of connections."""
        self.state.open()
        self.pools = open_pools(self.config.threads)
        self._resources.callback(self.pools.close)
        self._resources.enter_context(called_in_children(self._release_sockets))
        self._tick()
        self.background.open()
        if self._lifespan is not None:
            try:
                entering = self._cleanup.enter_async_context(self._lifespan)
                await bounded_lifespan(entering, max(self.config.grace_s, _CANCEL_S))
            except BaseException:
                await self.background.close(0.0, _CANCEL_S)  # its resources are gone
                raise

    async def stop(self, *, silence_s: float = _SILENCE_S) -> None:
        """Stop listening, let the exchanges under way finish for `grace_s`, then cancel them.

        An idle connection stays open until it has been silent for `silence_s`. Background tasks
        have the rest of `grace_s`, at least a second. The lifespan is always left, last.

        Raises: ThreadsStuck, at the end, if plain `def` code still runs in a thread.
        """
        async with self._stop_lock:  # a second call waits for the first
            await self._stop(silence_s)

    def retire(self, silence_s: float | None) -> None:
        """Let the stop that follows leave new connections to other workers.

        A client of a connection that idles is told by its next answer that the connection closes;
        it has `silence_s` for that request, because no other process knows the connection. With
        None the whole service stops, so that idle connections have a second again.
        """
        self.state.is_retiring = silence_s is not None
        self._silence_s = _SILENCE_S if silence_s is None else silence_s

    async def _stop(self, silence_s: float) -> None:
        silence_s = self._silence_s if self.state.is_retiring else silence_s
        self.state.is_draining |= not self.state.is_retiring
        self.state.is_stopping, self._silence_s = True, silence_s
        ends_at = self.state.clock() + self.config.grace_s
        if self._stop_timer is None:
            self._tick_stopping()
        stopping = Sweep(Connection.stop, self.state.clock)
        stopping.begin(self.connections)
        self.guests.stop()
        try:
            listeners, self._listeners = self._listeners, None
            if self._worker is not None:
                self._worker.drain()
            if listeners is not None:
                await listeners.close(leaves_queue=self.state.is_retiring)
            await stopping.end()
            await self._finish_work(ends_at)
        finally:
            for timer in (self._timer, self._stop_timer, self._sweep, self._stop_sweep):
                if timer is not None:
                    timer.cancel()
            await self._leave_lifespan()
        if self.pools is not None and (places := self.pools.stuck()):
            raise ThreadsStuck(places)

    async def _finish_work(self, ends_at: float) -> None:
        tasks = await unfinished(self._tasks(), ends_at - self.state.clock())
        log_unfinished(self.connections, self.guests, self.config.grace_s)
        ending = {each.network.task for each in self.connections if each.watch.is_ending}
        ending = (ending | self.guests.ending_tasks()) & tasks
        for spared in (ending, set[object]()):  # first spare the tasks that already clean up
            for task in tasks - spared:
                task.cancel()
            tasks = await unfinished(tasks, _CANCEL_S)
        await self.background.close(max(ends_at - self.state.clock(), _CANCEL_S), _CANCEL_S)
        if self.pools is not None:
            await self.pools.wait_idle(max(ends_at - self.state.clock(), _CANCEL_S))

    def _release_sockets(self) -> None:
        """Release the server's sockets in a child process that an endpoint has forked."""
        everyone = (*self.connections, *self._refused)
        connected = (each.network.transport.get_extra_info("socket") for each in everyone)
        held = (*self.sockets, *connected)
        release_descriptors([each.fileno() for each in held if each is not None])

    async def _leave_lifespan(self) -> None:
        within_s = max(self.config.grace_s, _CANCEL_S)
        text = "the lifespan did not end within %g s: it is cancelled"
        # By a timer, because a lifespan may continue after its cancellation.
        saying = asyncio.get_running_loop().call_later(within_s, _log.error, text, within_s)
        try:
            async with asyncio.timeout(within_s) as limit:
                await bounded_lifespan(self._cleanup.aclose(), _CANCEL_S)
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            saying.cancel()
            self._resources.close()

    def awaited(self) -> str:
        """Return a text about the work that a stop would wait for, or ""."""
        return work_under_way(self.connections, self.guests, self.background.count)

    def _tasks(self) -> set[asyncio.Task[None]]:
        everyone = self.connections | self._refused
        tasks = self.guests.tasks() | {connection.network.task for connection in everyone}
        return {task for task in tasks if task is not None}

    def renew(self) -> None:
        """Read the files of the certificates again."""
        if self._tls is not None:
            self._tls.reload()

    # --- connections

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection: the callback of `asyncio.start_server`."""
        below = writer.transport
        if self._tls is not None:
            reader, writer = self._tls.wrap(reader, writer)
        connection = Connection(self.state, reader, writer, self._on_end)
        if self.config.proxy_protocol:
            expect_proxy_header(below, connection.network)
        is_full = len(self.connections) >= self.config.max_connections
        if is_full and not self._eviction.make_room():
            if len(self._refused) >= _MAX_REFUSED:
                below.abort()
                return
            self._refused.add(connection)
            serving = connection.turn_away(_RETRY_AFTER_S)
        else:
            self.connections.add(connection)
            if self._worker is not None:
                self._worker.slot.connections = len(self.connections)
            serving = connection.run()
            if self.state.is_stopping:
                connection.stop(self.state.clock())
        connection.network.task = self.state.loop.create_task(serving)
        if self._listeners is not None:
            self._listeners.check_descriptor(below)

    def _forget(self, connection: Connection) -> None:
        """Remove a connection that is over."""
        self.connections.discard(connection)
        self._refused.discard(connection)
        if self._worker is not None:
            self._worker.slot.connections = len(self.connections)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        now = self.state.clock()
        self.state.head_cache.refresh()
        # One tick more, so that no connection is idle for less than `idle_timeout_s`.
        if not self.state.is_stopping:
            self.state.idle_deadline = now + self.config.idle_timeout_s + _TICK_S
        self._sweep.begin(self.connections, self._refused)
        self.guests.check(now)
        if self._listeners is not None:
            self._listeners.check()
        if self._tls is not None:
            self._tls.check(now)
        if self._worker is not None:
            self._worker.heartbeat(self.state.requests)

    def _tick_stopping(self) -> None:
        self._stop_timer = asyncio.get_running_loop().call_later(_STOP_TICK_S, self._tick_stopping)
        now = self.state.clock()
        self.state.idle_deadline = now + self._silence_s
        self._stop_sweep.begin(self.connections, self._refused)

    # --- `await server` and `async with server`

    def __await__(self) -> Generator[object, None, Server]:
        return self.start().__await__()

    async def __aenter__(self) -> Server:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
