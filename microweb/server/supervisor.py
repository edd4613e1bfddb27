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
from contextlib import suppress

from .binds import ListeningSockets
from .board import Board
from .config import ServerConfig
from .console import say
from .cpus import worker_count
from .places import HOPELESS_S, Place
from .signals import has_terminal, signals_read
from .sockets import url_of
from .spawned import Spawned, WorkerEnd, reap_orphans
from .start import worker_command
from .systemd import notifier
from .worker import KILL_MARGIN_S, RETIRE, STOP

_TICK_S = 1.0
_LATE_S = 2.0  # a wake-up that comes so late was held up by a suspend or by SIGSTOP
_STACKS_S = 1.0  # for a worker whose event loop stands still to write its stacks

STOPPED, KILLED, NOT_STARTED, HOPELESS = 0, 1, 3, 4  # exit statuses


class Supervisor:
    """Keeps `config.workers` processes of `command` running on `sockets`, until a signal."""

    def __init__(
        self, config: ServerConfig, command: list[str], sockets: list[socket.socket], count: int
    ) -> None:
        self._config = config
        self._notifier = notifier()
        self._command = command
        self._sockets = sockets
        self._places = [Place() for _ in range(count)]
        self._draining: list[Spawned] = []  # the oldest first
        self._board = Board.create(4 * count + 16)
        self._replacing: list[Place] = []  # whose workers are to be replaced, one at a time
        self._is_reloading = False  # these are all places
        self._is_reload_wanted = False
        self._had_ready = False  # all workers, once
        self._drains_until = float("inf")  # the workers still accept, but are not ready
        self._is_stopping = False
        self._stops_at = 0.0
        self._status: int | None = None
        self._final = STOPPED
        self._woke_at = time.monotonic()
        self._excused_at = 0.0  # stalls count from here on
        self._crashing_since: float | None = None  # no worker is ready
        # Under `nohup` the end of the terminal is not the end of the service.
        is_hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._ends_with_terminal = not is_hangup_ignored and has_terminal()

    def run(self) -> int:
        """Serve until a signal; return the exit status."""
        with signals_read() as signals:
            try:
                while True:
                    self._step(signals)
                    if self._status is not None:
                        return self._status
                    self._wait(signals)
            finally:
                self._end_all()

    # --- one turn

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, a message of a worker, or the next deadline."""
        poll = select.poll()  # unlike `select`, it takes descriptors from 1024 up
        poll.register(signals, select.POLLIN)
        for worker in self._workers():
            if worker.channel is not None:
                poll.register(worker.channel, select.POLLIN)
        timeout_s = self._timeout(time.monotonic())
        ready = {number for number, _ in poll.poll(timeout_s * 1000)}
        woke_at, self._woke_at = self._woke_at, time.monotonic()
        late_s = self._woke_at - woke_at - timeout_s
        if late_s > min(_LATE_S, self._config.worker_stall_s / 2 or _LATE_S):
            self._excused_at = self._woke_at
        for worker in self._workers():
            if worker.channel is not None and worker.channel.fileno() in ready:
                worker.receive()

    def _timeout(self, now: float) -> float:
        watched = [worker for worker in self._workers() if worker not in self._draining]
        times = [now + _TICK_S, *(each.killed_at or self._stall_deadline(each) for each in watched)]
        times += [each.starts_at for each in self._places if each.worker is None]
        return min(time for time in (*times, self._drains_until) if time > now) - now

    def _step(self, signals: socket.socket) -> None:
        now = time.monotonic()
        ended = [(worker, end) for worker in self._workers() if (end := worker.poll()) is not None]
        # After `poll`: a signal to the whole process group must not count as a crash.
        with suppress(BlockingIOError):
            for number in signals.recv(4096):
                self._on_signal(number)
        for worker, end in ended:
            self._on_end(worker, end, now)
        for worker in self._workers():
            if worker.is_leaving and not self._is_leaving:
                self._on_leaving(worker)
        if os.getpid() == 1:
            reap_orphans({worker.pid for worker in self._workers()})
        for worker in self._draining:
            if now >= worker.ends_at:
                self._kill_late(worker)
        if self._is_stopping:
            self._go_on_stopping(now)
            return
        for place in self._places:
            self._look_after(place, now)
        self._check_first_start()
        if now >= self._drains_until:
            self._stop(STOPPED, now)
        elif not self._is_leaving:
            self._go_on_replacing(now)
        self._notifier.report_reload(self._is_reloading)
        if any(place.is_turning(now) for place in self._places):
            self._notifier.feed()

    # --- workers

    def _workers(self) -> list[Spawned]:
        pairs = [(place.worker, place.next) for place in self._places]
        return [each for pair in pairs for each in pair if each is not None] + self._draining

    def _start(self, place: Place, now: float, *, as_next: bool = False) -> None:
        if self._is_stopping:
            return
        taken = {worker.slot.number for worker in self._workers()}
        slot = next(slot for slot in self._board.slots if slot.number not in taken)
        # One worker warns, at the start and at each reload, not when it is replaced.
        warns = place is self._places[0] and (as_next or not self._had_ready)
        try:
            worker = Spawned(self._command, self._sockets, self._board, slot, warns=warns)
        except OSError as error:  # no process or descriptor, or the directory is gone
            text = f"a worker can't be started: {error}"
            if as_next:
                self._on_failed_replacement(place, text, now)
            else:
                self._on_crash(place, text, now, 0.0, was_ready=False)
            return
        if self._is_leaving:
            worker.drain()
        if as_next:
            place.next = worker
        else:
            place.worker = worker

    def _on_end(self, worker: Spawned, end: WorkerEnd, now: float) -> None:
        worker.close()
        text = f"worker {worker.pid} {end}"
        is_draining = worker in self._draining
        if is_draining:
            self._draining.remove(worker)
        place = next((each for each in self._places if worker in (each.worker, each.next)), None)
        is_next = place is not None and worker is place.next
        if is_next and place is not None:
            place.next = None
        elif place is not None:
            place.worker = None
        if is_draining or self._is_stopping:
            if end.status and worker.is_ready:
                _tell("%s while it stopped", text)
                self._final = self._final or (KILLED if self._is_stopping else STOPPED)
        elif is_next and place is not None:
            self._on_failed_replacement(place, f"{text} before it was ready", now)
        elif place is not None:
            lived_s = now - worker.started_at
            self._on_crash(place, text, now, lived_s, was_ready=worker.is_ready)

    def _on_failed_replacement(self, place: Place, text: str, now: float) -> None:
        if self._is_reloading:
            _tell("reload failed: %s: the old ones go on", text)
            self._is_reloading = False
        else:
            wait_s = place.crash(now, 0.0, is_alone=False)
            _tell("%s: the old one goes on, the next attempt is in %g s", text, wait_s)
        self._replacing.clear()

    def _on_crash(
        self, place: Place, text: str, now: float, lived_s: float, *, was_ready: bool
    ) -> None:
        text = text if was_ready else f"{text} before it was ready"
        if not was_ready and not self._had_ready:
            _tell("%s: the service stops", text)
            self._stop(NOT_STARTED, now)
            return
        is_alone = not any(each.is_serving for each in self._places)
        wait_s = place.crash(now, lived_s, is_alone=is_alone)
        _tell("%s: %s", text, f"a new one starts in {wait_s:g} s" if wait_s else "a new one starts")
        if not is_alone or was_ready:
            self._crashing_since = None
        elif self._crashing_since is None:
            self._crashing_since = now
        elif now - max(self._crashing_since, self._excused_at) > HOPELESS_S:
            _tell("no worker became ready for %g s, all crashed: the service stops", HOPELESS_S)
            self._stop(HOPELESS, now)

    def _on_leaving(self, worker: Spawned) -> None:
        """Replace a worker that got SIGTERM, as in a reload."""
        worker.is_leaving = False
        place = next((each for each in self._places if each.worker is worker), None)
        if place is None or not worker.is_ready:
            worker.send(RETIRE)
        elif place not in self._replacing:
            _tell("worker %d is to be replaced: it got SIGTERM", worker.pid)
            self._replacing.append(place)

    def _look_after(self, place: Place, now: float) -> None:
        if place.worker is None and place.next is None and now >= place.starts_at:
            self._start(place, now)
        for worker in (place.worker, place.next):
            if worker is not None:
                self._check_stall(worker, now)
        worker = place.worker
        if worker is None or not worker.is_ready:
            return
        if not worker.is_announced and self._had_ready:
            worker.is_announced = True
            _tell("worker %d is ready", worker.pid)
        reason = worker.passed_limit(self._config.max_requests, self._config.max_rss)
        if reason and place not in self._replacing and now >= place.starts_at:
            _tell("worker %d is to be replaced: %s", worker.pid, reason)
            self._replacing.append(place)

    def _check_first_start(self) -> None:
        """Say where the service listens, once all workers of the start are ready."""
        if self._had_ready or not all(place.is_serving for place in self._places):
            return
        self._had_ready = True
        workers = [place.worker for place in self._places if place.worker is not None]
        for worker in workers:
            worker.is_announced = True
        urls = " and ".join(url_of(bound) for bound in self._sockets)
        pids = ", ".join(str(worker.pid) for worker in workers)
        self._notifier.ready(f"listening on {urls}")
        say(f"listening on {urls} with workers {pids} (Ctrl-C stops it)", sys.stdout)

    def _stall_deadline(self, worker: Spawned) -> float:
        """Return when the worker is stuck, if it gives no sign of life before."""
        limit_s = self._config.worker_stall_s if worker.is_ready else self._config.worker_start_s
        since = worker.heartbeat() if worker.is_ready else worker.started_at
        return max(since, self._excused_at) + limit_s + _TICK_S if limit_s else float("inf")

    def _check_stall(self, worker: Spawned, now: float) -> None:
        if worker.killed_at:
            if now >= worker.killed_at:
                worker.kill()
        elif now >= self._stall_deadline(worker):
            if worker.is_ready:
                text = f"its event loop stands still for {self._config.worker_stall_s:g} s"
            else:
                text = f"it is not ready after {self._config.worker_start_s:g} s"
            _tell("worker %d: %s: it writes its stacks and is killed", worker.pid, text)
            worker.write_stacks()
            worker.killed_at = now + _STACKS_S

    # --- replacing workers: a reload, or a limit that a worker has passed

    def _go_on_replacing(self, now: float) -> None:
        is_begun = any(place.next is not None for place in self._places)
        if self._is_reload_wanted and self._had_ready and not self._is_reloading and not is_begun:
            self._is_reload_wanted, self._is_reloading = False, True
            self._replacing = list(self._places)
            _tell("reload: replacing %d workers", len(self._places))
        if not self._replacing:
            return
        place = self._replacing[0]
        if place.next is None:
            # At most as many old workers drain as there are places. The others wait.
            if len(self._draining) < len(self._places):
                self._start(place, now, as_next=True)
        elif place.next.is_ready:
            self._take_over(place)

    def _take_over(self, place: Place) -> None:
        old, place.worker, place.next = place.worker, place.next, None
        assert place.worker is not None
        place.worker.is_announced = True
        place.recover()
        if old is not None:
            _tell("worker %d is replaced by %d", old.pid, place.worker.pid)
            self._retire(old)
        self._end_replacing(place)

    def _end_replacing(self, place: Place) -> None:
        if place in self._replacing:
            self._replacing.remove(place)
        if self._is_reloading and not self._replacing:
            self._is_reloading = False
            pids = ", ".join(str(each.worker.pid) for each in self._places if each.worker)
            _tell("reload complete: workers %s", pids)

    def _retire(self, worker: Spawned) -> None:
        worker.send(RETIRE)
        worker.ends_at = time.monotonic() + self._config.grace_s + KILL_MARGIN_S
        self._draining.append(worker)

    def _kill_late(self, worker: Spawned) -> None:
        _tell(
            "worker %d did not end within grace_s=%g: it is killed",
            worker.pid,
            self._config.grace_s,
        )
        worker.ends_at = float("inf")  # one line is enough
        worker.kill()

    # --- signals

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._is_leaving:
                sys.exit(128 + number)  # `run` kills the workers, `supervise` removes socket files
            if number == signal.SIGINT:
                say("stopping (Ctrl-C again exits immediately)", sys.stdout)
            self._drain(time.monotonic())
        elif number == signal.SIGHUP:
            self._on_hangup()
        elif number == signal.SIGQUIT:
            for worker in self._workers():
                worker.write_stacks()
        elif number == signal.SIGTTIN:
            self._add_place()
        elif number == signal.SIGTTOU:
            self._remove_place()

    def _on_hangup(self) -> None:
        if self._is_leaving:
            return
        if self._ends_with_terminal and not has_terminal():
            _tell("the terminal is gone: stopping")
            self._drain(time.monotonic())
            return
        self._is_reload_wanted = True

    def _add_place(self) -> None:
        if 2 * len(self._places) + 2 > len(self._board.slots) - len(self._draining):
            _tell("SIGTTIN: there is no room for more than %d workers", len(self._places))
            return
        self._places.append(Place())
        _tell("SIGTTIN: %d workers", len(self._places))

    def _remove_place(self) -> None:
        if len(self._places) == 1:
            _tell("SIGTTOU: one worker stays, SIGTERM stops it")
            return
        place = self._places.pop()
        for worker in (place.worker, place.next):
            if worker is not None:
                self._retire(worker)
        _tell("SIGTTOU: %d workers", len(self._places))
        self._end_replacing(place)

    # --- the end

    def _drain(self, now: float) -> None:
        """Stop after `drain_delay_s`, and immediately if the service is not yet ready."""
        if not self._config.drain_delay_s or not self._had_ready:
            self._stop(STOPPED, now)
            return
        self._drains_until = now + self._config.drain_delay_s
        for worker in self._workers():
            worker.drain()

    @property
    def _is_leaving(self) -> bool:
        return self._is_stopping or self._drains_until < float("inf")

    def _stop(self, status: int, now: float) -> None:
        """Begin to stop: the workers take the connections that wait, and close the sockets."""
        self._notifier.stopping()
        self._is_stopping = True
        self._final = status
        self._stops_at = now + self._config.grace_s + KILL_MARGIN_S
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
                self._kill_late(worker)
            self._status = self._final or KILLED

    def _end_all(self) -> None:
        for worker in self._workers():
            worker.kill()
            worker.close()
        self._draining.clear()
        for place in self._places:
            place.worker = place.next = None


def supervise(config: ServerConfig) -> int:
    """Serve by workers until a signal; return the exit status of this process.

    Raises: ConfigurationError if the address can't be had, or this program can't run again.
    """
    command = worker_command()
    bound = ListeningSockets.open(config.addresses)
    try:
        return Supervisor(config, command, bound.sockets, worker_count(config)).run()
    finally:
        bound.close()


def _tell(text: str, *values: object) -> None:
    say(text % values, sys.stderr)
