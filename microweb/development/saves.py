"""Notice saved files: once for each burst of saves, and not while a file is half written.

An editor may write several times, and "save all" writes many files. So a change counts once a
further scan finds no other one. A file that has become empty gets more time, because an editor
often empties a file and then writes it.
"""

from __future__ import annotations

from .link import Report
from .waking import Waker
from .watching import Stamp, Watched, changes

_SETTLE_S = 0.04
_EMPTY_SETTLE_S = 0.4
_MAX_SETTLE_S = 1.0  # from the first change, while files go on changing
_WITH_NOTICES_S = 2.0  # between scans: not all file systems give notices


class Saves:
    """Scans `watched` at `look_at`, or when `waker` says so."""

    def __init__(self, watched: Watched) -> None:
        self.waker = Waker()
        self.look_at = 0.0
        self._watched = watched
        self._seen: dict[str, Stamp] = watched.scan()
        self._changed: set[str] = set()
        self._settled_at = 0.0  # if no further change is found until then
        self._ends_at = 0.0  # of a burst
        self._scanned()

    def add(self, report: Report) -> None:
        """Watch the files that the app has imported."""
        self._watched.add(report.files, report.templates)
        for path, stamp in self._watched.scan().items():
            self._seen.setdefault(path, stamp)
        self._scanned()

    def look(self, now: float) -> list[str]:
        """Return the files that a burst has changed, once it has ended; else an empty list."""
        if not self.waker.is_due() and now < self.look_at:
            return []
        before, self._seen = self._seen, self._watched.scan()
        self._scanned()
        if found := changes(before, self._seen):
            if not self._changed:
                self._ends_at = now + _MAX_SETTLE_S
            self._changed.update(found)
            is_empty = any(self._is_emptied(path, before) for path in found)
            self._settled_at = now + (_EMPTY_SETTLE_S if is_empty else _SETTLE_S)
        if self._changed and now >= min(self._settled_at, self._ends_at):
            changed, self._changed = sorted(self._changed), set()
            self.look_at = now
            return changed
        self.look_at = now + (_SETTLE_S if self._changed else self._interval_s())
        return []

    def close(self) -> None:
        """Give no more notices."""
        self.waker.close()

    def _scanned(self) -> None:
        self.waker.watch(self._watched.folders)

    def _interval_s(self) -> float:
        least = _WITH_NOTICES_S if self.waker.is_awake else 0.0
        return max(self._watched.interval_s, least)

    def _is_emptied(self, path: str, before: dict[str, Stamp]) -> bool:
        _, size_before, _ = before.get(path, (0, 0, 0))
        _, size, _ = self._seen.get(path, (0, 0, 0))
        return size == 0 and size_before > 0
