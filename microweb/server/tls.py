"""TLS of a server: a connection over its certificates, and certificates that are renewed.

A renewed certificate is used by the next handshake, in a new context. Nothing is loaded into a
context that serves: a key that does not match would break each handshake from then on. The
connections that exist keep their context.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import cast

from ..errors import ConfigurationError
from ..logs import Log
from .config import ServerConfig
from .tls_context import make_contexts
from .tls_transport import TLSTransport

_LOOK_S = 10.0  # between two looks at the files

_log = Log("microweb.server")

_Stamps = tuple[tuple[int, int, int] | None, ...]


class ServerTLS:
    """The certificates of a server. Raises: ConfigurationError if they can't be used."""

    def __init__(self, config: ServerConfig, *, limit: int, warns: bool = True) -> None:
        self._config = config = config.with_paths_in(os.getcwd())  # the app may change it
        self._limit = limit  # of the StreamReaders, in bytes
        self._stamps = self._look()
        self._failed_at: _Stamps | None = None  # these files can't be used
        self._is_reported = False
        self._contexts = make_contexts(config)
        self._next_look = 0.0
        if warns:
            self._warn()

    @property
    def context(self) -> ssl.SSLContext:
        """The context of handshakes that begin now."""
        return self._contexts.default

    def wrap(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the streams of a new connection over TLS. The handshake is still to come."""
        below, loop = cast(asyncio.Transport, writer.transport), asyncio.get_running_loop()
        decrypted = asyncio.StreamReader(self._limit, loop)
        transport = TLSTransport(below, self, writer)
        protocol = _Streams(decrypted, loop=loop)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        below.set_protocol(transport)
        return decrypted, asyncio.StreamWriter(transport, protocol, decrypted, loop)

    def check(self, now: float) -> None:
        """Use renewed files: called once a second."""
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_S
        stamps = self._look()
        if stamps == self._failed_at:
            # Unchanged for a whole interval, so the files are not half written.
            self._report()
        elif stamps != self._stamps:
            self._renew(stamps)

    def reload(self) -> None:
        """Read all files again, and say whether they can be used."""
        self._renew(self._look())
        if self._failed_at is not None:
            self._report()

    def _renew(self, stamps: _Stamps) -> None:
        try:
            contexts = make_contexts(self._config)
        except ConfigurationError as error:
            self._failed_at, self._error, self._is_reported = stamps, error, False
            return
        self._contexts, self._stamps, self._failed_at = contexts, stamps, None
        _log.info("the certificates are renewed: %s", ", ".join(self._config.tls_certificate))
        self._warn()

    def _warn(self) -> None:
        for note in self._contexts.notes:
            _log.warning("%s: clients refuse it", note)

    def _report(self) -> None:
        if not self._is_reported:
            self._is_reported = True
            _log.error("%s: the old certificates are still served", self._error)

    def _look(self) -> _Stamps:
        config = self._config
        names = (*config.tls_certificate, *config.tls_key, *config.tls_client_ca)
        return tuple(map(_stamp_of, names))


class _Streams(asyncio.StreamReaderProtocol):
    """The streams of a TLS connection, which stays open after the end of its input.

    asyncio closes its own TLS connections then, because they can't be half-closed.
    """

    def eof_received(self) -> bool:
        super().eof_received()
        return True


def _stamp_of(name: str) -> tuple[int, int, int] | None:
    """Return inode, time and size of a file behind all symbolic links; None if there is none."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
