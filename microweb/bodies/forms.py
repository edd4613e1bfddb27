"""Uploaded files, and the form that holds them.

Strategy: all files of one form are stored one after the other in one spool. The spool is in memory
up to 1 MiB, and past that in a single temporary file. The file has no name from its first byte on
(Windows deletes it with its last handle), so no request leaves a file on the disk. A form holds at
most one file descriptor and 1 MiB of memory for its files. No file is accessed on the event loop.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from ..concurrency.descriptors import take_descriptor
from ..concurrency.threads import run_short_work
from ..errors import MissingValue
from ..http.filenames import safe_filename
from ..http.headers import Headers
from ..http.multidict import MultiDict

_LABEL = "an uploaded file"
_IN_MEMORY = 1 << 20
_PIECE = 256 * 1024  # each piece is a call in a thread; 64 KiB takes twice the time


class _SpoolFile:
    """A temporary file without a name. It is closed when its last reference is dropped.

    It keeps a descriptor, because a file object warns that it is unclosed if the garbage collector
    finalizes it before its owner.
    """

    __slots__ = ("_descriptor", "_lock")

    def __init__(self) -> None:
        self._descriptor = -1
        self._lock = threading.Lock()  # the descriptor has one position
        import tempfile  # with `shutil` and `random` it takes a tenth of the time of the import

        file = tempfile.TemporaryFile(prefix="microweb-", buffering=0)  # noqa: SIM115
        self._descriptor = take_descriptor(cast(BinaryIO, file))

    def append(self, data: bytes | bytearray) -> None:
        """Write `data` at the end. Raises: OSError if the disk is full."""
        rest = memoryview(data)
        with self._lock:
            os.lseek(self._opened(), 0, os.SEEK_END)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, or fewer at the end of the file."""
        pieces = []
        with self._lock:
            os.lseek(self._opened(), start, os.SEEK_SET)
            while size > 0 and (piece := os.read(self._descriptor, size)):
                pieces.append(piece)
                size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _opened(self) -> int:
        if self._descriptor < 0:
            raise ValueError(
                "expected an open upload, but the files of its form are closed: read it before "
                "close() is called"
            )
        return self._descriptor

    def close(self) -> None:
        """Close the file after other threads have finished. Later calls raise ValueError."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class Spool:
    """A buffer that is written once, in order, and then read at any offset."""

    __slots__ = ("_file", "_memory", "size")

    def __init__(self) -> None:
        self.size = 0
        self._memory = bytearray()  # the bytes that are not in `_file`
        self._file: _SpoolFile | None = None

    @property
    def in_memory(self) -> int:
        """How many bytes are in memory, not on the disk."""
        return len(self._memory)

    async def write(self, piece: bytes) -> None:
        """Append `piece`. Raises: OSError if the disk is full."""
        self._memory += piece
        self.size += len(piece)
        if len(self._memory) > _IN_MEMORY:
            await self._flush()

    async def finish(self) -> None:
        """Make all written bytes readable. Raises: OSError if the disk is full."""
        if self._file is not None and self._memory:
            await self._flush()

    async def _flush(self) -> None:
        data, self._memory = self._memory, bytearray()
        await run_short_work(_LABEL, partial(self._append, data))

    def _append(self, data: bytearray) -> None:
        if self._file is None:
            self._file = _SpoolFile()
        self._file.append(data)

    async def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on."""
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + size])
        return await run_short_work(_LABEL, partial(self._read, start, size))

    def _read(self, start: int, size: int) -> bytes:
        if self._file is None:
            return bytes(memoryview(self._memory)[start : start + size])
        return self._file.read(start, size)

    def copy(self, start: int, size: int, target: BinaryIO) -> None:
        """Write `size` bytes from `start` on to `target`. Blocks."""
        end = start + size
        for at in range(start, end, _PIECE):
            target.write(self._read(at, min(_PIECE, end - at)))

    def close(self) -> None:
        """Free the memory and the disk space now. The bytes can't be read after this."""
        self._memory = bytearray()
        if self._file is not None:
            self._file.close()


class UploadFile:
    """A file of a form: `form.files["avatar"]`.

    `filename` is one safe path component, so `save(f"uploads/{upload.filename}")` stays in its
    folder. `raw_filename` is the client's text: show it only escaped, and never use it as a path.
    `content_type` (by default `application/octet-stream`) and `headers` are also the client's
    claims, from the part. `size` is in bytes. The file can be read many times, until the last
    reference is dropped; then its memory and disk space are freed.
    """

    __slots__ = ("_spool", "_start", "content_type", "filename", "headers", "raw_filename", "size")

    def __init__(
        self, raw_filename: str, headers: Headers, spool: Spool, start: int, size: int
    ) -> None:
        self.filename = safe_filename(raw_filename)
        self.raw_filename = raw_filename
        self.headers = headers
        self.content_type = headers.get("content-type", "application/octet-stream")
        self.size = size
        self._spool = spool
        self._start = start

    async def read(self) -> bytes:
        """Return the whole content."""
        return await self._spool.read(self._start, self.size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces of 256 KiB."""
        end = self._start + self.size
        for at in range(self._start, end, _PIECE):
            yield await self._spool.read(at, min(_PIECE, end - at))

    async def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the content to a new file at `path`, and return the path.

        `overwrite` replaces an existing file in one step: readers see the old content or the new.
        A symbolic link at `path` itself is not followed. The folder must exist. If writing fails,
        no partial file stays.

        Raises: FileExistsError if `path` exists and `overwrite` is not set; other OSErrors.
        """
        target = Path(path)
        await run_short_work(_LABEL, partial(self._save, target, overwrite))
        return target

    def _save(self, target: Path, overwrite: bool) -> None:
        written = target.with_name(f".{os.urandom(8).hex()}.part") if overwrite else target
        with open(written, "xb") as file:
            try:
                self._spool.copy(self._start, self.size, file)
                file.close()  # inside `try`, because closing may fail to write the last bytes
                if overwrite:
                    os.replace(written, target)
            except BaseException:
                written.unlink()
                raise

    def close(self) -> None:
        """Close all files of the form, because they share one spool."""
        self._spool.close()

    def __repr__(self) -> str:
        return f"<UploadFile {self.filename!r}, {self.size} bytes>"


class Files(Mapping[str, UploadFile]):
    """The files of a form by field name.

    The mapping has each name once, with its first file. `get_all(name)` returns all files of a
    name, and `pairs()` all files of the form.
    """

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, UploadFile]] = ()) -> None:
        self._pairs = tuple(pairs)
        self._first: dict[str, UploadFile] = {}
        for name, file in self._pairs:
            self._first.setdefault(name, file)

    def __getitem__(self, name: str) -> UploadFile:
        """Return the first file of `name`. Raises: MissingValue, a 400 that names the field."""
        file = self._first.get(name)
        if file is None:
            raise MissingValue(f"expected a file for {name[:80]!r}, got none")
        return file

    def get_all(self, name: str) -> list[UploadFile]:
        """Return all files of `name` in the order of the form."""
        return [file for other, file in self._pairs if other == name]

    def pairs(self) -> list[tuple[str, UploadFile]]:
        """Return every (name, file) in the order of the form, also for repeated names."""
        return list(self._pairs)

    def close(self) -> None:
        """Free the memory and the disk space of the files now. They can't be read after this."""
        for _, file in self._pairs:
            file.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def __repr__(self) -> str:
        return f"Files({list(self._pairs)!r})"


class Form(MultiDict):
    """The fields of a form, and its `files`. A url-encoded form has no files."""

    __slots__ = ("files",)

    def __init__(
        self,
        fields: Iterable[tuple[str, str]] = (),
        files: Iterable[tuple[str, UploadFile]] = (),
    ) -> None:
        super().__init__(fields)
        self.files = Files(files)
