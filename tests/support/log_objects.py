"""The log of a service as JSON: the objects on a stream, as they arrive."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import IO, Any

from .processes import DEADLINE_S


class LogObjects:
    """The objects that arrive on a stream, one a line, read by a thread.

    `killed` is how many writers the test has killed: one behind a long line leaves an empty line.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.found: list[dict[str, Any]] = []
        self.killed = 0
        self._empty_lines = 0
        self._stream = stream
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            if line == b"\n":
                self._empty_lines += 1
                continue
            found = json.loads(line)
            with self._changed:
                self.found.append(found)
                self._changed.notify_all()

    def join(self) -> None:
        """Wait until the stream has ended, and check the number of empty lines."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert self._empty_lines <= self.killed

    def wait_for(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first object that is wanted, as soon as it is there."""

        def first() -> dict[str, Any] | None:
            return next(filter(is_wanted, self.found), None)

        with self._changed:
            self._changed.wait_for(lambda: first() is not None, DEADLINE_S)
            wanted = first()
        assert wanted is not None, self.found
        return wanted

    def of(self, logger: str) -> dict[str, Any]:
        return self.wait_for(lambda each: each["logger"] == logger)

    def message(self, part: str) -> dict[str, Any]:
        return self.wait_for(lambda each: part in each["message"])
