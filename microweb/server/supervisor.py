"""The supervisor: it binds the sockets, executes the workers, watches and replaces them.

It starts no thread and no event loop, and under `microweb run` it imports no application, so that
nothing of the application can stop it. It waits in `poll` for its signals, for its workers, and for
the next second. All that it knows of a worker comes from the board and from one socket pair.

Its parts: `WorkerPool` has the processes, `Replacements` replaces them, `StallWatch` kills those
that stand still, `Shutdown` ends the service. `polled` are further descriptors in its `poll`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import ExitStack, suppress
from logging import ERROR

from .binds import ListeningSockets
from .config import ServerConfig
from .console import is_json, objects_written_by_a_thread, say
from .control import Control, open_control
from .cpus import worker_count
from .exits import FAILED, HOPELESS, NOT_STARTED, STOPPED
from .lines import dropped
from .places import HOPELESS_S, Place
from .pool import WorkerPool
from .replacements import Replacements
from .shutdown import Shutdown
from .side_sockets import Polled
from .signals import has_terminal, signals_read
from .sockets import url_of
from .spawned import Spawned, WorkerEnd, reap_orphans
from .stacks import StackReader
from .stalls import TICK_S, StallWatch
from .start import worker_command
from .systemd import notifier
from .worker import RETIRE

_SOON_S = 0.001


class Supervisor:
    """Keeps `count` processes of `command` running on `sockets`, until a signal."""

    def __init__(
        self,
        config: ServerConfig,
        command: list[str],
        sockets: list[socket.socket],
        count: int,
        control: socket.socket | None = None,
        metrics: list[socket.socket] | None = None,
    ) -> None:
        self._config = config
        self._notifier = notifier()
        self._pool = WorkerPool(config, command, sockets, count)
        self._replacements = Replacements(self._pool)
        self._stalls = StallWatch(config)
        self._shutdown = Shutdown(config, self._pool, self._notifier)
        self.polled: list[Polled] = [StackReader(self._pool.workers)]
        if control is not None:
            parts = self._pool, self._replacements, self._shutdown
            self.polled.append(Control(control, *parts))
        if metrics:
            from .metrics_socket import MetricsSocket

            self.polled.append(MetricsSocket(metrics, self._pool.board))
        self._woke_at = time.monotonic()
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
                    if self._shutdown.status is not None:
                        return self._shutdown.status
                    self._wait(signals)
            finally:
                for polled in self.polled:
                    polled.close()
                self._pool.close()

    # --- one turn

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, a message of a worker, or the next deadline."""
        poll = select.poll()  # unlike `select`, it takes descriptors from 1024 up
        poll.register(signals, select.POLLIN)
        for worker in self._pool.workers():
            if worker.channel is not None:
                poll.register(worker.channel, select.POLLIN)
        for polled in self.polled:
            polled.register(poll)
        timeout_s = self._timeout(time.monotonic())
        ready = dict(poll.poll(timeout_s * 1000))
        woke_at, self._woke_at = self._woke_at, time.monotonic()
        self._stalls.wake(self._woke_at - woke_at - timeout_s, self._woke_at)
        for worker in self._pool.workers():
            if worker.channel is not None and worker.channel.fileno() in ready:
                worker.receive()
        for polled in self.polled:
            polled.go_on(ready, self._woke_at)

    def _timeout(self, now: float) -> float:
        places = self._pool.places
        watched = [each for place in places for each in (place.worker, place.next) if each]
        times = [now + TICK_S, *map(self._stalls.deadline, watched)]
        times += [each.starts_at for each in places if each.worker is None]
        times += [max(each.deadline(), now + _SOON_S) for each in self.polled]
        return min(time for time in (*times, self._shutdown.drains_until) if time > now) - now

    def _step(self, signals: socket.socket) -> None:
        now = time.monotonic()
        self._pool.board.lines_dropped = dropped.count
        workers = self._pool.workers()
        ended = [(worker, end) for worker in workers if (end := worker.poll()) is not None]
        # After `poll`: a signal to the whole process group must not count as a crash.
        with suppress(BlockingIOError):
            for number in signals.recv(4096):
                self._on_signal(number)
        for worker, end in ended:
            self._on_end(worker, end, now)
        for worker in self._pool.workers():
            if worker.is_leaving and not self._shutdown.is_begun:
                self._on_leaving(worker, now)
        if os.getpid() == 1:
            reap_orphans({worker.pid for worker in self._pool.workers()})
        for worker in self._pool.draining:
            if now >= worker.ends_at:
                self._pool.kill_late(worker)
        if self._shutdown.is_stopping:
            self._shutdown.go_on(now)
        else:
            self._go_on_serving(now)

    def _go_on_serving(self, now: float) -> None:
        for place in self._pool.places:
            self._look_after(place, now)
        self._check_first_start()
        if now >= self._shutdown.drains_until:
            self._shutdown.stop(STOPPED, now)
        elif not self._shutdown.is_begun:
            self._replacements.go_on(now)
            self._notifier.report_reload(self._replacements.is_reloading)
        if self._pool.is_turning(now):
            self._notifier.feed()

    # --- workers

    def _look_after(self, place: Place, now: float) -> None:
        if place.worker is None and place.next is None and now >= place.starts_at:
            self._start(place, now)
        for each in (place.worker, place.next):
            if each is not None:
                self._stalls.check(each, now)
        worker = place.worker
        if worker is None or not worker.is_ready:
            return
        if not worker.is_announced and self._pool.has_started:
            worker.is_announced = True
            say(f"worker {worker.pid} is ready", sys.stderr)
        reason = worker.passed_limit(self._config.max_requests, self._config.max_rss)
        if reason and now >= place.starts_at:
            self._replacements.request(place, reason, "limit")

    def _start(self, place: Place, now: float) -> None:
        if self._shutdown.is_stopping:
            return
        try:
            worker = self._pool.start(place)
        except OSError as error:
            text = f"a worker can't be started: {error}"
            if self._pool.has_started:
                self._on_crash(place, text, now, 0.0, was_ready=False)
            else:
                self._fail_first_start(text, NOT_STARTED, now)
            return
        if self._shutdown.is_begun:
            worker.drain()

    def _check_first_start(self) -> None:
        """Say where the service listens, once all workers of the start are ready."""
        places = self._pool.places
        if self._pool.has_started or not all(place.is_serving for place in places):
            return
        self._pool.has_started = True
        workers = [place.worker for place in places if place.worker is not None]
        for worker in workers:
            worker.is_announced = True
        urls = " and ".join(url_of(each, self._config.scheme) for each in self._pool.sockets)
        pids = ", ".join(str(worker.pid) for worker in workers)
        self._notifier.ready(f"listening on {urls}")
        say(f"listening on {urls} with workers {pids} (Ctrl-C stops it)", sys.stdout)

    def _on_end(self, worker: Spawned, end: WorkerEnd, now: float) -> None:
        worker.close()
        how = "got SIGTERM and " if worker.is_asked_to_end else ""
        text = f"worker {worker.pid} {how}{end}"
        place = self._pool.place_of(worker)
        is_next = place is not None and worker is place.next
        self._pool.remove(worker)
        if place is None or self._shutdown.is_stopping:
            if end.status and worker.is_ready:
                say(f"{text} while it stopped", sys.stderr, ERROR)
                self._shutdown.note_failure()
        elif is_next:
            self._replacements.fail(place, f"{text} before it was ready", now)
        elif worker.is_ready or worker.is_asked_to_end or self._pool.has_started:
            text = text if worker.is_ready else f"{text} before it was ready"
            lived_s = now - worker.started_at
            self._pool.board.count_restart("sigterm" if worker.is_asked_to_end else end.cause)
            self._on_crash(place, text, now, lived_s, was_ready=worker.is_ready)
        else:
            # The worker has checked more options than the supervisor can: it needs the application.
            status = FAILED if end.status == FAILED else NOT_STARTED
            self._fail_first_start(f"{text} before it was ready", status, now)

    def _fail_first_start(self, text: str, status: int, now: float) -> None:
        say(f"{text}: the service stops", sys.stderr, ERROR)
        self._shutdown.stop(status, now)

    def _on_crash(
        self, place: Place, text: str, now: float, lived_s: float, *, was_ready: bool
    ) -> None:
        is_alone = not self._pool.has_serving()
        wait_s = place.crash(now, lived_s, is_alone=is_alone)
        wait = f" in {wait_s:g} s" if wait_s else ""
        say(f"{text}: a new one starts{wait}", sys.stderr, ERROR)
        if not is_alone or was_ready:
            self._crashing_since = None
        elif self._crashing_since is None:
            self._crashing_since = now
        elif now - max(self._crashing_since, self._stalls.excused_at) > HOPELESS_S:
            crashed = f"no worker became ready for {HOPELESS_S:g} s, all crashed"
            say(f"{crashed}: the service stops", sys.stderr, ERROR)
            self._shutdown.stop(HOPELESS, now)

    def _on_leaving(self, worker: Spawned, now: float) -> None:
        """Replace a worker that got SIGTERM, as in a reload; again if that has failed."""
        place = self._pool.place_of(worker)
        if place is None or worker is place.next or not worker.is_ready:
            worker.is_leaving = False
            worker.send(RETIRE)
        elif now >= place.starts_at:
            self._replacements.request(place, "it got SIGTERM", "sigterm")

    # --- signals

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._shutdown.is_signalled:
                sys.exit(128 + number)  # `run` kills the workers, `supervise` removes socket files
            if number == signal.SIGINT:
                say("stopping (Ctrl-C again exits immediately)", sys.stdout)
            self._shutdown.take_signal(time.monotonic())
        elif number == signal.SIGHUP:
            self._on_hangup()
        elif number == signal.SIGQUIT:
            for worker in self._pool.workers():
                worker.log_stacks()
        elif number == signal.SIGTTIN:
            self._pool.add_place()
        elif number == signal.SIGTTOU and (place := self._pool.remove_place()) is not None:
            self._replacements.end(place)

    def _on_hangup(self) -> None:
        if self._shutdown.is_begun:
            return
        if self._ends_with_terminal and not has_terminal():
            say("the terminal is gone: stopping", sys.stderr)
            self._shutdown.take_signal(time.monotonic())
            return
        self._replacements.request_reload()


def prepare(config: ServerConfig) -> tuple[list[str], ListeningSockets]:
    """Return the command and the sockets of workers.

    Raises: ConfigurationError if the address or the certificates can't be had, or this program
    can't run again.
    """
    command = worker_command()
    if config.has_tls:
        from .tls_context import make_contexts

        make_contexts(config)  # each worker makes its own
    return command, ListeningSockets.open(config.addresses)


def supervise(config: ServerConfig) -> int:
    """Serve by workers until a signal; return the exit status of this process.

    Raises: ConfigurationError if the address or the certificates can't be had, or this program
    can't run again.
    """
    command, bound = prepare(config)
    with ExitStack() as stack:
        stack.callback(bound.close)
        if is_json():
            stack.enter_context(objects_written_by_a_thread())
        control = open_control(config.control, stack) if config.control else None
        metrics = _open_metrics(config.metrics_bind, stack) if config.metrics_bind else None
        count = worker_count(config)
        return Supervisor(config, command, bound.sockets, count, control, metrics).run()


def _open_metrics(text: str, stack: ExitStack) -> list[socket.socket]:
    from .metrics_socket import open_metrics

    return open_metrics(text, stack)
