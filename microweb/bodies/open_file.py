"""A regular file that is open, read at any offset: what it costs, a thread pays.

No other kind of file is opened: a named pipe would wait for its writer, a device might too. A file
that the kernel writes as it is read, such as /proc/cpuinfo, says that it has size 0: it is read to
its end, up to a limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from errno import EFBIG, ELOOP, ENAMETOOLONG, ENODEV, ENXIO
from hashlib import sha256

from ..errors import NotFound

PIECE_BYTES = 256 * 1024  # of what the kernel can't send: 1.7 times as fast as pieces of 64 KiB

_MAX_UNSIZED = 16 * 1024 * 1024  # of a file that says it has size 0: it is held in memory

_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a named pipe would wait for someone to write
)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_FILE = frozenset((ELOOP, ENAMETOOLONG, ENXIO, ENODEV))  # ENXIO: a socket, ENODEV: no driver
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError)


class OpenFile:
    """A regular file that is open; closed with its last reference at the latest.

    `follow=False` refuses a symbolic link; `opener(path, flags)` opens it in place of `os.open`.
    `content` is that of a file which says that its size is 0, None for any other. Raises: NotFound
    if no regular file is there; OSError for another reason (permissions, too many open files).
    """

    __slots__ = ("_descriptor", "content", "modified_ns", "size")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        follow: bool = True,
        opener: Callable[[str | os.PathLike[str], int], int] = os.open,
    ) -> None:
        self._descriptor = -1
        try:
            self._descriptor = opener(path, _OPEN_FLAGS | (0 if follow else _NO_FOLLOW))
            status = os.fstat(self._descriptor)
        except _NOT_THERE as error:
            raise NotFound from error
        except OSError as error:
            # Windows calls it a lack of permission to open a directory.
            if error.errno in _NO_FILE or os.path.isdir(path):
                raise NotFound from error
            raise
        if not stat.S_ISREG(status.st_mode):
            raise NotFound
        self.size = status.st_size
        self.modified_ns = status.st_mtime_ns
        self.content: bytes | None = None
        if self.size == 0 and (content := self._read_to_end()):
            self.content, self.size = content, len(content)

    @property
    def version(self) -> str:
        """A text that is another one once the content is."""
        if self.content is not None:  # its times say nothing
            return sha256(self.content).hexdigest()[:32]
        return f"{self.modified_ns:x}-{self.size:x}"

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def _read_to_end(self) -> bytes:
        """Return all of a file that the kernel writes as it is read, such as /proc/cpuinfo."""
        content = b""
        while piece := self.read(len(content), PIECE_BYTES):
            content += piece
            if len(content) > _MAX_UNSIZED:
                raise OSError(EFBIG, f"a file of size 0 has more than {_MAX_UNSIZED} bytes")
        return content

    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset` on, fewer at the file's end. Blocks."""
        if self.content is not None:
            return self.content[offset : offset + count]
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, count, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.read(self._descriptor, count)

    def is_warm(self, offset: int, count: int) -> bool:
        """Whether so many bytes from `offset` on seem to be in memory: no disk is waited for.

        Asked of the first and the last; true where the system does not say.
        """
        if not hasattr(os, "RWF_NOWAIT"):
            return True
        try:
            for place in (offset, offset + count - 1):
                os.preadv(self._descriptor, [bytearray(1)], place, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:  # this file system does not know the flag
            return True
        return True

    def warm(self, offset: int, count: int) -> None:
        """Have so many bytes from `offset` on in memory. Blocks."""
        if not self.is_warm(offset, count):
            for place in range(offset, offset + count, PIECE_BYTES):
                self.read(place, PIECE_BYTES)

    def close(self) -> None:
        """Close it; more than once does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()
