from __future__ import annotations

import mimetypes
import re
from pathlib import Path

import pytest

from microweb.errors import LocalProtocolError
from microweb.http.mediatypes import (
    MEDIA_TYPES,
    check_content_type,
    content_disposition,
    file_fields,
    media_type_of,
    parse_media_type,
)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.HTML", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.min.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.wasm", "application/wasm"),
        ("a.woff2", "font/woff2"),
        ("a.pdf", "application/pdf"),
        ("a.ts", "video/mp2t"),  # RFC 8216 section 3; on Debian it is a translation of Qt
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.svgz", "image/svg+xml"),
        ("a.SVGZ", "image/svg+xml"),
        ("a.tar.gz", "application/gzip"),
        ("a.js.br", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("data:text/html,a", "application/octet-stream"),
        ("README", "application/octet-stream"),
        ("html", "application/octet-stream"),
    ],
)
def test_media_type(name: str, media_type: str) -> None:
    assert media_type_of(name) == media_type
    assert media_type_of(Path("folder.css") / name) == media_type


def test_media_type_of_the_applications_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEDIA_TYPES, ".note", "text/x-note")
    assert media_type_of("a.note") == "text/x-note; charset=utf-8"


def test_table_of_the_machine_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    mimetypes.init()
    monkeypatch.setitem(mimetypes.types_map, ".ts", "text/vnd.trolltech.linguist")
    monkeypatch.setitem(mimetypes.types_map, ".unheard", "text/x-unheard")
    assert media_type_of("a.ts") == "video/mp2t"
    assert media_type_of("a.unheard") == "application/octet-stream"


def test_table_is_in_order_and_of_media_types() -> None:
    assert list(MEDIA_TYPES) == sorted(MEDIA_TYPES)
    assert all(re.fullmatch(r"\.[a-z0-9]+", ending) for ending in MEDIA_TYPES)
    assert all(re.fullmatch(r"[a-z]+/[a-z0-9.+-]+", each) for each in MEDIA_TYPES.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan.pdf", 'attachment; filename="plan.pdf"'),
        ("a b;c.txt", 'attachment; filename="a b;c.txt"'),
        ("naïve.txt", "attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ("€ 5%.txt", "attachment; filename=\"_ 5_.txt\"; filename*=UTF-8''%E2%82%AC%205%25.txt"),
        ("50%41.txt", "attachment; filename=\"50_41.txt\"; filename*=UTF-8''50%2541.txt"),
        ("../../etc/passwd", 'attachment; filename=".._.._etc_passwd"'),
        ('a"\\b.txt', 'attachment; filename="a__b.txt"'),
        ("a\r\nSet-Cookie: b\0.txt", 'attachment; filename="a__Set-Cookie: b_.txt"'),
        ("a'*().txt", 'attachment; filename="a\'*().txt"'),
        ("\u202egpj.exe", 'attachment; filename="_gpj.exe"'),
        ("\ud800.txt", 'attachment; filename="_.txt"'),
    ],
)
def test_download_name(name: str, value: str) -> None:
    assert content_disposition(name) == value


@pytest.mark.parametrize(
    ("value", "media_type", "parameters"),
    [
        ("", "", {}),
        ("TEXT/HTML", "text/html", {}),
        (' text/html ; Charset="UTF-8" ', "text/html", {"charset": "UTF-8"}),
        ("a/b;x=1;X=2;y;=;", "a/b", {"x": "1", "": ""}),
        (";charset=a", "", {"charset": "a"}),
    ],
)
def test_content_type_is_taken_apart(
    value: str, media_type: str, parameters: dict[str, str]
) -> None:
    assert parse_media_type(value) == (media_type, parameters)


def test_a_media_type_is_one_line() -> None:
    check_content_type("text/plain")
    with pytest.raises(LocalProtocolError):
        check_content_type("text/plain\r\nX: y")


def test_fields_of_a_file_say_its_age_and_its_name() -> None:
    assert file_fields(None, None) == {"Cache-Control": "no-cache"}
    assert file_fields(60, "a.txt") == {
        "Cache-Control": "max-age=60",
        "Content-Disposition": 'attachment; filename="a.txt"',
    }


def test_the_first_32_parameters_of_a_media_type_are_read() -> None:
    value = "a/b" + "".join(f";p{number}=x" for number in range(10_000))
    assert parse_media_type(value) == ("a/b", {f"p{number}": "x" for number in range(32)})
