"""The interface of systemd: sockets that it passes, and messages about the state of the service.

See sd_listen_fds(3) and sd_notify(3). The variables are read once and taken out of the environment,
so that no process that the application starts takes them for its own.
"""

from __future__ import annotations

import atexit
import os
import socket
import time
from contextlib import suppress

_FIRST = 3  # SD_LISTEN_FDS_START
_FEED_S = 1.0  # at most, between two messages for the watchdog
_FEEDS = 3  # in the time after which the watchdog kills the service


class Notifier:
    """Sends the state of the service to systemd. Without an address it sends nothing.

    No method waits or raises. `watchdog_s` is the time without `feed` after which systemd kills the
    service, 0 without a watchdog.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None  # kept, for the time without free descriptors
        if address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self.watchdog_s = watchdog_s if self._socket is not None else 0.0
        self.feed_s = min(_FEED_S, self.watchdog_s / _FEEDS)
        self._fed_at = 0.0
        self._status = ""
        self._is_reloading = False

    def ready(self, status: str) -> None:
        """Report that the service accepts connections."""
        self._status = status
        self._send(f"READY=1\nSTATUS={status}")

    def report_reload(self, is_reloading: bool) -> None:
        """Report that a reload begins or ends, if that has changed since the last call."""
        if is_reloading == self._is_reloading:
            return
        self._is_reloading = is_reloading
        if is_reloading:
            now_us = time.monotonic_ns() // 1000
            self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=reloading")
        else:
            self.ready(self._status)

    def stopping(self) -> None:
        """Report that the service begins to stop: before `drain_delay_s`, because it will end."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def feed(self) -> None:
        """Report that the event loop turns. Call it at least every `feed_s` seconds."""
        now = time.monotonic()
        if self.watchdog_s and now - self._fed_at >= self.feed_s / 2:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket; nothing is sent from then on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.sendto(text.encode(), self._address)


_descriptors: range | None = None  # of this process
_notifier: Notifier | None = None


def passed_descriptors() -> range:
    """Return the descriptors of the sockets that systemd has passed; the first call takes them."""
    global _descriptors
    if _descriptors is None:
        _descriptors = _take_descriptors()
    return _descriptors


def notifier() -> Notifier:
    """Return the notifier of this process; the first call takes its variables."""
    global _notifier
    if _notifier is None:
        _notifier = _take_notifier()
        atexit.register(_notifier.close)
    return _notifier


def _take_descriptors() -> range:
    if os.environ.get("LISTEN_PID") != str(os.getpid()):  # they are for another process
        return range(0)
    count = os.environ.pop("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    numbers = range(_FIRST, _FIRST + int(count)) if count.isdecimal() else range(0)
    for number in numbers:
        os.set_inheritable(number, False)
    return numbers


def _take_notifier() -> Notifier:
    address = os.environ.pop("NOTIFY_SOCKET", "")
    period, process = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    is_ours = process in ("", str(os.getpid()))
    return Notifier(address, int(period) / 1e6 if is_ours and period.isdecimal() else 0.0)
