"""Files of environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from microweb import ConfigurationError
from microweb.server.env_file import read_env_file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("export A=1", "1"),
        ("  A = two words  ", "two words"),
        ("A=", ""),
        ("A= # nothing", ""),
        ("A=#nothing", ""),
        ("A=x # a comment", "x"),
        ("A=x#y", "x#y"),
        ("A=x=y", "x=y"),
        ("A=it's", "it's"),
        ("A=' a # $B \\n '  # a comment", " a # $B \\n "),
        ('A="a\\n\\t\\"\\\\ \\$B \\q #"', 'a\n\t"\\ $B \\q #'),
        ("A=\u00e9", "\u00e9"),
        ("A=1\r", "1"),
        ("A=1\nA=2", "2"),
        ("# A=2\n\n   \nA=1", "1"),
    ],
)
def test_value(tmp_path: Path, line: str, value: str) -> None:
    path = tmp_path / "app.env"
    path.write_bytes(line.encode())
    assert read_env_file(path) == {"A": value}


@pytest.mark.parametrize(
    "line", ["A", "=1", "1A=1", "A B=1", "A='x", 'A="x', "A='x'y", 'A="x"y', "A=a\0b", "A-B=1"]
)
def test_line_of_another_form_is_named_but_not_shown(tmp_path: Path, line: str) -> None:
    path = tmp_path / "app.env"
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_env_file(path)
    expected = "line 2: expected NAME=value, with both quotes if it has one"
    assert str(caught.value) == f"{path}, {expected}"


def test_byte_order_mark_is_no_part_of_the_name(tmp_path: Path) -> None:
    path = tmp_path / "app.env"
    path.write_bytes(b"\xef\xbb\xbfA=1\n")
    assert read_env_file(path) == {"A": "1"}


def test_file_that_is_missing_or_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "app.env"
    with pytest.raises(ConfigurationError, match=r"app\.env can't be read: .*No such file"):
        read_env_file(path)
    path.write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigurationError, match=r"app\.env can't be read: 'utf-8' codec"):
        read_env_file(path)
