"""The reloader: it keeps the listening sockets, and starts the app again when a file changes.

It imports no application, so that no fault of the application can stop it. The app runs in a
worker. At a change the worker finishes its requests for a short time and ends, and then the next
one imports the app. Clients that connect meanwhile wait in the queue of the sockets. The next
worker is started in advance: it has imported microweb, and waits.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from importlib.util import cache_from_source
from pathlib import Path
from typing import cast

from ..server.board import Board
from ..server.config import ServerConfig, ServerOptions
from ..server.console import say
from ..server.signals import has_terminal, signals_read
from ..server.sockets import cannot_listen_on, url_of
from ..server.spawned import WorkerEnd, reap_orphans
from ..server.supervisor import prepare
from .link import Go
from .process import AppProcess
from .saves import Saves
from .terminal import Terminal
from .watching import Watched

_SPARE_AFTER_S = 0.1  # after a worker is ready, because its first requests come then
_SLOW_S = 10.0  # for an app that starts, until its stacks are shown
_AGAIN_S = 1.0  # until a worker that shows a fault is replaced, if it has ended
_SLOTS = 8
_SHOWN_CHANGES = 3
_OURS = str(Path(__file__).parent.parent)  # imported by a worker that waits


def develop(config: ServerConfig, watched: Watched) -> int:
    """Serve until a signal, starting the app again at each change; return the exit status.

    Raises: ConfigurationError if the address or the certificates can't be had, or this program
    can't run again.
    """
    command, bound = prepare(config)
    try:
        urls = " and ".join(url_of(each, config.scheme) for each in bound.sockets)
        for each in bound.sockets:
            try:
                each.listen(config.backlog)
            except OSError as error:
                raise cannot_listen_on(each, error) from error
        options = cast(ServerOptions, asdict(config))
        return Reloader(command, bound.sockets, watched, urls, options).run()
    finally:
        bound.close()


class Reloader:
    """Keeps one worker with the app on `sockets`, until a signal."""

    def __init__(
        self,
        command: list[str],
        sockets: list[socket.socket],
        watched: Watched,
        urls: str,
        options: ServerOptions,
    ) -> None:
        self._command = command
        self._sockets = sockets
        self._urls = urls
        self._options = options
        self._saves = Saves(watched)
        self._board = Board.create(_SLOTS)
        self._terminal = Terminal()
        self._processes: list[AppProcess] = []  # all that have not ended
        self._current: AppProcess | None = None  # that has the app, or ends with it
        self._spare: AppProcess | None = None  # that waits
        self._spare_at = 0.0
        self._next: Go | None = Go()  # for the next worker, once the last one has ended
        self._starts_at = 0.0
        self._stale: set[str] = set()  # files whose bytecode may be older than they are
        self._was_ready = False
        self._was_served = False  # without a fault, once
        self._is_stopping = False
        is_hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # `nohup`
        self._ends_with_terminal = not is_hangup_ignored and has_terminal()

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
                self._saves.close()
                self._terminal.close()
                self._board.close()
        return 0

    # --- one turn

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, for a worker, for a change, or for the next deadline."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        poll.register(self._saves.waker, select.POLLIN)
        if self._terminal.has_room():
            poll.register(self._terminal, select.POLLIN)
        for process in self._processes:
            for descriptor in process.descriptors():
                poll.register(descriptor, select.POLLIN)
        times = [self._saves.look_at, *(process.deadline for process in self._processes)]
        if self._current is None:
            times.append(self._starts_at)
        elif self._spare is None:
            times.append(self._spare_at)
        poll.poll(max(min(times) - time.monotonic(), 0.0) * 1000)

    def _step(self, signals: socket.socket, now: float) -> None:
        self._terminal.copy()
        for process in self._processes:
            for report in process.receive():
                self._was_served = self._was_served or report.is_served
                self._saves.add(report)
        with suppress(BlockingIOError):
            for number in signals.recv(4096):
                self._on_signal(number, now)
        for process in list(self._processes):
            if (end := process.spawned.poll()) is not None:
                self._on_end(process, end, now)
            elif process.spawned.is_leaving and not process.is_retired:
                self._restart("the worker got SIGTERM", now)
            else:
                process.check(now)
        if self._current is not None and self._current.has_left_app:
            self._current = None  # its interpreter may take a while to end
        if os.getpid() == 1:
            reap_orphans({process.spawned.pid for process in self._processes})
        if not self._is_stopping:
            if changed := self._saves.look(now):
                self._on_change(changed, now)
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Start the app if no worker has it, and a spare worker in advance."""
        if self._current is None and self._next is not None and now >= self._starts_at:
            self._start(self._next, now)
        current = self._current
        if current is None or not current.spawned.is_ready:
            self._spare_at = now + _SPARE_AFTER_S
            return
        current.slow_at = float("inf")
        if not self._was_ready:
            self._was_ready = True
            say(f"listening on {self._urls} (Ctrl-C stops it)", sys.stdout)
        if self._spare is None and now >= self._spare_at:
            with suppress(OSError):  # `_start` tries again, and says so
                self._spare = self._spawn()
            self._spare_at = float("inf")

    # --- workers

    def _spawn(self) -> AppProcess:
        """Start a worker that waits. Raises: OSError."""
        taken = {process.spawned.slot.number for process in self._processes}
        slot = next(slot for slot in self._board.slots if slot.number not in taken)
        made = AppProcess(self._command, self._sockets, self._board, slot, self._terminal)
        self._processes.append(made)
        return made

    def _start(self, go: Go, now: float) -> None:
        try:
            worker = self._spare or self._spawn()
        except OSError as error:  # the directory is gone, or there is no memory
            say(f"a worker can't be started: {error}", sys.stderr)
            self._starts_at = now + _AGAIN_S
            return
        _forget_bytecode(self._stale)
        self._stale.clear()
        self._terminal.forget()
        self._current, self._spare, self._next = worker, None, None
        self._current.go(go._replace(prints_routes=not self._was_served, options=self._options))
        self._current.slow_at = now + _SLOW_S

    def _restart(self, reason: str, now: float) -> None:
        say(f"{reason}: reload", sys.stderr)
        self._next, self._starts_at = Go(), 0.0
        if self._current is not None:
            self._current.retire(now)

    def _on_end(self, process: AppProcess, end: WorkerEnd, now: float) -> None:
        process.close()
        self._processes.remove(process)
        self._terminal.restore()
        if process is self._spare:  # it would end once more: the next one is started when needed
            self._spare, self._spare_at = None, float("inf")
        if process is not self._current:
            return
        self._current = None
        if process.is_retired or self._is_stopping:
            return
        text = f"the worker {end}"
        say(f"{text}: it starts again when a file changes", sys.stderr)
        lines = self._terminal.last_lines()
        self._next = Go(f"{text}\n\nIts last lines on stderr:\n{lines}" if lines else text)
        self._starts_at = now + (_AGAIN_S if process.shows_fault else 0.0)

    # --- changes and signals

    def _on_change(self, paths: list[str], now: float) -> None:
        self._stale.update(paths)
        if self._spare is not None and any(path.startswith(_OURS) for path in paths):
            self._spare.kill()
            self._spare = None
        names = ", ".join(map(_short, paths[:_SHOWN_CHANGES]))
        more = f" and {len(paths) - _SHOWN_CHANGES} more" if len(paths) > _SHOWN_CHANGES else ""
        self._restart(f"{names}{more} changed", now)

    def _on_signal(self, number: int, now: float) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._is_stopping:
                sys.exit(128 + number)  # `run` kills the workers
            if number == signal.SIGINT:
                say("stopping (Ctrl-C again exits immediately)", sys.stdout)
            self._stop(now)
        elif number == signal.SIGHUP and not self._is_stopping:
            if self._ends_with_terminal and not has_terminal():
                self._stop(now)
            else:
                self._restart("SIGHUP", now)

    def _stop(self, now: float) -> None:
        self._is_stopping = True
        for bound in self._sockets:
            bound.close()
        for process in self._processes:
            if process.spawned.is_ready:
                process.retire(now)
            else:
                process.kill()


def _forget_bytecode(paths: set[str]) -> None:
    """Remove the bytecode of files that have changed.

    Python takes it for that of the file if size and time are the same, and it compares whole
    seconds: two saves in one second would run the first one's code.
    """
    for path in paths:
        if path.endswith(".py"):
            with suppress(OSError, NotImplementedError):
                os.unlink(cache_from_source(path))


def _short(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
