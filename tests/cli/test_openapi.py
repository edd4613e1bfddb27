"""`microweb openapi`: the document on stdout, and its comparison with a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commanding import APP, Write, complaint, misuse
from support.processes import ENVIRONMENT, run_to_end

from microweb import cli

DOCUMENTED = APP + '\napp.openapi("Ännchen", "1")\n'


def test_the_same_bytes_are_printed_each_time(write: Write) -> None:
    folder = write("hello.py", DOCUMENTED).parent
    first, second = (run_to_end(["-m", "microweb", "openapi", "hello.py"], folder) for _ in "12")
    assert first.stdout == second.stdout
    assert (first.returncode, first.stderr) == (0, "")
    assert json.loads(first.stdout)["info"]["title"] == "Ännchen"


def test_a_file_with_the_document_passes(
    write: Write, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write("hello.py", DOCUMENTED)
    cli.main(["openapi", "hello.py"])
    Path("openapi.json").write_bytes(capfdbinary.readouterr().out)
    cli.main(["openapi", "hello.py", "--check", "openapi.json"])
    assert capfdbinary.readouterr().out == b""


def test_a_change_is_a_difference_and_status_1(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write("hello.py", DOCUMENTED)
    cli.main(["openapi", "hello.py"])
    before = capsys.readouterr().out.replace('"version": "1"', '"version": "0"')
    write("openapi.json", before)
    said = complaint("openapi", "hello.py", "--check", "openapi.json")
    assert said == "openapi.json is not the document of hello.py: write it again"
    difference = capsys.readouterr().out.splitlines()
    assert difference[:2] == ["--- openapi.json", "+++ hello.py"]
    changed = [line.split() for line in difference[2:] if line.startswith(("-", "+"))]
    assert changed == [["-", '"version":', '"0"'], ["+", '"version":', '"1"']]


def test_a_file_that_is_missing_is_named(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("hello.py", DOCUMENTED)
    said = misuse(capsys, "openapi", "hello.py", "--check", "no.json")
    assert said == "--check: no.json can't be read: No such file or directory\n"


@pytest.mark.parametrize("broken", [b"", b"{", b"\xff\xfe\x00"])
def test_a_broken_file_is_a_difference(
    write: Write, capsys: pytest.CaptureFixture[str], broken: bytes
) -> None:
    folder = write("hello.py", DOCUMENTED).parent
    (folder / "openapi.json").write_bytes(broken)
    said = complaint("openapi", "hello.py", "--check", "openapi.json")
    assert said == "openapi.json is not the document of hello.py: write it again"
    assert "+++ hello.py" in capsys.readouterr().out.splitlines()


def test_a_difference_is_utf_8_whatever_the_encoding_of_stdout(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write("hello.py", DOCUMENTED).parent
    write("openapi.json", "")
    monkeypatch.setitem(ENVIRONMENT, "PYTHONIOENCODING", "ascii")
    ended = run_to_end(["-m", "microweb", "openapi", "hello.py", "--check", "openapi.json"], folder)
    assert ended.returncode == 1
    assert '+  "title": "Ännchen",' in ended.stdout.splitlines()


def test_an_app_without_a_document_is_refused(write: Write) -> None:
    write("hello.py", APP)
    said = complaint("openapi", "hello.py")
    assert said == "this app has no document: call app.openapi(title, version)"
