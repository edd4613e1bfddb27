"""A regular file that is open, and can be read at any offset. Its blocking calls are for a thread.

Other kinds of files are refused: opening or reading a named pipe or a device may wait forever. The
kernel reports size 0 for a file that it generates, such as /proc/cpuinfo. Such a file is read to
its end when it is opened, up to a limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from errno import EFBIG, ELOOP, ENAMETOOLONG, ENODEV, ENXIO

from ..errors import NotFound

PIECE_BYTES = 256 * 1024  # if the kernel can't send it: 1.7 times as fast as pieces of 64 KiB

_MAX_UNSIZED = 16 * 1024 * 1024  # bytes in memory of a file that reports size 0

_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # without it, opening a named pipe waits for a writer
)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_FILE = frozenset((ELOOP, ENAMETOOLONG, ENXIO, ENODEV))  # ENXIO: a socket, ENODEV: no driver
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError)


class OpenFile:
    """A regular file that is open. It is closed when its last reference is dropped, or before.

    `follow=False` refuses a symbolic link; `opener(path, flags)` replaces `os.open`. `content` is
    the content of a file that reports size 0, None for any other file. Raises: NotFound if the path
    is not a regular file; OSError for another reason (permissions, too many open files).
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
            # On Windows, opening a directory is a PermissionError.
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
        """A string that changes when the content changes."""
        if self.content is not None:  # the times of a generated file do not change
            from hashlib import sha256

            return sha256(self.content).hexdigest()[:32]
        return f"{self.modified_ns:x}-{self.size:x}"

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def _read_to_end(self) -> bytes:
        """Return the whole content of a file that reports size 0, such as /proc/cpuinfo."""
        content = b""
        while piece := self.read(len(content), PIECE_BYTES):
            content += piece
            if len(content) > _MAX_UNSIZED:
                raise OSError(
                    EFBIG,
                    f"expected at most {_MAX_UNSIZED} bytes in a file of size 0, got more",
                )
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
        """Return whether `count` bytes from `offset` on seem to be in the page cache.

        Only the first and the last byte are checked. True if the system can't tell.
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
        """Read `count` bytes from `offset` on into the page cache. Blocks."""
        if not self.is_warm(offset, count):
            for place in range(offset, offset + count, PIECE_BYTES):
                self.read(place, PIECE_BYTES)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()
