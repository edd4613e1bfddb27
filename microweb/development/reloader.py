"""The reloader: it keeps the listening sockets, and starts the app anew when a file changes.

It imports no application, so that no fault of the application can stop it. The app runs in a
worker. At a change the worker finishes its requests for a short time and ends, and the next one
imports the app. Clients that connect meanwhile wait in the queue of the sockets. The next worker is
started in advance: it has imported microweb and waits.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

from ..server.binds import ListeningSockets
from ..server.board import Board, WorkerState
from ..server.config import ServerConfig
from ..server.console import say
from ..server.signals import has_terminal, signals_read
from ..server.sockets import url_of
from ..server.spawned import Spawned, Streams, WorkerEnd, reap_orphans
from ..server.start import worker_command
from ..server.worker import RESTART
from .link import Go, Link
from .serving import GRACE_S
from .terminal import Terminal
from .watching import Stamp, Watched, changes

_SETTLE_S = 0.04  # without a further change: editors and "save all" write several times
_MAX_SETTLE_S = 1.0
_SPARE_AFTER_S = 0.3  # after a worker is ready, because its first requests come then
_CLEANUP_S = 2.0  # beyond GRACE_S, in which a worker leaves its lifespan
_SLOTS = 8
_SHOWN_CHANGES = 3


def develop(config: ServerConfig, watched: Watched) -> int:
    """Serve until a signal, starting the app anew at each change; return the exit status.

    Raises: ConfigurationError if the address can't be had, or this program can't run again.
    """
    command = worker_command()
    bound = ListeningSockets.open(config.addresses)
    try:
        for each in bound.sockets:
            each.listen(config.backlog)
        return Reloader(config, command, bound.sockets, watched).run()
    finally:
        bound.close()


class _Process:
    """A worker, and the link to it."""

    def __init__(self, spawned: Spawned, link: Link) -> None:
        self.spawned = spawned
        self.link = link
        self.is_retired = False
        self.ends_at = float("inf")  # when it is killed
        self.checked_at = float("inf")  # when its event loop must have taken the command to end

    def retire(self, now: float) -> None:
        """Let the worker finish its requests and end."""
        if not self.is_retired:
            self.is_retired = True
            self.ends_at = now + GRACE_S + _CLEANUP_S
            self.checked_at = now + GRACE_S
            self.spawned.send(RESTART)

    def kill(self) -> None:
        self.is_retired = True
        self.ends_at = self.checked_at = float("inf")
        self.spawned.kill()

    def close(self) -> None:
        self.spawned.close()
        self.link.close()


class Reloader:
    """Keeps one worker with the app on `sockets`, until a signal."""

    def __init__(
        self,
        config: ServerConfig,
        command: list[str],
        sockets: list[socket.socket],
        watched: Watched,
    ) -> None:
        self._config = config
        self._command = command
        self._sockets = sockets
        self._watched = watched
        self._board = Board.create(_SLOTS)
        self._terminal = Terminal()
        self._processes: list[_Process] = []  # all that are not reaped
        self._current: _Process | None = None
        self._spare: _Process | None = None
        self._spare_at = 0.0
        self._wanted: Go | None = Go()  # for the next worker, once the last one has ended
        self._seen: dict[str, Stamp] = watched.scan()
        self._scan_at = 0.0
        self._settles_until = 0.0  # a change was seen, and more may follow
        self._changed: set[str] = set()
        self._was_ready = False
        self._was_served = False  # without a fault, once
        self._is_stopping = False

    def run(self) -> int:
        """Serve until a signal; return the exit status."""
        with signals_read() as signals:
            try:
                while not self._is_stopping or self._processes:
                    self._wait(signals)
                    self._step(signals, time.monotonic())
            finally:
                for process in self._processes:
                    process.kill()
                    process.close()
                self._terminal.restore()
                self._terminal.close()
                self._board.close()
        return 0

    # --- one turn

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, for a worker, or for the next deadline."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        if self._terminal.has_room():
            poll.register(self._terminal, select.POLLIN)
        for process in self._processes:
            if process.spawned.channel is not None:
                poll.register(process.spawned.channel, select.POLLIN)
                poll.register(process.link, select.POLLIN)
        now = time.monotonic()
        times = [self._scan_at, *(min(each.ends_at, each.checked_at) for each in self._processes)]
        if self._current is not None and self._spare is None:
            times.append(self._spare_at)
        poll.poll(max(min(times) - now, 0.0) * 1000)

    def _step(self, signals: socket.socket, now: float) -> None:
        self._terminal.copy()
        for process in self._processes:
            process.spawned.receive()
            self._take_reports(process)
        with suppress(BlockingIOError):
            for number in signals.recv(4096):
                self._on_signal(number, now)
        for process in list(self._processes):
            if (end := process.spawned.poll()) is not None:
                self._on_end(process, end)
            elif process.spawned.is_leaving and not process.is_retired:
                self._restart("the worker got SIGTERM", now)
            elif now >= process.ends_at or (now >= process.checked_at and self._is_stuck(process)):
                self._kill_late(process)
            elif now >= process.checked_at:
                process.checked_at = float("inf")
        if os.getpid() == 1:
            reap_orphans({process.spawned.pid for process in self._processes})
        if self._is_stopping:
            return
        if now >= self._scan_at:
            self._look(now)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Start the app if no worker has it, and a spare worker in advance."""
        if self._wanted is not None and not any(
            each is not self._spare for each in self._processes
        ):
            self._start(self._wanted)
            self._wanted = None
        current = self._current
        if current is None or not current.spawned.is_ready:
            self._spare_at = now + _SPARE_AFTER_S
            return
        if not self._was_ready:
            self._was_ready = True
            urls = " and ".join(map(url_of, self._sockets))
            say(f"listening on {urls} (Ctrl-C stops it)", sys.stdout)
        if self._spare is None and now >= self._spare_at:
            self._spare = self._spawn()

    # --- workers

    def _spawn(self) -> _Process:
        taken = {process.spawned.slot.number for process in self._processes}
        slot = next(slot for slot in self._board.slots if slot.number not in taken)
        ours, theirs = socket.socketpair()
        with theirs:
            streams = Streams(None, self._terminal.descriptor, theirs.fileno())
            spawned = Spawned(self._command, self._sockets, self._board, slot, streams=streams)
        process = _Process(spawned, Link(ours))
        self._processes.append(process)
        return process

    def _start(self, go: Go) -> None:
        self._terminal.forget()
        self._current, self._spare = self._spare or self._spawn(), None
        self._current.link.send(go._replace(prints_routes=not self._was_served))

    def _take_reports(self, process: _Process) -> None:
        for report in process.link.reports():
            self._watched.add(report.files, report.templates)
            self._was_served = self._was_served or report.is_served
            for path, stamp in self._watched.scan().items():
                self._seen.setdefault(path, stamp)

    def _restart(self, reason: str, now: float) -> None:
        say(f"{reason}: reload", sys.stderr)
        self._wanted = Go()
        if self._current is not None:
            self._current.retire(now)

    def _on_end(self, process: _Process, end: WorkerEnd) -> None:
        process.close()
        self._processes.remove(process)
        self._terminal.restore()
        if process is self._spare:
            self._spare = None
        if process is not self._current:
            return
        self._current = None
        if process.is_retired or self._is_stopping:
            return
        text = f"the worker {end}"
        say(f"{text}: it starts again when a file changes", sys.stderr)
        lines = self._terminal.last_lines()
        self._wanted = Go(f"{text}\n\nIts last lines on stderr:\n{lines}" if lines else text)

    def _is_stuck(self, process: _Process) -> bool:
        return process.spawned.slot.state != WorkerState.DRAINING

    def _kill_late(self, process: _Process) -> None:
        say(f"worker {process.spawned.pid} did not end in time: it is killed", sys.stderr)
        process.kill()

    # --- files

    def _look(self, now: float) -> None:
        """Compare the files with the last scan; restart once a burst of changes has ended."""
        seen, self._seen = self._seen, self._watched.scan()
        found = changes(seen, self._seen)
        if found:
            if not self._changed:
                self._settles_until = now + _MAX_SETTLE_S
            self._changed.update(found)
        if self._changed and (not found or now >= self._settles_until):
            self._on_change(sorted(self._changed), now)
            self._changed.clear()
        self._scan_at = now + (_SETTLE_S if self._changed else self._watched.interval_s)

    def _on_change(self, paths: list[str], now: float) -> None:
        for path in paths:
            _forget_bytecode(path)
        names = ", ".join(map(_short, paths[:_SHOWN_CHANGES]))
        more = f" and {len(paths) - _SHOWN_CHANGES} more" if len(paths) > _SHOWN_CHANGES else ""
        self._restart(f"changed: {names}{more}", now)

    # --- signals

    def _on_signal(self, number: int, now: float) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._is_stopping:
                sys.exit(128 + number)  # `run` kills the workers
            if number == signal.SIGINT:
                say("stopping (Ctrl-C again exits immediately)", sys.stdout)
            self._stop(now)
        elif number == signal.SIGHUP and not self._is_stopping:
            if has_terminal():
                self._restart("SIGHUP", now)
            else:
                self._stop(now)

    def _stop(self, now: float) -> None:
        self._is_stopping = True
        for bound in self._sockets:
            bound.close()
        for process in self._processes:
            if process.spawned.is_ready:
                process.retire(now)
            else:
                process.kill()


def _forget_bytecode(path: str) -> None:
    """Remove the bytecode of a file that has changed.

    Python takes it for the file's if time and size are the same, and it compares whole seconds.
    """
    if path.endswith(".py"):
        with suppress(OSError, NotImplementedError):
            os.unlink(cache_from_source(path))


def _short(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
