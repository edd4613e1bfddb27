"""The metrics on a socket of their own, which the supervisor serves: the option `metrics_bind`.

A scraper gets them there although no worker answers, and the clients of the service do not. The
supervisor makes a long text in steps of some milliseconds, so that it never delays a worker's
replacement.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from logging import ERROR
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .binds import ListeningSockets, parse_bind
from .board import Board
from .console import say
from .metrics_text import FamilyOfAll, combine, content_type_of, write_text
from .metrics_totals import read_board
from .side_sockets import MAX_UNSENT, SideClient, SideSocket

if TYPE_CHECKING:
    import select
    import socket

PATH = "/metrics"
MAX_TEXT = MAX_UNSENT - 1024  # bytes; the head has its own

_END = b"\r\n\r\n"
_STEP_S = 0.005  # of each turn of the supervisor, for all clients
_PORT = re.compile(r"[0-9]{1,5}")
_TOO_LONG = (
    f"the metrics have over {MAX_TEXT} bytes: lower max_series, or use labels with fewer values\n"
)
_REQUEST_LINE = re.compile(rb"([!-~]++) ([!-~]++) HTTP/1\.[01]\r\n")
_ACCEPT = re.compile(rb"(?i)\r\naccept:([^\r\n]*+)")


def open_metrics(text: str, stack: ExitStack) -> list[socket.socket]:
    """Return bound sockets; the end of `stack` closes them. A port alone is one of 127.0.0.1.

    Raises: ConfigurationError.
    """
    try:
        bind = parse_bind(f"127.0.0.1:{text}" if _PORT.fullmatch(text) else text)
        opened = ListeningSockets.open([bind])
    except ConfigurationError as error:
        raise ConfigurationError(f"metrics_bind: {error}") from error
    stack.callback(opened.close)
    return opened.sockets


class MetricsSocket:
    """Answers GET and HEAD of `/metrics`. The supervisor polls it: see `side_sockets.Polled`."""

    def __init__(self, bound: list[socket.socket], board: Board) -> None:
        self._board = board
        self._side = SideSocket(bound, _END, self._on_request)
        self._answers: list[tuple[SideClient, Iterator[bytes]]] = []  # that are being made

    def register(self, poll: select.poll) -> None:
        """Register the descriptors that are to be polled in this turn."""
        self._side.register(poll)

    def deadline(self) -> float:
        """Return when to call `go_on`, even if no descriptor is ready."""
        return 0.0 if self._answers else self._side.deadline()

    def go_on(self, ready: Mapping[int, int], now: float) -> None:
        """Read requests, and make a part of the answers."""
        self._side.go_on(ready, now)
        ends_at = time.monotonic() + _STEP_S
        while self._answers and time.monotonic() < ends_at:
            client, steps = self._answers[0]
            answer = b"" if client.is_over else _next(steps)
            if answer or client.is_over:
                client.finish(answer)
                del self._answers[0]

    def close(self) -> None:
        """Close all sockets."""
        self._side.close()

    def _on_request(self, client: SideClient, request: bytes) -> None:
        line = _REQUEST_LINE.match(request)
        if not request.endswith(_END):
            client.finish(_plain("431 Request Header Fields Too Large"))
        elif line is None:
            client.finish(_plain("400 Bad Request"))
        elif line[2].partition(b"?")[0] != PATH.encode():
            client.finish(_plain("404 Not Found", f"the metrics are at {PATH}\n"))
        elif line[1] not in (b"GET", b"HEAD"):
            client.finish(_plain("405 Method Not Allowed", fields="Allow: GET, HEAD\r\n"))
        else:
            accept = b",".join(_ACCEPT.findall(request)).decode("latin-1")
            self._answers.append((client, self._answer(accept, is_head=line[1] == b"HEAD")))

    def _answer(self, accept: str, *, is_head: bool) -> Iterator[bytes]:
        """Yield empty bytes after each step, and last the answer."""
        content_type = content_type_of(accept)
        families: dict[str, FamilyOfAll] = {}
        for _ in combine(families, *read_board(self._board)):
            yield b""
        content = bytearray()
        for piece in write_text(families, content_type):
            content += piece.encode()
            if len(content) > MAX_TEXT:
                yield _plain("500 Internal Server Error", _TOO_LONG)
            yield b""
        head = _head("200 OK", content_type, len(content), "Vary: Accept\r\n")
        yield head if is_head else head + bytes(content)


def _next(steps: Iterator[bytes]) -> bytes:
    try:
        return next(steps, b"")
    except Exception as error:  # must not end the supervisor, and with it the service
        say(f"the metrics can't be written: {error!r}", sys.stderr, ERROR)
        return _plain("500 Internal Server Error")


def _head(status: str, content_type: str, size: int, fields: str) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n"
        f"Cache-Control: no-store\r\n{fields}Connection: close\r\n\r\n"
    ).encode()


def _plain(status: str, text: str = "", fields: str = "") -> bytes:
    content = (text or f"{status[4:]}\n").encode()
    return _head(status, "text/plain; charset=utf-8", len(content), fields) + content
