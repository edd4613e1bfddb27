"""ExchangeRecord: one exchange as the observers of a server see it, once it has ended.

Each exchange gives exactly one record, however it ends. Without an observer no record is made, and
nothing is measured.
"""

from __future__ import annotations

from collections.abc import Callable

from ..http.interfaces import Address
from ..http.request_log import route_of
from ..request import Request

DONE = "done"
CLIENT_LEFT = "client_left"
DEADLINE = "deadline"
STOPPED = "stopped"
FAILED = "failed"
REFUSED = "refused:"  # followed by a reason that contains no bytes of the client


class ExchangeRecord:
    """One exchange: the request, the answer, their sizes and their times.

    `request` is None if its head was refused, or if there were too many connections. `status` is 0
    without an answer. `received` counts the head of the request and the bytes of its body that were
    read before the answer. `sent` counts the answer with its head.

    The times are those of `ServerState.precise_clock`, 0.0 for an event that did not happen:
    `begun` (the head is complete), `handled` (the handler has returned), `first_byte` (the answer
    begins) and `ended` (all of it is written, or the exchange has failed).

    `how` is `done`; `client_left`; `deadline` (a timeout of the server, or the client read too
    slowly); `stopped` (the server's stop has cut it); `failed` (the application failed after a part
    of the answer was sent); or `refused:` and a reason, for bytes that are not valid HTTP.
    """

    __slots__ = (
        "address",
        "begun",
        "ended",
        "first_byte",
        "handled",
        "how",
        "is_direct",
        "received",
        "request",
        "sent",
        "status",
    )

    def __init__(self, request: Request | None, address: Address | None, now: float) -> None:
        self.request = request
        self.address = address  # of the socket's other end
        self.is_direct = False  # no proxy is trusted, so `address` is the client's
        self.begun = now
        self.handled = self.first_byte = self.ended = 0.0
        self.received = self.sent = self.status = 0
        self.how = DONE

    @property
    def method(self) -> str:
        """The method as sent; empty without a request."""
        return "" if self.request is None else self.request.line.method

    @property
    def target(self) -> str:
        """The request target as sent; empty without a request."""
        return "" if self.request is None else self.request.line.target

    @property
    def route(self) -> str | None:
        """The pattern of the route, with the prefix of its app; None if no route matched."""
        return None if self.request is None else route_of(self.request)

    @property
    def client(self) -> Address | None:
        """The client's address: as trusted proxies report it, else the socket's other end."""
        if self.is_direct or self.request is None:
            return self.address
        return self.request.client


Observer = Callable[[ExchangeRecord], None]


def note_first_byte(
    record: ExchangeRecord, clock: Callable[[], float], write: Callable[[bytes | memoryview], bool]
) -> Callable[[bytes | memoryview], bool]:
    """Return a function that calls `write`, and notes the time of the first call."""

    def write_noting(data: bytes | memoryview) -> bool:
        if not record.first_byte:
            record.first_byte = clock()
        return write(data)

    return write_noting
