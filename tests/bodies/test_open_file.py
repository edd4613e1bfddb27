"""Open files: the accepted kinds of files, reads, and the page cache."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from microweb.bodies import open_file
from microweb.bodies.open_file import OpenFile
from microweb.errors import NotFound

CONTENT = b"static hello\n"
MIB = 1024 * 1024
VERSION = Path("/proc/version")

needs_proc = pytest.mark.skipif(not VERSION.exists(), reason="needs /proc")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hello.txt"
    path.write_bytes(CONTENT)
    return path


def test_file_is_read_at_any_offset(file: Path) -> None:
    opened = OpenFile(file)
    assert (opened.size, opened.content) == (len(CONTENT), None)
    assert opened.modified_ns == file.stat().st_mtime_ns
    assert opened.read(0, 6) == b"static"
    assert opened.read(7, 100) == b"hello\n"
    assert opened.read(100, 1) == b""
    opened.close()


def test_version_follows_time_and_size(file: Path) -> None:
    versions = {OpenFile(file).version}
    file.write_bytes(CONTENT * 2)
    versions.add(OpenFile(file).version)
    os.utime(file, (1, 1))
    versions.add(OpenFile(file).version)
    assert len(versions) == 3
    assert OpenFile(file).version in versions


@pytest.mark.parametrize("kind", ["nothing", "folder", "below a file", "socket", "NUL", "pipe"])
def test_what_is_no_regular_file_is_not_found(file: Path, kind: str) -> None:
    path = file.parent / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "below a file":
        path = file / "x"
    elif kind == "NUL":
        path = file.parent / "a\0b"
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(NotFound):
        OpenFile(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read all")
def test_file_that_must_not_be_read_is_a_fault(file: Path) -> None:
    file.chmod(0)
    with pytest.raises(PermissionError):
        OpenFile(file)


@needs_proc
def test_file_of_the_kernel_has_its_content() -> None:
    opened = OpenFile(VERSION)
    whole = VERSION.read_bytes()
    assert (opened.content, opened.size) == (whole, len(whole))
    assert opened.read(1, 3) == whole[1:4]
    assert opened.version == OpenFile(VERSION).version


@needs_proc
def test_file_of_the_kernel_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_file, "_MAX_UNSIZED", 10)
    with pytest.raises(OSError, match="expected at most 10 bytes in a file of size 0, got more"):
        OpenFile(VERSION)


def test_link_is_refused_where_none_may_be(file: Path) -> None:
    (file.parent / "link").symlink_to(file)
    with pytest.raises(NotFound):
        OpenFile(file.parent / "link", follow=False)


def test_closing_twice_closes_nothing_else(file: Path) -> None:
    opened = OpenFile(file)
    number = opened.fileno()
    opened.close()
    other = os.open(file, os.O_RDONLY)
    try:
        assert other == number
        opened.close()
        assert os.read(other, 6) == b"static"
    finally:
        os.close(other)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system does not say")
def test_file_that_is_not_in_memory_is_brought_there(tmp_path: Path) -> None:
    path = tmp_path / "cold"
    path.write_bytes(bytes(2 * MIB))
    opened = OpenFile(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    if opened.is_warm(0, 2 * MIB):
        pytest.skip("this file system keeps all in memory, or does not say")
    opened.warm(0, 2 * MIB)
    assert opened.is_warm(0, 2 * MIB)
    opened.close()
