"""The process of one server: event loop, signals, limits, printed lines and exit."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, cast, runtime_checkable

from ..concurrency.background import Background
from ..concurrency.descriptors import raise_limit
from ..concurrency.per_process import all_per_process
from ..errors import ConfigurationError, MissingExtra, ProtocolError, ThreadsStuck
from ..logs import Log
from ..request import Request
from ..response import Response
from . import systemd
from .access_log import access_logger, show_access_log, wants_access_log
from .callback_errors import log_callback_error
from .config import LoopName, RunOptions, ServerConfig, ServerOptions, with_new_names
from .console import closed_stderr_hidden, open_standard_descriptors, say
from .cpus import worker_count
from .exits import exit_not_started
from .inventory import questions_answered
from .leftovers import TasksStuck, close
from .lines import line_lock
from .log_setup import logging_configured, logs_written_by_a_thread, set_up_json
from .loopback import LoopbackOnly
from .metered import metered
from .overload import limited
from .server import Server
from .settings import Settings, read_settings, variable_of
from .signals import signals_handled
from .sockets import is_local_socket, url_of
from .start import note_directory, start_directory
from .worker import (
    DRAIN,
    KILL_MARGIN_S,
    RESTART,
    RETIRE,
    STOP,
    VARIABLE,
    Worker,
    take_assignment,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AbstractAsyncContextManager
    from typing import Any

# The garbage collector runs after this many new objects, because microweb leaves few cycles. With
# Python's 700, one in three messages to 10,000 subscribers waited 250 ms for a full collection.
_COLLECT_AT = (50_000, 10, 10)
_PYTHONS_COLLECT_AT = (700, 2000)  # up to 3.12, and from 3.13 on
_FLUSH_S = 1.0
_RESTART_SILENCE_S = 0.1  # then an idle connection closes, so that no client waits for old code


_log = Log("microweb.server")
_worker: Worker | None = None  # this process, if a supervisor has started it


class _StartFailed(Exception):
    """The application's lifespan has raised its cause before the server listened."""


@runtime_checkable
class Application(Protocol):
    """The application that a process serves: a handler with a lifespan."""

    @property
    def is_debugging(self) -> bool:
        """Whether its answers show tracebacks and other internals."""

    def handle(self, request: Request) -> Coroutine[Any, Any, Response]: ...
    def freeze(self) -> None: ...
    async def refuse(self, error: ProtocolError) -> Response: ...
    def life(self) -> AbstractAsyncContextManager[None]: ...
    def attach(self, background: Background) -> None: ...


def make_server(app: Application, options: ServerOptions) -> Server:
    """Return a server of `app` in this process, not started. Raises: ConfigurationError."""
    config = ServerConfig.from_options(options)
    if config.workers != 1 or config.needs_supervisor:
        raise ConfigurationError(
            "workers, supervised, control, metrics_bind: expected app.run() or `microweb run`, got "
            "a server in this process: it can't start itself again"
        )
    return _make_server(app, config, None)


def check_debug(app: Application, config: ServerConfig, worker: Worker | None = None) -> None:
    """Raise ConfigurationError if other machines could reach an app in debug mode."""
    if app.is_debugging and not config.debug_anywhere and not is_local(config, worker):
        reached = ", ".join(config.bind) or config.host
        raise ConfigurationError(
            f"debug is on, but other machines can reach {reached} and would see the app's "
            "internals: turn debug off, or allow this by debug_anywhere=True (--debug-anywhere)"
        )


def _make_server(app: Application, config: ServerConfig, worker: Worker | None) -> Server:
    check_debug(app, config, worker)
    app.freeze()
    handler = limited(app.handle, app, config)
    if app.is_debugging and not config.debug_anywhere:
        handler = LoopbackOnly(handler, config.host)
    server = Server(
        handler,
        config,
        refuse=app.refuse,
        lifespan=metered(app, app.life(), lambda: server, config, worker),
        observers=(access_logger(),) if wants_access_log(config.log) else (),
        worker=worker,
    )
    app.attach(server.background)
    return server


def run_configured(
    app: Application, host: str | None, port: int | None, options: RunOptions, folder: Path
) -> None:
    """Serve with these arguments, the environment, and the pyproject.toml above `folder`."""
    given: dict[str, object] = {**options}
    given |= {} if host is None else {"host": host}
    given |= {} if port is None else {"port": port}
    if "json" in (given.get("log"), os.environ.get(variable_of("log"))):
        set_up_json()  # now, for a wrong option
    try:
        settings = read_settings(with_new_names(cast(ServerOptions, given)), folder, os.environ)
    except ConfigurationError as error:
        say(str(error), sys.stderr, logging.ERROR)
        sys.exit(1)
    say_notes(settings)
    run(app, settings.options)


def say_notes(settings: Settings) -> None:
    """Print the notes about variables, unless this process is a worker: the supervisor did."""
    for note in settings.notes:
        if VARIABLE not in os.environ:
            say(note, sys.stderr, logging.WARNING)


def is_local(config: ServerConfig, worker: Worker | None = None) -> bool:
    """Return whether only this machine reaches the server. Raises: ConfigurationError."""
    if worker is not None:
        return all(is_local_socket(bound.fileno()) for bound in worker.sockets)
    return all(address.is_local() for address in config.addresses)


def configure(options: ServerOptions) -> ServerConfig:
    """Return the configuration of this process: sockets of systemd replace `host` and `port`."""
    config = ServerConfig.from_options(options).with_paths_in(start_directory())
    descriptors = systemd.passed_descriptors()
    if descriptors and not config.bind:
        return replace(config, bind=("systemd",))
    return config


def supervise_if_asked(options: ServerOptions) -> None:
    """Become the supervisor if `options` ask for workers, and this process is none of them.

    The supervisor does not return: it raises SystemExit at its end. A worker takes its assignment.
    """
    if options.get("log") == "json":
        set_up_json()
    try:
        worker, config = become_worker(), configure(options)
        if worker is None and (config.needs_supervisor or worker_count(config) > 1):
            from .supervisor import supervise

            sys.exit(supervise(config))
    except ConfigurationError as error:
        say(str(error), sys.stderr, logging.ERROR)
        sys.exit(1)


def become_worker() -> Worker | None:
    """Return the worker that this process is, None without a supervisor.

    Raises: ConfigurationError if the supervisor runs another version of microweb.
    """
    global _worker
    note_directory()
    open_standard_descriptors()
    _worker = _worker or take_assignment()
    return _worker


def run(app: Application, options: ServerOptions) -> None:
    """Serve until a signal: see `App.run`. In a worker this ends the process."""
    supervise_if_asked(options)
    try:
        with closed_stderr_hidden(), logs_written_by_a_thread() as handler:
            _run(app, configure(options), handler)
    except ConfigurationError as error:
        say(str(error), sys.stderr, logging.ERROR)
        sys.exit(1)
    except (ThreadsStuck, TasksStuck):
        _exit_now()
    except _StartFailed as failed:
        assert failed.__cause__ is not None
        exit_not_started(failed.__cause__)
    if _worker is not None:
        sys.exit(0)


def _run(app: Application, config: ServerConfig, handler: logging.Handler) -> None:
    _refuse_running_loop()
    if _worker is not None:
        _worker.claim()
        line_lock.share(_worker.board.descriptor)
    is_access_logged = wants_access_log(config.log)
    server = _make_server(app, config, _worker)
    if _worker is not None and _worker.warns and worker_count(config) > 1:
        for each in all_per_process():
            _log.warning("%s", each)
    new_loop = loop_factory(server.config.loop)
    _raise_file_limit(server.config.max_connections)
    _collect_less_often()
    try:
        with ExitStack() as stack:
            stack.enter_context(logging_configured(handler, config.log_level))
            if is_access_logged:
                show_access_log()
            runner = asyncio.Runner(loop_factory=new_loop)
            stack.callback(close, runner)
            run_to_end(runner, _serve(server, app), server)
    except (ThreadsStuck, TasksStuck) as error:
        if error.__context__ is not None:  # an exception, not a signal, has stopped the server
            _log.error("the server ended", exc_info=error.__context__)
        busy = "a thread is still busy" if isinstance(error, ThreadsStuck) else str(error)
        for place in error.places:
            _log.error("%s, exiting without it: %s", busy, place)
        raise


def run_to_end(runner: asyncio.Runner, main: Coroutine[Any, Any, None], server: Server) -> None:
    """Run `main` to its end, even if a task of the application raises SystemExit.

    asyncio raises the SystemExit or KeyboardInterrupt of any task out of the event loop, which
    can then be run again. The task's awaiter gets the exception as well, so a lifespan can end the
    program. Such an exception is raised here before the server opens, and after it has closed its
    background tasks.
    """
    loop = runner.get_loop()
    loop.set_exception_handler(log_callback_error)
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done() or not server.background.is_open:
                raise
            _log.error("a task or a callback of the application raised %r", error)


async def _serve(server: Server, app: Application) -> None:
    serving = _Serving(server, _worker, app)
    if _worker is not None:
        with signals_handled(serving.stop, [signal.SIGTERM]):
            await serving.run_as(_worker)
        return
    reload = server.renew if server.config.has_tls else None
    with signals_handled(serving.stop, reload=reload) as are_handled:
        await serving.run(" (Ctrl-C stops it)" if are_handled else "")


class _Serving:
    """One server from its start to its stop, which a signal may request at any time."""

    def __init__(self, server: Server, worker: Worker | None, app: Application) -> None:
        self._server = server
        self._app = app
        self._worker = worker
        self._notifier = systemd.notifier()  # of a worker it is silent: the supervisor reports
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._stopping = asyncio.Event()
        self._is_starting = True
        self._delay_s = server.config.drain_delay_s

    def stop(self, number: int) -> None:
        """Stop the server. A signal handler calls this, so the event loop may be blocked."""
        if number == signal.SIGINT:
            say(f"stopping{self._awaited()} (Ctrl-C again exits immediately)", sys.stdout)
        drain = self._drain if self._worker is None else self._worker.leave
        self._loop.call_soon_threadsafe(drain)

    async def run(self, how: str | None) -> None:
        try:
            async with self._server as server:
                self._is_starting = False
                if how is not None:
                    urls = (url_of(bound, server.config.scheme) for bound in server.sockets)
                    status = f"listening on {' and '.join(urls)}"
                    say(f"{status}{how}", sys.stdout)
                    self._notifier.ready(status)
                    self._feed()
                watch: AbstractContextManager[None] = nullcontext()
                if stall_ms := server.config.stall_ms:
                    from .stalled_loop import stalls_named

                    watch = stalls_named(self._loop, stall_ms, self._app)
                with watch:
                    await self._stopping.wait()
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            assert self._task is not None
            self._task.uncancel()  # `_stop` has cancelled the startup
        except (ConfigurationError, ThreadsStuck):
            raise
        except Exception as error:
            if self._is_starting:
                raise _StartFailed from error
            raise

    async def run_as(self, worker: Worker) -> None:
        """Serve as a worker of a supervisor, which says where it listens."""
        worker.open(self._on_command, self._server.config.grace_s + KILL_MARGIN_S)
        with closing(worker), questions_answered(worker.questions, self._server):
            await self.run(None)

    def _on_command(self, command: bytes) -> None:
        if command in (DRAIN, STOP):
            self._server.state.is_draining = True
        if command != DRAIN:
            silences = {RETIRE: self._server.config.grace_s, RESTART: _RESTART_SILENCE_S}
            self._server.retire(silences.get(command))
            self._stop()

    def _drain(self) -> None:
        """Stop after `drain_delay_s`, and immediately if the server is not yet started."""
        self._notifier.stopping()
        self._server.state.is_draining = True
        if self._is_starting or not self._delay_s:
            self._stop()
        else:
            self._loop.call_later(self._delay_s, self._stop)

    def _feed(self) -> None:
        """Feed the watchdog of systemd, if there is one, as long as the event loop turns."""
        if self._notifier.watchdog_s:
            self._notifier.feed()
            self._loop.call_later(self._notifier.feed_s, self._feed)

    def _stop(self) -> None:
        # Once: a second `cancel` would cut the lifespan's clean-up short.
        if self._is_starting and self._task is not None and not self._stopping.is_set():
            self._task.cancel()
        self._stopping.set()

    def _awaited(self) -> str:
        if self._is_starting:
            return ": cancels the startup"
        if self._delay_s:
            return f" in {self._delay_s:g} s: requests are still answered"
        awaited = self._server.awaited()
        return f": waits up to {self._server.config.grace_s:g} s for {awaited}" if awaited else ""


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigurationError(
        "an event loop is already running: use `async with app.serve():` instead of run()"
    )


def loop_factory(name: LoopName) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError as error:
        if name == "uvloop":
            raise MissingExtra("loop='uvloop'", "uvloop") from error
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _collect_less_often() -> None:
    """Run the garbage collector less often, unless the application has configured it."""
    if gc.isenabled() and gc.get_threshold()[0] in _PYTHONS_COLLECT_AT:
        gc.set_threshold(*_COLLECT_AT)


def _raise_file_limit(max_connections: int) -> None:
    """Raise the limit of open files; warn if it stays too low."""
    limit = raise_limit(max_connections)
    if limit < max_connections:
        _log.warning(
            "the limit of open files is %d, below max_connections=%d: raise it (`ulimit -n`)",
            limit,
            max_connections,
        )


def _exit_now() -> NoReturn:
    """Exit although a thread or a task of the application never ends: no call can end it."""
    flushing = threading.Thread(target=_flush_all, daemon=True)  # a flush may block or raise
    with suppress(RuntimeError):  # the system refuses a thread
        flushing.start()
        flushing.join(_FLUSH_S)
    os._exit(1)


def _flush_all() -> None:
    with suppress(OSError, ValueError):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.flush()
