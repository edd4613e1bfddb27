"""The supervisor: it binds the sockets, executes the workers, watches and replaces them.

It starts no thread and no event loop, and under `microweb run` it imports no application, so that
nothing of the application can stop it. It waits in `select` for its signals, for its workers, and
for the next second. All that it knows of a worker comes from the board and from one socket pair.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time

from ..errors import ConfigurationError
from .board import Board
from .config import ServerConfig
from .console import say
from .cpus import available_cpus
from .signals import signals_read
from .sockets import bind, url_of
from .spawned import Spawned, WorkerEnd
from .start import worker_command
from .worker import RETIRE, STOP

_TICK_S = 1.0
_LATE_S = 2.0  # a wake-up that comes so late was held up by a suspend or by SIGSTOP
_KILL_MARGIN_S = 3.0  # beyond `grace_s`, in which a worker leaves its lifespan
_STACKS_S = 1.0  # for a worker whose event loop stands still to write its stacks
_BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # before a crashed worker is replaced
_ALONE_BACK_OFF_S = 1.0  # at most, if no other worker is ready
_LONG_LIFE_S = 60.0  # after which a crash counts as the first one
_HOPELESS_S = 60.0  # all workers crash for so long: give up

STOPPED, KILLED, NOT_STARTED, HOPELESS = 0, 1, 3, 4  # exit statuses


class _Place:
    """One of the workers that are wanted: the process that has it, and how often it has crashed."""

    def __init__(self) -> None:
        self.worker: Spawned | None = None
        self.next: Spawned | None = None  # that takes over once it is ready
        self.crashes = 0
        self.starts_at = 0.0  # when a crashed worker is replaced


class Supervisor:
    """Keeps `config.workers` processes of `command` running on `sockets`, until a signal."""

    def __init__(
        self, config: ServerConfig, command: list[str], sockets: list[socket.socket], count: int
    ) -> None:
        self._config = config
        self._command = command
        self._sockets = sockets
        self._places = [_Place() for _ in range(count)]
        self._draining: list[Spawned] = []  # the oldest first
        self._board = Board.create(4 * count + 16)
        self._reloading: list[_Place] = []  # whose workers are to be replaced
        self._is_reload_wanted = False
        self._had_ready = False
        self._is_stopping = False
        self._stops_at = 0.0
        self._status: int | None = None
        self._final = STOPPED
        self._excused_at = 0.0  # stalls count from here on
        self._hopeless_since: float | None = None

    def run(self) -> int:
        """Serve until a signal; return the exit status."""
        with signals_read() as signals:
            try:
                for place in self._places:
                    self._start(place)
                while self._status is None:
                    self._wait(signals)
                    self._step()
            finally:
                self._end_all()
        return self._status

    # --- one turn

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, a message of a worker, or the next second."""
        before = time.monotonic()
        channels = [worker.channel for worker in self._workers() if worker.channel is not None]
        ready, _, _ = select.select([signals, *channels], (), (), self._timeout(before))
        now = time.monotonic()
        if now - before > _TICK_S + _LATE_S:
            self._excused_at = now
        if signals in ready:
            for number in signals.recv(4096):
                self._on_signal(number)
        for worker in self._workers():
            if worker.channel in ready:
                worker.receive()

    def _timeout(self, now: float) -> float:
        times = [place.starts_at - now for place in self._places if place.worker is None]
        return max(min([_TICK_S, *times]), 0.01)

    def _step(self) -> None:
        now = time.monotonic()
        for worker in self._workers():
            end = worker.poll()
            if end is not None:
                self._on_end(worker, end, now)
        self._reap_orphans()
        if self._is_stopping:
            self._go_on_stopping(now)
            return
        for place in self._places:
            self._look_after(place, now)
        self._go_on_reloading(now)
        self._check_hope(now)

    # --- workers

    def _workers(self) -> list[Spawned]:
        pairs = [(place.worker, place.next) for place in self._places]
        return [each for pair in pairs for each in pair if each is not None] + self._draining

    def _start(self, place: _Place, *, as_next: bool = False) -> None:
        taken = {worker.slot.number for worker in self._workers()}
        slot = next(slot for slot in self._board.slots if slot.number not in taken)
        worker = Spawned(self._command, self._sockets, self._board, slot)
        if as_next:
            place.next = worker
        else:
            place.worker = worker

    def _on_end(self, worker: Spawned, end: WorkerEnd, now: float) -> None:
        worker.close()
        if worker in self._draining:
            self._draining.remove(worker)
            return
        place = next(each for each in self._places if worker in (each.worker, each.next))
        if worker is place.next:
            place.next = None
            if self._is_stopping:
                return
            self._reloading.clear()
            _tell("reload: the new worker %s before it was ready: the old ones go on", end)
            return
        place.worker = None
        if self._is_stopping:
            return
        if not worker.was_ready and not self._had_ready:
            say(f"worker {worker.pid} {end} before it was ready", sys.stderr)
            self._stop(NOT_STARTED, now)
            return
        place.crashes = 0 if now - worker.started_at > _LONG_LIFE_S else place.crashes
        wait_s = _BACK_OFF_S[min(place.crashes, len(_BACK_OFF_S) - 1)]
        if not any(each.worker and each.worker.was_ready for each in self._places):
            wait_s = min(wait_s, _ALONE_BACK_OFF_S)
        place.crashes += 1
        place.starts_at = now + wait_s
        _tell("worker %d %s: it is replaced in %g s", worker.pid, end, wait_s)

    def _look_after(self, place: _Place, now: float) -> None:
        worker = place.worker
        if worker is None:
            if now >= place.starts_at:
                self._start(place)
            return
        if worker.is_ready and not worker.was_ready:
            worker.was_ready = True
            self._on_ready(worker)
        self._check_stall(worker, now)
        if self._has_passed_its_bounds(worker) and place not in self._reloading:
            self._reloading.append(place)

    def _on_ready(self, worker: Spawned) -> None:
        if self._had_ready:
            _tell("worker %d is ready", worker.pid)
        elif all(place.worker is not None and place.worker.is_ready for place in self._places):
            self._had_ready = True
            urls = " and ".join(url_of(bound) for bound in self._sockets)
            pids = ", ".join(str(each.pid) for each in self._workers())
            say(f"listening on {urls} with workers {pids} (Ctrl-C stops it)", sys.stdout)

    def _check_stall(self, worker: Spawned, now: float) -> None:
        limit_s = self._config.worker_stall_s if worker.was_ready else self._config.worker_start_s
        if not limit_s:
            return
        since = worker.heartbeat() if worker.was_ready else worker.started_at
        silent_s = now - max(since, self._excused_at)
        if worker.killed_at and now >= worker.killed_at:
            worker.kill()
        elif silent_s > limit_s + _TICK_S and not worker.killed_at:
            kind = "its event loop stands still" if worker.was_ready else "it is not ready"
            _tell("worker %d: %s for %.0f s, it is replaced", worker.pid, kind, silent_s)
            worker.write_stacks()
            worker.killed_at = now + _STACKS_S

    def _has_passed_its_bounds(self, worker: Spawned) -> bool:
        config, slot = self._config, worker.slot
        max_requests = worker.with_jitter(config.max_requests)
        is_over = 0 < max_requests <= slot.requests or 0 < config.max_rss <= slot.rss
        return worker.was_ready and is_over

    # --- reload

    def _go_on_reloading(self, now: float) -> None:
        if not self._reloading:
            if not self._is_reload_wanted or not self._had_ready:
                return
            self._is_reload_wanted = False
            self._reloading = list(self._places)
            _tell("reload: replacing %d workers", len(self._places))
        place = self._reloading[0]
        if place.next is None:
            if self._may_start_next(now):
                self._start(place, as_next=True)
            return
        self._check_start(place.next, now)
        if place.next.is_ready:
            self._take_over(place)

    def _may_start_next(self, now: float) -> bool:
        """Whether fewer old workers drain than there are places; the oldest is killed in time."""
        if len(self._draining) < len(self._places):
            return True
        oldest = self._draining[0]
        if now >= oldest.ends_at:
            _tell("worker %d did not end within grace_s: it is killed", oldest.pid)
            oldest.kill()
        return False

    def _check_start(self, worker: Spawned, now: float) -> None:
        limit_s = self._config.worker_start_s
        if limit_s and now - max(worker.started_at, self._excused_at) > limit_s:
            _tell("worker %d is not ready after %g s: it is killed", worker.pid, limit_s)
            worker.kill()

    def _take_over(self, place: _Place) -> None:
        old, place.worker, place.next = place.worker, place.next, None
        assert place.worker is not None
        place.worker.was_ready, place.crashes = True, 0
        if old is not None:
            old.send(RETIRE)
            old.ends_at = time.monotonic() + self._config.grace_s + _KILL_MARGIN_S
            self._draining.append(old)
            _tell("worker %d is replaced by %d", old.pid, place.worker.pid)
        self._reloading.remove(place)
        if not self._reloading:
            pids = ", ".join(str(each.worker.pid) for each in self._places if each.worker)
            _tell("reload complete: workers %s", pids)

    # --- signals

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._is_stopping:
                self._end_all()
                os._exit(128 + number)
            if number == signal.SIGINT:
                say("stopping (Ctrl-C again leaves at once)", sys.stdout)
            self._stop(STOPPED, time.monotonic())
        elif number == signal.SIGHUP:
            self._is_reload_wanted = True
        elif number == signal.SIGQUIT:
            for worker in self._workers():
                worker.write_stacks()
        elif number == signal.SIGTTIN:
            self._add_place()
        elif number == signal.SIGTTOU:
            self._remove_place()

    def _add_place(self) -> None:
        if 2 * len(self._places) + 2 > len(self._board.slots) - len(self._draining):
            _tell("SIGTTIN: there is no room for more than %d workers", len(self._places))
            return
        self._places.append(_Place())
        _tell("SIGTTIN: %d workers", len(self._places))

    def _remove_place(self) -> None:
        if len(self._places) == 1:
            _tell("SIGTTOU: one worker stays, SIGTERM stops it")
            return
        place = self._places.pop()
        if place in self._reloading:
            self._reloading.remove(place)
        for worker in (place.worker, place.next):
            if worker is not None:
                worker.send(RETIRE)
                worker.ends_at = time.monotonic() + self._config.grace_s + _KILL_MARGIN_S
                self._draining.append(worker)
        _tell("SIGTTOU: %d workers", len(self._places))

    # --- the end

    def _stop(self, status: int, now: float) -> None:
        """Begin to stop: the workers take the connections that wait, and close the sockets."""
        self._is_stopping = True
        self._final = status
        self._stops_at = now + self._config.grace_s + _KILL_MARGIN_S
        for bound in self._sockets:
            bound.close()
        for worker in self._workers():
            worker.send(STOP)

    def _go_on_stopping(self, now: float) -> None:
        workers = self._workers()
        if not workers:
            self._status = self._final
        elif now >= self._stops_at:
            for worker in workers:
                _tell("worker %d did not end within grace_s: it is killed", worker.pid)
                worker.kill()
            self._status = self._final or KILLED

    def _check_hope(self, now: float) -> None:
        """Give up if all workers have been crashing for a minute."""
        if any(place.worker is not None and place.worker.was_ready for place in self._places):
            self._hopeless_since = None
        elif self._had_ready:
            if self._hopeless_since is None:
                self._hopeless_since = now
            elif now - self._hopeless_since > _HOPELESS_S:
                say("all workers keep crashing: giving up", sys.stderr)
                self._stop(HOPELESS, now)

    def _end_all(self) -> None:
        for worker in self._workers():
            worker.kill()
            worker.close()
        self._draining.clear()
        for place in self._places:
            place.worker = place.next = None

    def _reap_orphans(self) -> None:
        """As process 1, reap the processes whose parents have ended."""
        if os.getpid() != 1:
            return
        ours = {worker.pid for worker in self._workers()}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in ours:
                return
            os.waitpid(found.si_pid, 0)


def worker_count(config: ServerConfig) -> int:
    """Return how many workers `config` asks for, with "auto" counted."""
    return available_cpus() if config.workers == "auto" else config.workers


def supervise(config: ServerConfig) -> int:
    """Serve by workers until a signal; return the exit status of this process.

    Raises: ConfigurationError if the address can't be had, or this program can't run again.
    """
    if os.name != "posix":
        raise ConfigurationError("workers: expected 1 on this system, which passes no sockets on")
    command = worker_command()
    sockets = bind(config.host, config.port)
    return Supervisor(config, command, sockets, worker_count(config)).run()


def _tell(text: str, *values: object) -> None:
    say(text % values, sys.stderr)
