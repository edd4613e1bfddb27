"""The TLS side of a request: version, cipher, server name, and the client's certificate.

The certificate comes as Python's `ssl` decodes it. RFC 5280, RFC 4514.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# The names of attributes in RFC 4514 section 3, for the names that OpenSSL uses.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_SPECIAL = re.compile(r'^[ #]|[\x00-\x1f\x7f"+,;<=>\\]| $')
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that the client has proved to own, and that `tls_client_ca` has signed."""

    subject: str  # as in RFC 4514: "CN=ann,O=Example"
    issuer: str
    common_name: str | None  # the CN of the subject
    names: tuple[tuple[str, str], ...]  # alternative names: ("DNS", "a.example.org"), ("URI", ...)
    serial_number: str  # hexadecimal
    not_before: datetime
    not_after: datetime
    der: bytes  # the whole certificate


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """The TLS side of a connection: `request.tls`."""

    version: str  # "1.2" or "1.3"
    cipher: str  # OpenSSL's name: "TLS_AES_256_GCM_SHA384"
    server_name: str | None  # that the client has asked for, in lower case
    client: ClientCertificate | None  # None without a certificate


def parse_certificate(fields: Mapping[str, Any], der: bytes) -> ClientCertificate:
    """Return the certificate of the dict that `SSLObject.getpeercert()` returns."""
    subject = fields.get("subject", ())
    named = [value for rdn in subject for name, value in rdn if name == "commonName"]
    return ClientCertificate(
        subject=_encode_name(subject),
        issuer=_encode_name(fields.get("issuer", ())),
        common_name=named[-1] if named else None,
        names=tuple((kind, str(value)) for kind, value in fields.get("subjectAltName", ())),
        serial_number=fields["serialNumber"],
        not_before=parse_time(fields["notBefore"]),
        not_after=parse_time(fields["notAfter"]),
        der=der,
    )


def parse_time(text: str) -> datetime:
    """Return the time of a certificate, such as "Jun  1 12:00:00 2027 GMT"."""
    month, day, time, year, _ = text.split()  # `strptime` would use the names of the locale
    hour, minute, second = map(int, time.split(":"))
    number = _MONTHS.index(month) + 1
    return datetime(int(year), number, int(day), hour, minute, second, tzinfo=UTC)


def _encode_name(name: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Return a distinguished name as text, the last part first. RFC 4514 section 2."""
    parts = [
        "+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in rdn)
        for rdn in name
    ]
    return ",".join(reversed(parts))


def _escape(value: str) -> str:
    return _SPECIAL.sub(_escape_one, value)


def _escape_one(match: re.Match[str]) -> str:
    char = match[0]
    return f"\\{ord(char):02x}" if ord(char) < 0x20 or char == "\x7f" else f"\\{char}"
