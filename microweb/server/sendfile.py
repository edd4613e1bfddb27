"""Send a part of a file to the peer by the system call `sendfile`."""

from __future__ import annotations

import asyncio
import errno
import os

from ..http.bytestream import Descriptor
from .interruptible import wake
from .network import NetworkStream

# The kernel cannot send from this file or file system, so the file is read instead.
_CANNOT_SEND = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))

_LEFT = "the peer left before the file was sent"


async def send_file(network: NetworkStream, file: Descriptor, offset: int, count: int) -> int:
    """Send a part of a file by the kernel; return how many bytes, 0 if it cannot.

    `loop.sendfile` makes the same system call, but only in asyncio. It does not show its progress,
    so a slow peer would look like one that reads nothing, and it does not end when the transport
    is aborted. Without `sendfile`, 1 MiB costs twice the time on uvloop.
    Raises: ClientDisconnected.
    """
    connected = network.transport.get_extra_info("socket")
    if connected is None or network.scheme == "https" or not hasattr(os, "sendfile"):
        return 0
    await network.drain_all()
    if network.transport.is_closing():
        raise network.left(_LEFT)
    try:
        # Use a copy: the event loop does not watch it, and the transport cannot close it. After
        # a close, the number could belong to another connection.
        descriptor = os.dup(connected.fileno())
    except OSError:
        return 0  # no descriptor is free, so the file is read
    try:
        return await _send_from(network, descriptor, file, offset, count)
    finally:
        os.close(descriptor)


async def _send_from(
    network: NetworkStream, descriptor: int, file: Descriptor, offset: int, count: int
) -> int:
    sent = 0
    try:
        while sent < count:
            try:
                taken = os.sendfile(descriptor, file.fileno(), offset + sent, count - sent)
            except BlockingIOError:
                await _wait_until_writable(network, descriptor)
                continue
            if not taken:
                break  # the file became shorter
            sent += taken
            network.note_taken(taken)
    except OSError as error:
        if error.errno == errno.EIO:
            raise
        if sent or error.errno not in _CANNOT_SEND:
            raise network.left(_LEFT) from error
    return sent


async def _wait_until_writable(network: NetworkStream, descriptor: int) -> None:
    """Wait until the kernel accepts more bytes of a file. Raises: ClientDisconnected."""
    loop = asyncio.get_running_loop()
    network.writable = writable = loop.create_future()
    network.note_sent(0)
    loop.add_writer(descriptor, wake, writable)
    try:
        await writable
    finally:
        loop.remove_writer(descriptor)
        network.writable = None
    if network.transport.is_closing():
        raise network.left(_LEFT)
