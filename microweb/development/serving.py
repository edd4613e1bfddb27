"""The worker of `microweb dev`: it serves the app, or the fault that keeps the app from serving.

A worker is started before it is needed. It has imported microweb, and waits: so a reload takes only
the time that the app needs. It imports the app once the worker before it has ended.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from ..app import App
from ..concurrency.background import Background
from ..debug.tracebacks import is_users_code
from ..errors import MissingExtra, ProtocolError
from ..http.interfaces import RouteInfo
from ..request import Request
from ..response import Response
from ..server import process
from ..server.config import ServerOptions
from ..server.state import refuse_plainly
from ..server.worker import Worker
from .faults import answer_fault, fault_of, print_fault
from .link import Go, Link, Report

GRACE_S = 1.0  # for requests under way when the app is started again
_ROOMS = ("uvloop", *map("microweb.{}".format, ("sse", "static", "templating", "websocket")))
_LOOK_S = 1.0  # for modules that the app imports while it serves

Load = Callable[[], tuple[App, ServerOptions]]


def serve(worker: Worker, load: Load, show: Callable[[App], None]) -> None:
    """Serve the app that `load()` returns, once the reloader says so. `show(app)` prints routes."""
    assert worker.link is not None
    link = Link(worker.link)
    _import_rooms(link)
    go = link.wait()
    if go is None:
        return  # the reloader has ended
    atexit.register(link.close)  # the first to be registered is the last to be called
    importlib.invalidate_caches()
    developed = DevelopedApp(link)
    options = developed.load(load, go, show)
    grace_s = min(options.get("grace_s", GRACE_S), GRACE_S)
    process.run(developed, {**options, "grace_s": grace_s})


def _import_rooms(link: Link) -> None:
    """Import the parts that an app may use, with their packages, as long as there is time."""
    for name in _ROOMS:
        if link.has_message():
            return
        with suppress(ImportError, MissingExtra):
            importlib.import_module(name)


class DevelopedApp:
    """The app, or the fault that keeps it from serving: see `server.process.Application`."""

    is_debugging = True

    def __init__(self, link: Link) -> None:
        self._link = link
        self._app: App | None = None
        self._fault: BaseException | None = None
        self._seen: set[str] = set()  # modules
        self._reported: Report | None = None

    def load(self, load: Load, go: Go, show: Callable[[App], None]) -> ServerOptions:
        """Load the app and report its files; return its options.

        If there is a fault, the options may be wrong: then those of the reloader's start count.
        """
        options = go.options
        if go.fault:  # which the terminal has shown
            self._fault = ChildProcessError(go.fault)
        else:
            try:
                app, options = load()
                self._take(app)
                if go.prints_routes:
                    show(app)
            except BaseException as error:  # SystemExit too: the next save may repair it
                self._fail(error)
        self._report()
        return options

    def handle(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Return the coroutine that answers `request`."""
        if self._fault is not None:
            return answer_fault(request, self._fault)
        assert self._app is not None
        return self._app.handle(request)

    def all_routes(self) -> Sequence[tuple[str, RouteInfo]]:
        """Return the routes of the app, none while it has a fault."""
        return () if self._app is None else self._app.all_routes()

    def freeze(self) -> None:
        """Do nothing: `load` has frozen the app."""

    def all_middleware(self) -> Sequence[object]:
        """Return the middleware of the app: the server looks for `Metrics`."""
        return () if self._app is None else self._app.all_middleware()

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to bytes that are not a request."""
        return await (refuse_plainly(error) if self._app is None else self._app.refuse(error))

    def attach(self, background: Background) -> None:
        """Let the app start tasks in `background`."""
        if self._app is not None:
            self._app.attach(background)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Enter the app's lifespans. An exception of one is a fault, and the server starts."""
        async with AsyncExitStack() as stack:
            if self._app is not None:
                try:
                    await stack.enter_async_context(self._app.life())
                except (Exception, SystemExit) as error:
                    self._fail(error)
            self._report()
            looking = asyncio.get_running_loop().create_task(self._look())
            stack.callback(looking.cancel)
            yield

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._report()

    def _take(self, app: App) -> None:
        for each in app.all_apps():
            each.debug = True
        app.freeze()
        self._app = app

    def _fail(self, error: BaseException) -> None:
        self._fault = fault_of(error)
        print_fault(self._fault)

    def _report(self) -> None:
        """Report the files of new modules."""
        new = [name for name in list(sys.modules) if name not in self._seen]
        self._seen.update(new)
        files = [file for name in new if (file := _file_of(name))]
        if isinstance(self._fault, SyntaxError) and self._fault.filename:
            files.append(self._fault.filename)
        report = Report(files, _template_folders(), self._fault is None)
        if report != self._reported:
            self._link.send(report)
            self._reported = report._replace(files=[])


def _file_of(name: str) -> str:
    """Return the file of a module of the application, else an empty text."""
    file = getattr(sys.modules.get(name), "__file__", None)
    is_wanted = name != "__main__" and isinstance(file, str) and is_users_code(file)
    return str(file) if is_wanted else ""


def _template_folders() -> list[str]:
    templating = sys.modules.get("microweb.templating")
    return list(map(str, getattr(templating, "used_folders", ())))
