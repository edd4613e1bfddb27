"""Names of uploaded files: any text becomes one harmless component."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microweb.http.filenames import safe_filename


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("Über uns (2).tar.gz", "Über uns (2).tar.gz"),
        ("日本語.txt", "日本語.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        (r"C:\Users\ada\a.txt", "a.txt"),
        (r"\\server\share\a.txt", "a.txt"),
        ("..\\../a.txt", "a.txt"),
        ("C:a.txt", "C_a.txt"),
        ("a.txt:stream", "a.txt_stream"),
        ("a.txt::$DATA", "a.txt__$DATA"),
        ('<a>|"b"?*', "_a___b___"),
        ("a\x00.txt", "a_.txt"),
        ("a\r\nb\x1b[2J\x7f\x85", "a__b_[2J__"),
        (".htaccess", "htaccess"),
        ("...", "unnamed"),
        (". . .", "unnamed"),
        ("", "unnamed"),
        ("/", "unnamed"),
        ("a/", "unnamed"),
        ("a.txt. . ", "a.txt"),
        ("  a.txt", "a.txt"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Aux .tar.gz", "_Aux .tar.gz"),
        ("com1", "_com1"),
        ("COM¹.txt", "_COM1.txt"),
        ("lpt0.", "_lpt0"),
        ("CONIN$", "_CONIN$"),
        ("console.log", "console.log"),
        ("com10", "com10"),
        ("\u2024\u2024\uff0fetc\uff0fpasswd", "passwd"),  # fullwidth slashes, one dot leaders
        ("\u2025\uff3ca", "a"),
        ("\u2026", "unnamed"),
        ("\u2100", "c"),  # a/c, in one character
        ("a\uff1ab", "a_b"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),  # reads as photoexe.jpg
        ("a\u200bb\ufeffc", "a_b_c"),
        ("a\u2028b", "a_b"),
        ("a\uf02fb", "a_b"),
        ("e\u0301.txt", "é.txt"),
        ("a\u00a0b", "a b"),
    ],
)
def test_name_is_made_safe(raw: str, name: str) -> None:
    assert safe_filename(raw) == name


@pytest.mark.parametrize("letter", ["a", "ä", "日", "😀", "\ufdfa"])
@pytest.mark.parametrize("suffix", [".txt", ".tar.gz", "", ".", "." + "x" * 300])
def test_long_name_is_cut_and_keeps_a_short_suffix(letter: str, suffix: str) -> None:
    name = safe_filename(letter * 1000 + suffix)
    assert 150 < len(name.encode()) <= 200
    if 1 < len(suffix) < 10:
        assert PurePosixPath(name).suffix == PurePosixPath(suffix[1:] and "a" + suffix).suffix


DEVICE = re.compile(r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])")


def is_device(name: str) -> bool:
    """Return whether Windows takes a name for a device."""
    return DEVICE.fullmatch(name.partition(".")[0].rstrip(" ")) is not None


PIECES = "/ \\ . .. : con nul \uff0f \u2024 \u2100 a 1 \u0338 > \ud800 \x00".split(" ")
pieces = st.sampled_from([*PIECES, " ", "x" * 250, "\ufdfa" * 20, "\u0301" * 150])


@settings(max_examples=500)
@given(st.text() | st.lists(pieces, max_size=12).map("".join))
@example("a" * 199 + ". .txt")
@example("con" + " " * 300 + ".txt")
def test_any_name_is_one_component_everywhere(raw: str) -> None:
    name = safe_filename(raw)
    assert safe_filename(name) == name
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        shape = unicodedata.normalize(form, name)
        assert PurePosixPath(shape).parts == (shape,)
        assert PureWindowsPath(shape).parts == (shape,)
        assert not is_device(shape)
        assert shape.strip(". ") == shape
        assert shape.isprintable()
    assert 0 < len(name.encode()) <= 201
    assert Path("uploads", name).parent == Path("uploads")
