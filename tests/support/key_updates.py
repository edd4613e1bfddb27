"""A TLS 1.3 client that sends KeyUpdate messages, which Python's `ssl` can't. RFC 8446."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_APPLICATION_DATA, _HANDSHAKE = 23, 22  # types of content
_KEY_UPDATE = b"\x18\x00\x00\x01"  # its content is one byte


class Updating:
    """Encrypts the records of a client, from the end of its handshake on."""

    def __init__(self, context: ssl.SSLContext, folder: Path) -> None:
        self._log = folder / "keys"
        context.keylog_filename = str(self._log)

    def begin(self, tls: ssl.SSLObject) -> None:
        """Use the keys of `tls`, whose handshake is complete."""
        cipher = tls.cipher()
        assert cipher is not None and cipher[0] == "TLS_AES_256_GCM_SHA384"
        lines = self._log.read_text().splitlines()
        (secret,) = [line for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0")]
        self._use(bytes.fromhex(secret.split()[2]))

    def content(self, data: bytes) -> bytes:
        """Return a record with a part of a request."""
        return self._record(_APPLICATION_DATA, data)

    def update(self, *, asks: bool) -> bytes:
        """Return a KeyUpdate message; with `asks`, the server has to send one too."""
        record = self._record(_HANDSHAKE, _KEY_UPDATE + bytes((asks,)))
        self._use(_expand(self._secret, b"traffic upd", 48))
        return record

    def _use(self, secret: bytes) -> None:
        self._secret, self._count = secret, 0
        self._key, self._iv = AESGCM(_expand(secret, b"key", 32)), _expand(secret, b"iv", 12)

    def _record(self, kind: int, data: bytes) -> bytes:
        inner = data + bytes((kind,))
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce = (int.from_bytes(self._iv) ^ self._count).to_bytes(12)
        self._count += 1
        return header + self._key.encrypt(nonce, inner, header)


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    label = b"tls13 " + label
    info = size.to_bytes(2) + bytes((len(label),)) + label + b"\x00"
    return HKDFExpand(SHA384(), size, info).derive(secret)
