"""The slot of each worker, and the delay before a crashed worker is restarted."""

from __future__ import annotations

from .spawned import Spawned

BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before a crashed worker is replaced
ALONE_BACK_OFF_S = 1.0  # at most, if no other worker is ready
LONG_LIFE_S = 60.0  # after which a crash counts as the first one
FRESH_S = 3.0  # the event loop of a worker with a newer heartbeat turns
HOPELESS_S = 60.0  # all workers crash for so long: give up


class Place:
    """One of the workers that are wanted: the process that has it, and how often it crashed."""

    def __init__(self) -> None:
        self.worker: Spawned | None = None
        self.next: Spawned | None = None  # that takes over once it is ready
        self.cause = ""  # of the replacement that is asked for, in the metrics
        self.starts_at = 0.0  # no worker starts before, because the last one crashed
        self._crashes = 0

    @property
    def is_serving(self) -> bool:
        """Whether the worker of this place accepts connections."""
        return self.worker is not None and self.worker.is_ready

    def is_turning(self, now: float) -> bool:
        """Return whether the event loop of a serving worker turns."""
        worker = self.worker
        return worker is not None and worker.is_ready and now - worker.heartbeat() < FRESH_S

    def recover(self) -> None:
        """Forget the crashes, because a worker has taken over in a reload."""
        self._crashes, self.starts_at = 0, 0.0

    def crash(self, now: float, lived_s: float, *, is_alone: bool) -> float:
        """Count a crash after a life of `lived_s`; return the seconds until the next start."""
        if lived_s > LONG_LIFE_S:
            self._crashes = 0
        wait_s = BACK_OFF_S[min(self._crashes, len(BACK_OFF_S) - 1)]
        if is_alone:
            wait_s = min(wait_s, ALONE_BACK_OFF_S)
        self._crashes += 1
        self.starts_at = now + wait_s
        return wait_s
