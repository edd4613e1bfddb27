"""The certificate of a client, from the dict that Python's `ssl` returns."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from microweb.http.tls import parse_certificate, parse_time

FIELDS = {
    "subject": (
        (("countryName", "DE"),),
        (("organizationName", "Example, Inc."),),
        (("commonName", "ann"), ("userId", "7")),
    ),
    "issuer": ((("commonName", "an authority"),),),
    "serialNumber": "0A",
    "notBefore": "Jan  1 00:00:00 2026 GMT",
    "notAfter": "Dec 31 23:59:59 2026 GMT",
    "subjectAltName": (("DNS", "ann.example.org"), ("URI", "spiffe://example.org/ann")),
}


def test_certificate() -> None:
    parsed = parse_certificate(FIELDS, b"der")
    assert parsed.subject == "CN=ann+UID=7,O=Example\\, Inc.,C=DE"
    assert parsed.issuer == "CN=an authority"
    assert parsed.common_name == "ann"
    assert parsed.names == (("DNS", "ann.example.org"), ("URI", "spiffe://example.org/ann"))
    assert parsed.serial_number == "0A"
    assert parsed.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert parsed.not_after == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert parsed.der == b"der"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ('a"b+c,d;e<f=g>h\\i', r"a\"b\+c\,d\;e\<f\=g\>h\\i"),
        (" edges ", r"\ edges\ "),
        ("#hash #inside", r"\#hash #inside"),
        ("line\nCN=root\r\0\x7f", r"line\0aCN\=root\0d\00\7f"),
        ("Zoë", "Zoë"),
    ],
)
def test_special_characters_are_escaped(value: str, written: str) -> None:
    """RFC 4514 section 2.4: so a value can't look like another part of the name."""
    fields = FIELDS | {"subject": ((("commonName", value),),)}
    assert parse_certificate(fields, b"").subject == f"CN={written}"


def test_certificate_with_few_fields() -> None:
    fields = {name: FIELDS[name] for name in ("serialNumber", "notBefore", "notAfter")}
    parsed = parse_certificate(fields, b"")
    assert (parsed.subject, parsed.issuer, parsed.common_name, parsed.names) == ("", "", None, ())


def test_unknown_attributes_keep_the_name_of_openssl() -> None:
    fields = FIELDS | {"subject": ((("emailAddress", "a@example.org"),),)}
    assert parse_certificate(fields, b"").subject == "emailAddress=a@example.org"


def test_time() -> None:
    assert parse_time("Jun  1 12:00:00 2027 GMT") == datetime(2027, 6, 1, 12, tzinfo=UTC)
