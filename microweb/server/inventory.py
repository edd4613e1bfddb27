"""List the connections of a worker for `microweb ps`.

All is read from what the connections have, when somebody asks. Requests cost nothing for it. Once a
second the inventory notes which requests are under way, so that their ages are known to a second.
Bytes are those that the kernel counts for each TCP connection.

Many connections are described in slices, and other tasks of the event loop run between them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..http.interfaces import Address
from ..request import Request
from .connection import Connection
from .network import NEVER, NetworkStream
from .phases import Phase
from .questions import Answering, Frame, Question

if TYPE_CHECKING:
    from .server import Server

# States, in the order of the answer: what keeps the server busy comes first.
HANDLER = "handler"
BODY = "body"
WRITING = "writing"
HEAD = "head"
WEBSOCKET = "websocket"  # the `kind` of a `LongLived`, as EVENTS is
EVENTS = "events"
CLOSING = "closing"
IDLE = "idle"
STATES = (HANDLER, BODY, WRITING, HEAD, WEBSOCKET, EVENTS, CLOSING, IDLE)

# Once, because a member of an Enum is slow to get: a state takes 0.4 us in place of 1.0.
_BODY, _HEAD, _LINGER = Phase.BODY, Phase.HEAD, Phase.LINGER

_TICK_S = 1.0
_COUNTED = 500  # connections counted at a time: 0.5 ms
_DESCRIBED = 50  # connections described at a time: 0.5 ms
_MAX_TEXT = 200  # characters of each text
_TCP_BYTES = struct.Struct("QQ")  # acknowledged and received, in `struct tcp_info` of Linux 4.1
_TCP_BYTES_AT = 120

Row = dict[str, object]


class Inventory:
    """Answers questions about `connections`. `clock` is that of their server."""

    def __init__(self, connections: Collection[Connection], clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock
        self._busy: dict[Connection, tuple[Request, float]] = {}  # since when, to a second
        self._timer: asyncio.TimerHandle | None = None

    def note(self) -> None:
        """Note the requests that are under way; once a second from now on."""
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self.note)
        before, now = self._busy, self._clock()
        self._busy = {}
        for connection in self._connections:
            request = connection.network.request
            if request is not None:
                noted = before.get(connection)
                is_known = noted is not None and noted[0] is request
                self._busy[connection] = noted if is_known and noted else (request, now)

    def close(self) -> None:
        """Note no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._busy.clear()

    async def answer(self, question: Question) -> AsyncGenerator[Frame, None]:
        """Yield a sign of life, rows of at most `limit` connections, and at last the counts."""
        yield {}
        counts: Counter[str] = Counter()
        chosen: dict[str, list[Connection]] = {state: [] for state in STATES}
        everyone = list(self._connections)
        for start in range(0, len(everyone), _COUNTED):
            for connection in everyone[start : start + _COUNTED]:
                state = state_of(connection)
                counts[state] += 1
                if len(chosen[state]) < question.limit:
                    chosen[state].append(connection)
            await asyncio.sleep(0)
        del everyone
        first = [each for state in STATES for each in chosen[state]][: question.limit]
        for start in range(0, len(first), _DESCRIBED):
            slice_ = first[start : start + _DESCRIBED]
            yield {"rows": [self._row(each) for each in slice_ if each in self._connections]}
            await asyncio.sleep(0)
        yield {"counts": dict(counts), "more": counts.total() - len(first)}

    def _row(self, connection: Connection) -> Row:
        network = connection.network
        request, state = network.request, state_of(connection)
        since = self._since(connection, state)
        received, sent = bytes_of(network)
        row: Row = {
            "state": state,
            "age_s": None if since is None else round(max(self._clock() - since, 0.0), 1),
            "peer": _text_of(network.address),
            "received": received,
            "sent": sent,
        }
        if request is not None:
            route = request.match.route if request.match is not None else None
            client = _text_of(request.client)
            row |= {
                "client": client if client != row["peer"] else None,
                "method": request.method[:_MAX_TEXT],
                "path": request.raw_path[:_MAX_TEXT],
                "route": None if route is None else f"{request.prefix}{route.path}"[:_MAX_TEXT],
            }
        return row

    def _since(self, connection: Connection, state: str) -> float | None:
        """Return when the request, or the state without one, began; None if it is not known."""
        network = connection.network
        if network.request is not None:
            if network.record is not None:
                return network.record.begun
            request, since = self._busy.get(connection, (None, 0.0))
            return since if request is network.request else self._clock()
        if state == HEAD and network.deadline != NEVER:
            return network.deadline - network.state.config.head_timeout_s
        return network.idle_since() if state == IDLE else None


@contextmanager
def questions_answered(end: socket.socket | None, server: Server) -> Iterator[None]:
    """Answer the questions that come over one end of a socket pair, if there is one."""
    if end is None:
        yield
        return
    inventory = Inventory(server.connections, lambda: server.state.clock())
    answering = Answering(end, inventory.answer)
    inventory.note()
    answering.open()
    try:
        yield
    finally:
        answering.close()
        inventory.close()


def state_of(connection: Connection) -> str:
    """Return the state of a connection, one of `STATES`."""
    network = connection.network
    phase, transport = network.phase, network.transport
    if phase is _BODY:
        return BODY
    if network.request is None:
        if phase is _LINGER or transport.is_closing():
            return CLOSING
        if network.unflushed or transport.get_write_buffer_size():
            return WRITING
        return HEAD if phase is _HEAD else IDLE
    watch = connection._watch  # `watch` would make one
    if watch is not None and watch.long_lived is not None:
        return watch.long_lived.kind
    is_streaming = watch is not None and watch.is_streaming
    is_writing = is_streaming or network.is_draining or network.written > 0
    return WRITING if is_writing else HANDLER


def bytes_of(network: NetworkStream) -> tuple[int | None, int | None]:
    """Return the bytes received from the peer, and those that it has acknowledged.

    None if the kernel does not count them: on a Unix socket, and on systems other than Linux.
    """
    connected = network.transport.get_extra_info("socket")
    if sys.platform != "linux" or connected is None:
        return None, None
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return None, None
    size = _TCP_BYTES_AT + _TCP_BYTES.size
    try:
        info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        sent, received = _TCP_BYTES.unpack_from(info, _TCP_BYTES_AT)
    except (OSError, struct.error):  # it is closed, or the kernel is older
        return None, None
    return received, sent


def _text_of(address: Address | None) -> str:
    if address is None:
        return ""
    host = address.host[:_MAX_TEXT]
    if not address.port:
        return host
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"
