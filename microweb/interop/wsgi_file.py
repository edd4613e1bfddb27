"""`wsgi.file_wrapper`: a file as an answer, which the kernel sends if it can."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BufferedRandom, BufferedReader, FileIO
from tempfile import _TemporaryFileWrapper
from typing import Protocol

from ..bodies.open_file import OpenFile
from ..errors import NotFound

_READ_BYTES = 64 * 1024  # at least, from a file that is not sent by the kernel

# A subclass, or another class with a `fileno`, may decode the bytes that it reads, as GzipFile.
_PLAIN_FILES = (BufferedReader, BufferedRandom, FileIO)


class Readable(Protocol):
    """A file that `wsgi.file_wrapper` takes."""

    def read(self, size: int, /) -> bytes: ...


class FileWrapper:
    """An iterable of the pieces of a file. It has a `close` if the file has one."""

    def __init__(self, filelike: Readable, block_size: int = _READ_BYTES) -> None:
        self.filelike = filelike
        self.block_size = max(block_size, _READ_BYTES)
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.filelike.read(self.block_size):
            yield piece

    def opened(self) -> tuple[OpenFile, int] | None:
        """Return the file and the offset of its next byte; None if the kernel can't send it.

        The file is opened once more, so it can be sent after the application has closed its own.
        """
        file: object = self.filelike
        if isinstance(file, _TemporaryFileWrapper):
            file = file.file
        if not isinstance(file, _PLAIN_FILES) or type(file) not in _PLAIN_FILES:
            return None
        try:
            descriptor, offset = file.fileno(), file.tell()
            return OpenFile("", opener=lambda path, flags: os.dup(descriptor)), offset
        except (NotFound, OSError):  # a pipe or a device; no descriptor is free
            return None
