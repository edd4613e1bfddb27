"""The phases of a connection: the event that it waits for until its deadline."""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """The event that a connection waits for until its deadline.

    In the first three phases, if a request is under way, the connection waits for the handler,
    without a deadline.
    """

    START = auto()  # the first byte of the first request
    HEAD = auto()  # the rest of a head
    IDLE = auto()  # the first byte of a later request
    BODY = auto()  # more bytes of a body
    LINGER = auto()  # the peer's close, after the last answer


# Access to an Enum attribute costs 0.1 us, to a global almost nothing.
START, HEAD, IDLE = Phase.START, Phase.HEAD, Phase.IDLE
BEFORE_A_REQUEST = frozenset((START, HEAD, IDLE))
