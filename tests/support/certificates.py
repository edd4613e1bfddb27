"""Certificates for tests: authorities that sign real ones, and clients that trust them."""

from __future__ import annotations

import ssl
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trustme

from microweb.server.config import ServerOptions


class Files(NamedTuple):
    """A certificate with its chain, and its key."""

    certificate: str
    key: str

    def options(self) -> ServerOptions:
        return ServerOptions(tls_certificate=(self.certificate,), tls_key=(self.key,))

    def flags(self) -> list[str]:
        return ["--tls-certificate", self.certificate, "--tls-key", self.key]


class Authority:
    """A certificate authority."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def issue(
        self,
        folder: Path,
        *names: str,
        stem: str = "server",
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> Files:
        """Write a new certificate and its key into `folder`."""
        issued = self._authority.issue_cert(
            *(names or ("localhost", "127.0.0.1", "::1")),
            common_name=common_name,
            not_before=not_before,
            not_after=not_after,
            key_type=key_type,
        )
        files = Files(str(folder / f"{stem}.pem"), str(folder / f"{stem}.key"))
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        Path(files.certificate).write_bytes(chain)
        Path(files.key).write_bytes(issued.private_key_pem.bytes())
        return files

    def write(self, folder: Path, stem: str = "authority") -> str:
        """Write the certificate of the authority itself, and return its path."""
        path = folder / f"{stem}.pem"
        path.write_bytes(self._authority.cert_pem.bytes())
        return str(path)

    def client(self, files: Files | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority; `files` are its own."""
        context = ssl.create_default_context(cadata=self._authority.cert_pem.bytes().decode())
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        return context


@cache
def authority() -> Authority:
    """Return the authority that the tests of this process share."""
    return Authority()
