"""Tests over TLS: with TEST_TLS=1, `on_loopback` serves HTTPS and `peer_of` speaks it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import pytest

from microweb.server.config import ServerOptions
from microweb.testing.misbehaving import Misbehaving

from .certificates import authority

IS_ON = os.environ.get("TEST_TLS") == "1"


@contextmanager
def certificate_options() -> Iterator[ServerOptions]:
    """Yield the options of a new certificate, which httpx, requests, aiohttp and curl trust."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        trusted = authority().write(Path(folder))
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            patched.setenv(name, trusted)
        yield authority().issue(Path(folder)).options()


class MisbehavingOverTLS(Misbehaving):
    """A client that breaks HTTP on purpose, inside TLS."""

    async def __aenter__(self) -> MisbehavingOverTLS:
        await super().__aenter__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = (
            authority()
            .client()
            .wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        )
        try:
            while not await self._shake_hands():
                await self._more()
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(kind, error, traceback)

    async def send(self, data: bytes) -> None:
        """Send all of `data`; wait while the server does not read."""
        for start in range(0, len(data), 1 << 20):
            self._tls.write(data[start : start + (1 << 20)])
            await super().send(self._outgoing.read())

    async def half_close(self) -> None:
        """Send close_notify, and no more bytes."""
        with suppress(ssl.SSLError):  # the server has not sent its own
            self._tls.unwrap()
        await super().send(self._outgoing.read())
        await super().half_close()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes of the server, at most `max_bytes`; `b""` at the end."""
        if self._buffer:
            data, self._buffer = self._buffer[:max_bytes], self._buffer[max_bytes:]
            return data
        while True:
            try:
                return self._tls.read(max_bytes)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                if not await self._more():
                    return b""

    async def _shake_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            await super().send(self._outgoing.read())
        return True

    async def _more(self) -> bool:
        async with asyncio.timeout(self._timeout_s):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        self._incoming.write(data)
        return bool(data)
