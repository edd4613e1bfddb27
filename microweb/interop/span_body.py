"""A body that is a part of an open file, which the kernel sends if it can."""

from __future__ import annotations

from ..bodies.file import FileBody
from ..bodies.open_file import OpenFile
from ..http.ranges import Span

_WARM_BYTES = 1024 * 1024  # of the start of a file, read before it is sent


class SpanBody(FileBody):
    """A body that is a part of an open file, with the fields that the application has set."""

    __slots__ = ()

    def __init__(self, file: OpenFile, span: Span) -> None:
        super().__init__("")
        file.warm(span.offset, min(span.length, _WARM_BYTES))
        self._file = file
        self._parts = [span]
        self._length_line = f"Content-Length: {span.length}\r\n"
