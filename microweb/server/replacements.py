"""Replace workers by new ones, one at a time: in a reload, or because one has passed a limit.

A new worker starts beside the old one. Once it is ready, the old one retires: it accepts no more,
and serves the requests that it has. If the new one does not become ready, the old one goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from logging import ERROR, INFO

from .console import say
from .places import Place
from .pool import WorkerPool

OnOutcome = Callable[[bool, str], None]  # whether a reload is complete, and a text about it


class Replacements:
    """The places of a pool whose workers are to be replaced."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._waiting: list[Place] = []  # the first one is being replaced
        self._is_reload_wanted = False
        self._wanted_by: list[OnOutcome] = []  # for the next reload
        self._asked_by: list[OnOutcome] = []  # for the one under way
        self.is_reloading = False  # `_waiting` came from all places

    def request_reload(self, on_outcome: OnOutcome | None = None) -> None:
        """Replace all workers; during a reload once more, when it ends.

        `on_outcome` is called when that reload is complete or has failed, unless the service stops.
        """
        self._is_reload_wanted = True
        if on_outcome is not None:
            self._wanted_by.append(on_outcome)

    def request(self, place: Place, reason: str, cause: str) -> None:
        """Replace the worker of one place, for a `reason` that the log says; `cause` is counted."""
        if place.worker is not None and place not in self._waiting:
            say(f"worker {place.worker.pid} is to be replaced: {reason}", sys.stderr)
            self._waiting.append(place)
            place.cause = cause

    def go_on(self, now: float) -> None:
        """Take the next step that is possible."""
        if self._is_reload_wanted and self._may_reload():
            self._is_reload_wanted, self.is_reloading = False, True
            self._asked_by, self._wanted_by = self._wanted_by, []
            self._waiting = list(self._pool.places)
            say(f"reload: replacing {len(self._waiting)} workers", sys.stderr)
        if not self._waiting:
            return
        place = self._waiting[0]
        if place.next is None:
            # At most as many old workers drain as there are places. The others wait.
            if len(self._pool.draining) < len(self._pool.places):
                self._start(place, now)
        elif place.next.is_ready:
            self._take_over(place)

    def fail(self, place: Place, text: str, now: float) -> None:
        """Give up, because the new worker of `place` did not start: the old ones go on."""
        if self.is_reloading:
            self._end_reload(f"reload failed: {text}: the old ones go on", is_complete=False)
        else:
            wait_s = place.crash(now, 0.0, is_alone=False)
            say(
                f"{text}: the old one goes on, the next attempt is in {wait_s:g} s",
                sys.stderr,
                ERROR,
            )
        self._waiting.clear()

    def end(self, place: Place) -> None:
        """Forget a place: its worker is replaced, or the place is gone."""
        if place in self._waiting:
            self._waiting.remove(place)
        if self.is_reloading and not self._waiting:
            pids = ", ".join(str(each.worker.pid) for each in self._pool.places if each.worker)
            self._end_reload(f"reload complete: workers {pids}", is_complete=True)

    def _end_reload(self, text: str, *, is_complete: bool) -> None:
        self.is_reloading = False
        say(text, sys.stderr, INFO if is_complete else ERROR)
        asked_by, self._asked_by = self._asked_by, []
        for on_outcome in asked_by:
            on_outcome(is_complete, text)

    def _may_reload(self) -> bool:
        is_begun = any(place.next is not None for place in self._pool.places)
        return self._pool.has_started and not self.is_reloading and not is_begun

    def _start(self, place: Place, now: float) -> None:
        try:
            self._pool.start(place, as_next=True)
        except OSError as error:
            self.fail(place, f"a worker can't be started: {error}", now)

    def _take_over(self, place: Place) -> None:
        old, place.worker, place.next = place.worker, place.next, None
        assert place.worker is not None
        place.worker.is_announced = True
        place.recover()
        if old is not None:
            self._pool.board.count_restart("reload" if self.is_reloading else place.cause)
            say(f"worker {old.pid} is replaced by {place.worker.pid}", sys.stderr)
            self._pool.retire(old)
        self.end(place)
