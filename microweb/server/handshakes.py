"""Ignore new connections on a listening socket, while those in its queue are still accepted.

The close of a listening socket resets the connections that wait in its queue. Under load the queue
is never empty: a stop lost a connection of almost every client. So Linux gets a packet filter that
drops each SYN segment, the first of a connection. The queue then runs empty, and the close resets
no connection. A client that connects in between sends its SYN once more after a second, and is
refused or reaches the next server.
"""

from __future__ import annotations

import socket
import struct
import sys
from array import array

_SO_ATTACH_FILTER, _SO_LOCK_FILTER = 26, 44  # on Linux; Python has no names for them
_FLAGS_AT, _SYN, _ACK = 13, 0x02, 0x10  # in the header of a TCP segment
# Instructions of the classic packet filter: code, jump if true, jump if false, value.
_DROP_SYN = array(
    "B",
    b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, _FLAGS_AT),  # load the byte of the flags
            (0x54, 0, 0, _SYN | _ACK),  # keep these two
            (0x15, 0, 1, _SYN),  # SYN alone: the next instruction, else the one behind it
            (0x06, 0, 0, 0),  # drop
            (0x06, 0, 0, 0xFFFFFFFF),  # keep the whole segment
        )
    ),
)
_INSTRUCTION_BYTES = 8


def ignore_new_handshakes(listening: socket.socket) -> bool:
    """Ignore new connections from now on, in all processes that share this socket.

    Returns False if that is not possible: on other systems than Linux, and for a Unix socket.
    """
    if sys.platform != "linux" or listening.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    address, size = _DROP_SYN.buffer_info()
    program = struct.pack("HP", size // _INSTRUCTION_BYTES, address)
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:  # a sandbox may not allow it
        return False
    return True


def keep_handshakes(listening: socket.socket) -> None:
    """Make `ignore_new_handshakes` fail for a socket that outlives this service.

    systemd or another process has it too: a filter would ignore the clients of the next start.
    """
    if sys.platform == "linux":
        listening.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
