"""The end of a service: `drain_delay_s`, then the drain within `grace_s`, then kills."""

from __future__ import annotations

from .config import ServerConfig
from .exits import FAILED, STOPPED
from .pool import WorkerPool
from .systemd import Notifier
from .worker import KILL_MARGIN_S


class Shutdown:
    """The stop of a service. `status` is its exit status, None as long as a worker is left."""

    def __init__(self, config: ServerConfig, pool: WorkerPool, notifier: Notifier) -> None:
        self.status: int | None = None
        self.is_stopping = False  # the workers accept no more
        self.is_signalled = False  # the next signal ends the service immediately
        self.drains_until = float("inf")  # the workers still accept, but are not ready
        self._config = config
        self._pool = pool
        self._notifier = notifier
        self._stops_at = 0.0
        self._final = STOPPED

    @property
    def is_begun(self) -> bool:
        """Whether the service stops, or is about to."""
        return self.is_stopping or self.drains_until < float("inf")

    def take_signal(self, now: float) -> None:
        """Stop by the first signal. A stop that has begun otherwise keeps its deadlines."""
        self.is_signalled = True
        if not self.is_begun:
            self.drain(now)

    def drain(self, now: float) -> None:
        """Stop after `drain_delay_s`, and immediately if the service is not yet ready."""
        if not self._config.drain_delay_s or not self._pool.has_started:
            self.stop(STOPPED, now)
            return
        self._notifier.stopping()
        self.drains_until = now + self._config.drain_delay_s
        for worker in self._pool.workers():
            worker.drain()

    def stop(self, status: int, now: float) -> None:
        """Stop accepting, and end with `status` once the workers have ended."""
        if not self.is_begun:
            self._notifier.stopping()
        self.is_stopping = True
        self._final = status
        self._stops_at = now + self._config.grace_s + KILL_MARGIN_S
        self._pool.stop()

    def note_failure(self) -> None:
        """Remember that a worker failed while it stopped, for the exit status."""
        if self.is_stopping:
            self._final = self._final or FAILED

    def go_on(self, now: float) -> None:
        """Set `status` if no worker is left; kill those that are late."""
        workers = self._pool.workers()
        if not workers:
            self.status = self._final
        elif now >= self._stops_at:
            for worker in workers:
                self._pool.kill_late(worker)
            self.status = self._final or FAILED
