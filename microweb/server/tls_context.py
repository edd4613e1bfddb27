"""The TLS contexts of a server, made from its options: one for each certificate.

All contexts have the same policy. Python calls `sni_callback` with the name that the client asks
for, and the callback chooses the context whose certificate has that name. The first certificate is
for all other names.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn

from ..errors import ConfigurationError
from ..http.tls import TLSInfo, parse_certificate, parse_time
from .config import ServerConfig

# For TLS 1.2: ephemeral keys and authenticated encryption. All ciphers of TLS 1.3 are such.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENTS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL
_FLIGHTS = 4  # of messages, at most, in a handshake
_MAX_FILE_BYTES = 1 << 20
_KEY_MARK = b"PRIVATE KEY-----"

# OpenSSL's reasons, in words.
_REASONS = {
    "KEY_VALUES_MISMATCH": "the certificate and the key do not match",
    "NO_CERTIFICATE_ASSIGNED": "the certificate and the key do not match",
    "EE_KEY_TOO_SMALL": "its key is too small",
    "CA_MD_TOO_WEAK": "it is signed with a weak digest",
}


class Pair(NamedTuple):
    """The files of a certificate and of its private key."""

    certificate: str
    key: str

    def __str__(self) -> str:
        if self.certificate == self.key:
            return self.certificate
        return f"{self.certificate} with {self.key}"


def pairs_of(config: ServerConfig) -> list[Pair]:
    """Return the pairs that `config` names. Without `tls_key`, the certificate's file has the key.

    Raises: ConfigurationError if the options do not fit together.
    """
    certificates, keys = config.tls_certificate, config.tls_key
    if not certificates:
        what = f"the certificate of {keys[0]!r:.80}" if keys else "the server's own certificate"
        raise ConfigurationError(f"tls_certificate (--tls-certificate): name {what}")
    if len(keys or certificates) != len(certificates):
        raise ConfigurationError(
            f"tls_key (--tls-key): expected {len(certificates)} keys, one for each certificate, "
            f"got {len(keys)}"
        )
    if (config.tls_client == "none") is not (config.tls_client_ca == ()):
        raise ConfigurationError(
            "tls_client: expected 'optional' or 'required' together with tls_client_ca, got "
            f"{config.tls_client!r} and {config.tls_client_ca!r:.80}"
        )
    return [Pair(*pair) for pair in zip(certificates, keys or certificates, strict=True)]


@dataclass(slots=True)
class Contexts:
    """The contexts of all certificates."""

    default: ssl.SSLContext
    named: dict[str, ssl.SSLContext] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # certificates that clients refuse now

    def choose(self, made: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Choose the context for a server name: the callback of Python's `ssl`."""
        if name is None or not isinstance(made, ServerObject):
            return
        name = made.server_name = name.lower().rstrip(".")
        chosen = self.named.get(name) or self.named.get(f"*.{name.partition('.')[2]}")
        if chosen is not None:
            made.context = chosen


class ServerObject(ssl.SSLObject):
    """A TLS connection that knows the name that its client has asked for."""

    server_name: str | None = None


def make_contexts(config: ServerConfig) -> Contexts:
    """Return the contexts for the options of `config`.

    Raises: ConfigurationError if a file can't be read, a certificate and its key do not match, or
    OpenSSL refuses one of them.
    """
    pairs = pairs_of(config)
    made = [_make_context(config, pair) for pair in pairs]
    contexts = Contexts(made[0])
    for pair, context in zip(pairs, made, strict=True):
        fields = _read_certificate(context, pair)
        for name in _names_of(fields):
            contexts.named.setdefault(name, context)
        contexts.notes += _notes_on(pair, fields)
        _set_clients(config, context)
    contexts.default.sni_callback = contexts.choose
    return contexts


def tls_info(made: ssl.SSLObject) -> TLSInfo:
    """Return the properties of a connection after its handshake."""
    cipher, der = made.cipher(), made.getpeercert(binary_form=True)
    fields = made.getpeercert() if der is not None else None
    return TLSInfo(
        version=(made.version() or "").removeprefix("TLSv"),
        cipher=cipher[0] if cipher is not None else "",
        server_name=made.server_name if isinstance(made, ServerObject) else None,
        client=parse_certificate(fields, der) if fields and der is not None else None,
    )


# --- making a context


def _make_context(config: ServerConfig, pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = ServerObject
    context.minimum_version = _MINIMUM[config.tls_minimum]
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _check_file("tls_certificate", pair.certificate, b"CERTIFICATE-----", "a certificate")
    option = "tls_key" if config.tls_key else "tls_certificate"
    _check_key(pair, option)
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=_refuse_passphrase)
    except _HasPassphrase:
        raise ConfigurationError(
            f"{option}: {pair.key!r:.80} has a passphrase, and a server can't type it: expected a "
            "key without one, as from `openssl pkey -in KEY -out PLAIN_KEY`"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"tls_certificate: {pair}: {_reason_of(error)}") from error
    return context


def _set_clients(config: ServerConfig, context: ssl.SSLContext) -> None:
    for name in config.tls_client_ca:
        _check_file("tls_client_ca", name, b"CERTIFICATE-----", "a certificate")
        try:
            context.load_verify_locations(name)
        except OSError as error:
            text = f"tls_client_ca: {name!r:.80}: {_reason_of(error)}"
            raise ConfigurationError(text) from error
    context.verify_mode = _CLIENTS[config.tls_client]


def _check_key(pair: Pair, option: str) -> None:
    """Raise ConfigurationError if the file of the key has none."""
    if pair.key != pair.certificate:
        _check_file(option, pair.key, _KEY_MARK, "a private key")
    elif _KEY_MARK not in _read(option, pair.key):
        raise ConfigurationError(
            f"tls_key (--tls-key): name the private key of {pair.certificate!r}, or put the key "
            "into that file"
        )


def _check_file(option: str, name: str, mark: bytes, expected: str) -> None:
    """Raise ConfigurationError that names the file: OpenSSL's own error names none."""
    if mark not in _read(option, name):
        raise ConfigurationError(f"{option}: expected {expected} in PEM, got the file {name!r:.80}")


def _read(option: str, name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(f"{option}: can't read {name!r:.80}: {error.strerror}") from error


class _HasPassphrase(Exception):
    pass


def _refuse_passphrase() -> NoReturn:
    """Refuse a key with a passphrase: OpenSSL would ask for it on the terminal."""
    raise _HasPassphrase


def _reason_of(error: OSError) -> str:
    """Return the reason of OpenSSL, or of a file that was removed meanwhile, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    reason = error.reason or "it is damaged"
    return _REASONS.get(reason, reason.replace("_", " ").lower())


# --- reading a certificate


def _read_certificate(context: ssl.SSLContext, pair: Pair) -> Mapping[str, Any]:
    """Return the fields of the certificate that `context` serves, by a handshake in memory.

    `ssl` has no public function that decodes a certificate. A handshake is also the best check of a
    pair. Raises: ConfigurationError if a client would refuse the certificate whatever it trusts.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    try:
        client.verify_mode = ssl.CERT_NONE
        der = _shake_hands(context, client).getpeercert(binary_form=True)
        assert der is not None
        client.load_verify_locations(cadata=der)
        client.verify_mode = ssl.CERT_REQUIRED
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        return _shake_hands(context, client).getpeercert() or {}
    except ssl.SSLError as error:
        text = f"tls_certificate: clients refuse {pair}: {_reason_of(error)}"
        raise ConfigurationError(text) from error


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Return the client's side of a connection in memory. Raises: ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server)
    for _ in range(_FLIGHTS):
        for side in (calling, serving):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return calling


def _names_of(fields: Mapping[str, Any]) -> list[str]:
    """Return the DNS names of a certificate. RFC 9525 section 2: the common name is none."""
    return [value.lower() for kind, value in fields.get("subjectAltName", ()) if kind == "DNS"]


def _notes_on(pair: Pair, fields: Mapping[str, Any]) -> list[str]:
    """Return a text if clients refuse the certificate at this time."""
    now = datetime.now(UTC)
    begins, ends = parse_time(fields["notBefore"]), parse_time(fields["notAfter"])
    if now > ends:
        return [f"the certificate {pair.certificate} has expired on {ends:%Y-%m-%d %H:%M} UTC"]
    if now < begins:
        return [f"the certificate {pair.certificate} begins on {begins:%Y-%m-%d %H:%M} UTC"]
    return []
