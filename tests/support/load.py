"""A load on a server while it reloads or loses a worker: each failed request is counted."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from urllib.parse import urlsplit


class Clients:
    """A number of clients, each of which asks again and again until `stop()`.

    `failed` has the kind of each failure. A connection that the server closed before a request was
    sent is no failure: a client opens another, as browsers do.
    """

    def __init__(
        self,
        url: str,
        path: str = "/",
        *,
        keeps: bool,
        method: str = "GET",
        pause_s: float = 0.0,
        host: str = "a",
        tls: ssl.SSLContext | None = None,
        content: tuple[str, bytes] = ("text/plain", b"hello"),
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        closing = b"" if keeps else b"Connection: close\r\n"
        media_type, body = content if method == "POST" else ("", b"")
        length = f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n" if body else ""
        line = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n".encode()
        self._request = b"%b%b%b\r\n%b" % (line, closing, length.encode(), body)
        self._tls = {"ssl": tls, "server_hostname": host} if tls else {}
        self._keeps = keeps
        self._pause_s = pause_s
        self._is_over = False
        self.answered = 0
        self.bodies: Counter[bytes] = Counter()
        self.failed: list[str] = []

    def stop(self) -> None:
        """Let each client end after its answer."""
        self._is_over = True

    async def run(self, count: int) -> None:
        """Ask with `count` clients until `stop()`."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(self._ask_often())

    async def _ask_often(self) -> None:
        reader, writer = None, None
        while not self._is_over:
            if self._pause_s:
                await asyncio.sleep(random.uniform(0.0, self._pause_s))
            if writer is None or reader is None or reader.at_eof() or writer.is_closing():
                if writer is not None:
                    self._close(writer)
                try:
                    reader, writer = await asyncio.open_connection(
                        self._host, self._port, **self._tls
                    )
                except OSError as error:
                    self.failed.append(f"connect: {error}")
                    reader = writer = None
                    continue
            if not await self._ask(reader, writer):
                self._close(writer)
                reader = writer = None
        if writer is not None:
            self._close(writer)

    def _close(self, writer: asyncio.StreamWriter) -> None:
        """Close a connection; one with TLS at once, so that none is left when the loop ends."""
        if self._tls:
            writer.transport.abort()
        else:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Return whether the connection may be used again."""
        try:
            writer.write(self._request)
            async with asyncio.timeout(30.0):
                head = await reader.readuntil(b"\r\n\r\n")
                fields = head.lower()
                length = int(fields.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
        except (OSError, EOFError, TimeoutError) as error:
            self.failed.append(repr(error))
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            self.failed.append(head.partition(b"\r\n")[0].decode())
        self.answered += 1
        self.bodies[body] += 1
        return self._keeps and b"connection: close" not in fields
