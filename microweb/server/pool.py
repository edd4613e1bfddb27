"""The workers of a service: the places that are wanted, and the old workers that still drain."""

from __future__ import annotations

import socket
import sys
import time
from logging import ERROR

from .board import Board
from .config import ServerConfig
from .console import say
from .lines import line_lock
from .places import Place
from .spawned import Spawned
from .worker import KILL_MARGIN_S, RETIRE, STOP


class WorkerPool:
    """All processes of a service but the supervisor, which have `sockets` and one board."""

    def __init__(
        self, config: ServerConfig, command: list[str], sockets: list[socket.socket], count: int
    ) -> None:
        self.places = [Place() for _ in range(count)]
        self.draining: list[Spawned] = []  # the oldest first
        self.sockets = sockets
        self.has_started = False  # all workers of the start were ready, once
        self._config = config
        self._command = command
        self.board = Board.create(4 * count + 16)
        line_lock.share(self.board.descriptor)

    def workers(self) -> list[Spawned]:
        """Return all workers: those of the places, those that take over, those that drain."""
        pairs = [(place.worker, place.next) for place in self.places]
        return [each for pair in pairs for each in pair if each is not None] + self.draining

    def start(self, place: Place, *, as_next: bool = False) -> Spawned:
        """Start a worker for `place`; `as_next` beside the one that it is to replace.

        Raises: OSError if there is no process or descriptor left, or the directory is gone.
        """
        taken = {worker.slot.number for worker in self.workers()}
        slot = next(slot for slot in self.board.slots if slot.number not in taken)
        # One worker warns, at the start and at each reload, not when it is replaced.
        warns = place is self.places[0] and (as_next or not self.has_started)
        is_asked = bool(self._config.control)
        worker = Spawned(
            self._command, self.sockets, self.board, slot, warns=warns, is_asked=is_asked
        )
        if as_next:
            place.next = worker
        else:
            place.worker = worker
        return worker

    def place_of(self, worker: Spawned) -> Place | None:
        """Return the place that a worker has or is to take over, None if it drains."""
        return next((each for each in self.places if worker in (each.worker, each.next)), None)

    def remove(self, worker: Spawned) -> None:
        """Forget a worker that has ended."""
        if worker in self.draining:
            self.draining.remove(worker)
        place = self.place_of(worker)
        if place is not None and worker is place.next:
            place.next = None
        elif place is not None:
            place.worker = None

    def has_serving(self) -> bool:
        """Return whether a worker of a place accepts connections."""
        return any(place.is_serving for place in self.places)

    def is_turning(self, now: float) -> bool:
        """Return whether the event loop of a serving worker turns."""
        return any(place.is_turning(now) for place in self.places)

    def retire(self, worker: Spawned) -> None:
        """Let a worker that was replaced end: it serves the requests that it has."""
        worker.send(RETIRE)
        worker.ends_at = time.monotonic() + self._config.grace_s + KILL_MARGIN_S
        self.draining.append(worker)

    def kill_late(self, worker: Spawned) -> None:
        """Kill a worker that did not end in time."""
        grace_s = self._config.grace_s
        text = f"worker {worker.pid} did not end within grace_s={grace_s:g}: it is killed"
        say(text, sys.stderr, ERROR)
        worker.ends_at = float("inf")  # one line is enough
        worker.kill()

    def add_place(self) -> None:
        """Want one worker more, if the board has room for it."""
        if 2 * len(self.places) + 2 > len(self.board.slots) - len(self.draining):
            say(f"SIGTTIN: there is no room for more than {len(self.places)} workers", sys.stderr)
            return
        self.places.append(Place())
        say(f"SIGTTIN: {len(self.places)} workers", sys.stderr)

    def remove_place(self) -> Place | None:
        """Want one worker less: return its place, None if it is the last one."""
        if len(self.places) == 1:
            say("SIGTTOU: one worker stays, SIGTERM stops it", sys.stderr)
            return None
        place = self.places.pop()
        for worker in (place.worker, place.next):
            if worker is not None:
                self.retire(worker)
        say(f"SIGTTOU: {len(self.places)} workers", sys.stderr)
        return place

    def stop(self) -> None:
        """Stop accepting: the workers take the connections that wait, and close the sockets."""
        for bound in self.sockets:
            bound.close()
        for worker in self.workers():
            worker.send(STOP)

    def close(self) -> None:
        """Kill all workers that are left, wait for their ends, and release the shared memory."""
        for worker in self.workers():
            worker.kill()
            worker.close()
        self.draining.clear()
        for place in self.places:
            place.worker = place.next = None
        line_lock.leave()
        self.board.close()
