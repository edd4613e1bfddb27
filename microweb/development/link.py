"""Messages between `microweb dev` and the worker that has the app: lines of JSON."""

from __future__ import annotations

import json
import socket
from typing import NamedTuple

from ..server.config import ServerOptions
from ..server.sockets import has_input

NO_OPTIONS: ServerOptions = {}


class Go(NamedTuple):
    """To a worker: import the app and serve it, or serve the text of a fault."""

    fault: str = ""
    prints_routes: bool = False
    options: ServerOptions = NO_OPTIONS  # to serve a fault with


class Report(NamedTuple):
    """Of a worker: what it has imported, and whether the app serves."""

    files: list[str]
    templates: list[str]  # folders
    is_served: bool  # not a fault


class Link:
    """One end of the socket pair. The worker waits for a `Go` and sends each `Report`."""

    def __init__(self, end: socket.socket) -> None:
        self.is_over = False  # the other end is closed
        self._end = end
        self._received = b""

    def fileno(self) -> int:
        """Return the descriptor, -1 after `close`."""
        return self._end.fileno()

    def close(self) -> None:
        """Close this end."""
        self._end.close()

    def send(self, message: Go | Report) -> None:
        """Send a message; it is lost if the other end is closed."""
        self._end.setblocking(True)
        try:
            self._end.sendall(json.dumps(message).encode() + b"\n")
        except OSError:  # the other process has ended, which its owner will see
            return

    def has_message(self) -> bool:
        """Return whether the message to a worker has arrived."""
        return has_input(self._end)

    def wait(self) -> Go | None:
        """Wait for the message to a worker; return None if the other end is closed."""
        self._end.setblocking(True)
        while b"\n" not in self._received:
            try:
                data = self._end.recv(65536)
            except OSError:
                return None
            if not data:
                return None
            self._received += data
        return Go(*json.loads(self._received))

    def reports(self) -> list[Report]:
        """Return the reports that have arrived, without waiting."""
        self._end.setblocking(False)
        try:
            while data := self._end.recv(65536):
                self._received += data
            self.is_over = True
        except BlockingIOError:  # no more for now
            pass
        except OSError:
            self.is_over = True
        *lines, self._received = self._received.split(b"\n")
        return [Report(*json.loads(line)) for line in lines]
