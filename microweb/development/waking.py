"""Wake when the operating system reports that a file in some folders may have changed.

It only says when to scan: the scan says whether a file has changed, and which one. So a notice too
many costs one scan, and one that is missing is made up for by the next scan.

Extra: `watchfiles`. Without it there are no notices.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from contextlib import suppress
from threading import Event, Thread

try:
    import watchfiles
except ImportError:
    watchfiles = None  # type: ignore[assignment]

_STEP_MS = 20  # without a further notice, until it is passed on
_DEBOUNCE_MS = 100
_TIMEOUT_MS = 60_000


class Waker:
    """A descriptor that is readable once a file in the watched folders may have changed."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._folders: set[str] = set()
        self._stop = Event()
        self._has_failed = False

    @property
    def is_awake(self) -> bool:
        """Whether there are notices, so that scans may be rare."""
        return watchfiles is not None and not self._has_failed

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._reading.fileno()

    def watch(self, folders: Collection[str]) -> None:
        """Give notices of these folders, without those below them, in place of the last ones."""
        if watchfiles is None or set(folders) == self._folders:
            return
        self._stop.set()
        self._folders, self._stop = set(folders), Event()
        arguments = (sorted(self._folders), self._stop)
        Thread(target=self._run, args=arguments, name="microweb-files", daemon=True).start()

    def is_due(self) -> bool:
        """Return whether there was a notice since the last call."""
        try:
            return bool(self._reading.recv(4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Give no more notices."""
        self._stop.set()
        self._reading.close()
        self._writing.close()

    def _run(self, folders: list[str], stop: Event) -> None:
        try:
            for _ in watchfiles.watch(
                *folders,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                stop_event=stop,
                rust_timeout=_TIMEOUT_MS,
                raise_interrupt=False,
                recursive=False,
                ignore_permission_denied=True,
            ):
                self._notify()
        except (OSError, RuntimeError, ValueError):  # too many folders, or a name without UTF-8
            self._has_failed = not stop.is_set()
        self._notify()

    def _notify(self) -> None:
        with suppress(OSError):  # it is full, or closed
            self._writing.send(b"!")
