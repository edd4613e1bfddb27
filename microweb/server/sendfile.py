"""A part of a file, sent by the kernel to the peer of one connection."""

from __future__ import annotations

import asyncio
import errno
import os

from ..http.bytestream import Descriptor
from .network import NetworkStream, wake

# A file, or its file system, that the kernel can't send from: it is read.
_CANNOT_SEND = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))

_LEFT = "the peer left before the file was out"


async def send_file(network: NetworkStream, file: Descriptor, offset: int, count: int) -> int:
    """Have the kernel send a part of a file; return how many bytes of it, 0 if it can't.

    `loop.sendfile` would do the same system call, but on asyncio alone, and it neither shows
    how far it has come, so that a slow peer could be told from one that reads nothing, nor ends
    when the transport is aborted. Read and written, 1 MiB costs twice the time on uvloop.
    Raises: ClientDisconnected.
    """
    connected = network.transport.get_extra_info("socket")
    if connected is None or network.scheme == "https" or not hasattr(os, "sendfile"):
        return 0
    await network.drain_all()
    if network.transport.is_closing():
        raise network.left(_LEFT)
    try:
        # One of our own: the loop does not watch it, and the transport can't close it, after
        # which the number could be another connection's.
        descriptor = os.dup(connected.fileno())
    except OSError:
        return 0  # there are too many: it is read
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
    """Wait until the peer has taken some of a file. Raises: ClientDisconnected."""
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
