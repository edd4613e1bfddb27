"""Series of metrics in memory that processes share: one writer, any number of readers, no lock.

The first word of a region is its end, in words. Behind it are entries, which are only ever added.
An entry is either a family (a metric with its name, kind and labels) or one series of a family
(values of these labels). The numbers of a series are aligned words of 8 bytes, so that a reader
never sees half of a new one.

The writer makes an entry complete before it moves the end. A writer that is killed between the two
leaves the region as it was. A CPU may make the two stores visible in the other order, so an entry
has a checksum, and a reader stops at one that is not yet complete.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

WORD = 8
CREATED = 0  # the first number of a series: when it was made, in seconds since 1970; 0 hides it

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

FAMILY, SERIES, OVERFLOW = 1, 2, 3  # kinds of entries

_ENTRY = struct.Struct("=6I")  # words, kind, word of the family, bytes of text, checksum, 0
_ENTRY_WORDS = _ENTRY.size // WORD
_SEPARATOR = b"\0"  # no text of a definition or a label contains it


class Definition(NamedTuple):
    """A metric: everything that its series have in common, without its help.

    `bounds` are the upper bounds of the buckets of a histogram. `combine` says what a gauge is over
    several processes.
    """

    name: str  # of a counter without `_total`
    kind: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    combine: str = "sum"

    def encode(self) -> bytes:
        """Return the bytes of a definition. They identify a metric in all processes."""
        return json.dumps(self).encode()

    @classmethod
    def decode(cls, data: bytes) -> Definition | None:
        """Return the definition that `encode` made bytes of, None for other bytes.

        A process that has damaged its memory must not end those that read it.
        """
        try:
            name, kind, labels, bounds, combine = json.loads(data)
            found = cls(name, kind, tuple(labels), tuple(bounds), combine)
        except (ValueError, TypeError, RecursionError):
            return None
        texts = (name, kind, combine, *found.labels)
        is_known = kind in (COUNTER, GAUGE, HISTOGRAM) and combine in ("sum", "max", "min")
        is_typed = all(isinstance(each, str) for each in texts) and all(
            isinstance(each, int | float) for each in found.bounds
        )
        return found if is_known and is_typed else None

    @property
    def size(self) -> int:
        """How many numbers a series has: `CREATED`, then its value, or its sum and its buckets."""
        return 2 if self.kind != HISTOGRAM else 2 + len(self.bounds) + 1


class Entry(NamedTuple):
    """One entry of a region: its numbers begin at the word `at`."""

    kind: int
    family: int  # the word at which the family's entry begins, 0 for a family
    start: int  # the word at which this entry begins
    text: bytes
    at: int
    values: list[float]


class SeriesMemory:
    """A region of memory with series. `words` are its numbers.

    It is made of a view of words (format "Q"), which it releases with its own views.
    """

    def __init__(self, memory: memoryview) -> None:
        self._ends = memory
        self._bytes = memory.cast("B")
        self.words = self._bytes.cast("d")

    @property
    def end(self) -> int:
        """The word at which the next entry begins, 0 before the first one."""
        return self._ends[0]

    def add(self, kind: int, family: int, text: bytes, values: Sequence[float]) -> Entry | None:
        """Add an entry; return it, or None if there is no room."""
        start = self.end or 1
        at = start + _ENTRY_WORDS + -(-len(text) // WORD)
        end = at + len(values)
        if end > len(self.words):
            return None
        _ENTRY.pack_into(
            self._bytes, start * WORD, end - start, kind, family, len(text), crc32(text), 0
        )
        begin = (start + _ENTRY_WORDS) * WORD
        self._bytes[begin : begin + len(text)] = text
        for word, value in enumerate(values, at):
            self.words[word] = value
        self._ends[0] = end
        return Entry(kind, family, start, text, at, list(values))

    def add_family(self, definition: bytes, help: str, now: float) -> Entry | None:
        """Add a family, defined at the time `now`; return its entry, or None without room."""
        return self.add(FAMILY, 0, definition + _SEPARATOR + help.encode(), [now])

    def copy(self) -> SeriesCopy:
        """Return a copy of all entries and numbers. The writer may write meanwhile."""
        end = self.end
        # The numbers one by one, as words: a copy of bytes may contain half of a word.
        return SeriesCopy(bytes(self._bytes[: end * WORD]), [*self.words[:end]])

    def take(self, other: SeriesMemory) -> None:
        """Become a copy of `other`. This region's readers see all of it, or the state before."""
        end = other.end
        self._ends[0] = 0
        self._bytes[WORD : end * WORD] = other._bytes[WORD : end * WORD]
        self._ends[0] = end

    def clear(self) -> None:
        """Remove all entries."""
        self._ends[0] = 0

    def release(self) -> None:
        """Let go of the memory."""
        self.words.release()
        self._bytes.release()
        self._ends.release()


class SeriesCopy(NamedTuple):
    """The bytes and the numbers of a region, as they were at one time."""

    data: bytes
    words: list[float]

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, a family before its series."""
        start, end = 1, len(self.words)
        while start + _ENTRY_WORDS <= end:
            size, kind, family, length, checksum, _ = _ENTRY.unpack_from(self.data, start * WORD)
            begin = (start + _ENTRY_WORDS) * WORD
            text = self.data[begin : begin + length]
            at = start + _ENTRY_WORDS + -(-length // WORD)
            if crc32(text) != checksum or not at <= start + size <= end:
                return  # its bytes are not visible yet: the next reader gets it
            yield Entry(kind, family, start, text, at, self.words[at : start + size])
            start += size


def split_family(text: bytes) -> tuple[bytes, str]:
    """Return the definition and the help of the text of a family."""
    definition, _, help = text.partition(_SEPARATOR)
    return definition, help.decode("utf-8", "replace")


def encode_labels(values: Sequence[str]) -> bytes:
    """Return the text of a series with these values of its labels, which contain no NUL."""
    return "\0".join(values).encode()


def decode_labels(text: bytes) -> list[str]:
    """Return the values of the labels of a series that has some."""
    return text.decode("utf-8", "replace").split("\0")
