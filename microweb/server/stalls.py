"""Find workers whose event loop is blocked: they write their stacks, and are killed.

A worker stands still if its event loop has not reported for `worker_stall_s`, or if it is not ready
`worker_start_s` after its start.
"""

from __future__ import annotations

import sys
from logging import ERROR

from .config import ServerConfig
from .console import say
from .spawned import Spawned

TICK_S = 1.0  # in which an event loop that turns reports once
_LATE_S = 2.0  # a wake-up that comes so late was held up by a suspend or by SIGSTOP
_STACKS_S = 1.0  # for a worker whose event loop stands still to write its stacks


class StallWatch:
    """Kills workers that stand still, unless the whole machine or process group did so too."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._late_s = min(_LATE_S, config.worker_stall_s / 2 or _LATE_S)
        self.excused_at = 0.0  # stalls count from here on

    def wake(self, late_s: float, now: float) -> None:
        """Excuse all workers if the supervisor itself woke up `late_s` seconds too late."""
        if late_s > self._late_s:
            self.excused_at = now

    def deadline(self, worker: Spawned) -> float:
        """Return when to act on a worker, if it gives no sign of life before."""
        if worker.killed_at:
            return worker.killed_at
        limit_s = self._config.worker_stall_s if worker.is_ready else self._config.worker_start_s
        since = worker.heartbeat() if worker.is_ready else worker.started_at
        return max(since, self.excused_at) + limit_s + TICK_S if limit_s else float("inf")

    def check(self, worker: Spawned, now: float) -> None:
        """Act on a worker whose deadline is over: first its stacks, then its end."""
        if now < self.deadline(worker):
            return
        if worker.killed_at:
            worker.kill()
            return
        if worker.is_ready:
            text = f"its event loop stands still for {self._config.worker_stall_s:g} s"
        else:
            text = f"it is not ready after {self._config.worker_start_s:g} s"
        text = f"worker {worker.pid}: {text}: it writes its stacks and is killed"
        say(text, sys.stderr, ERROR)
        worker.log_stacks()
        worker.killed_at = now + _STACKS_S
