"""Health: `/livez` and `/readyz`, for an orchestrator or a load balancer that probes the server.

`/livez` answers 200 if the event loop turns: a process that does not answer is to be restarted.
`/readyz` answers 200 if clients may be sent to this server, and otherwise 503. The server accepts
connections only after it has entered the lifespan, so a server that answers has started.

Order: outside all middleware that may refuse a probe or redirect it (`AllowedHosts`,
`HTTPSRedirect`, authentication), because a probe names an address as its host.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeVar

from ..concurrency.background import create_task
from ..concurrency.callables import check_parameters, is_async
from ..concurrency.threads import run_in_thread
from ..concurrency.throttle import Throttle
from ..errors import ConfigurationError
from ..http.interfaces import RequestApp
from ..logs import Log
from ..request import Handler, Request
from ..response import Response

F = TypeVar("F", bound=Callable[[], object])

_NO_STORE = {"Cache-Control": "no-store"}

_log = Log("microweb.error")


class Health:
    """Answer `/livez` and `/readyz`: `app.use(Health())`, before all other middleware.

    `/readyz` is 503 from the signal that stops the server, while `drain_delay_s` lasts and after
    it, and while one of the app's own checks fails. Probes are not in the access log. Requests with
    other methods than GET and HEAD go to the app.
    """

    def __init__(self) -> None:
        self._checks: dict[str, _Check] = {}
        self._live, self._ready = "/livez", "/readyz"
        self.probe_paths: set[str] = set()  # of all apps that have this middleware

    def mounted_at(self, prefix: str) -> Health:
        """Return the same for an app at `prefix`, whose probes ask for `<prefix>/readyz`."""
        placed = Health()
        placed._checks, placed.probe_paths = self._checks, self.probe_paths
        placed._live, placed._ready = prefix + self._live, prefix + self._ready
        self.probe_paths |= {placed._live, placed._ready}
        return placed

    def check(self, name: str, *, timeout_s: float = 2.0) -> Callable[[F], F]:
        """Make `/readyz` depend on a function: `@health.check("database")`.

        The check fails if `function()` raises, returns False, or takes longer than `timeout_s`. A
        plain `def` runs in a thread. Probes at the same time share one call. A failure is logged;
        the client gets only the name of the check.

        Raises: ConfigurationError if an argument is invalid or the name is taken.
        """
        if not isinstance(name, str) or not name:
            raise ConfigurationError(
                f"Health: expected a name as in @health.check('database'), got {name!r:.80}"
            )
        if name in self._checks:
            raise ConfigurationError(f"Health: check {name!r}: the name is taken, choose another")
        if not 0 < timeout_s < math.inf:
            raise ConfigurationError(
                f"Health: check {name!r}: expected a finite timeout_s above 0, got {timeout_s!r}"
            )

        def register(function: F) -> F:
            check_parameters(function, f"Health: check {name!r}")
            self._checks[name] = _Check(name, function, timeout_s)
            return function

        return register

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        path = request.line.raw_path
        if (path != self._ready and path != self._live) or request.method not in ("GET", "HEAD"):
            return await call_next(request)
        request.exchange.is_logged = False
        if path == self._live:
            return _answer("alive")
        return await self._readiness(request)

    async def _readiness(self, request: Request) -> Response:
        if request.transport.is_draining:
            return _answer("draining", 503)
        checks = tuple(self._checks.values())
        passed = await asyncio.gather(*(check.passes(request.app) for check in checks))
        if request.transport.is_draining:  # the signal came meanwhile
            return _answer("draining", 503)
        results = {
            check.name: "passed" if has_passed else "failed"
            for check, has_passed in zip(checks, passed, strict=True)
        }
        if all(passed):
            return _answer("ready", checks=results)
        return _answer("not ready", 503, checks=results)


def _answer(text: str, status: int = 200, **more: object) -> Response:
    return Response.json({"status": text, **more}, status, _NO_STORE)


class _Check:
    """A function of the application, with a deadline. At most one call of it runs at a time."""

    def __init__(self, name: str, function: Callable[[], object], timeout_s: float) -> None:
        self.name = name
        self._label = f"health check {name!r}"
        self._function = function
        self._is_async = is_async(function)
        self._timeout_s = timeout_s
        self._run: asyncio.Task[bool] | None = None
        self._ends_at = 0.0  # the deadline of the run
        self._has_failed = False
        self._failures = Throttle()

    async def passes(self, app: RequestApp[Any]) -> bool:
        """Return whether the function succeeds within its deadline.

        A function that is still busy after its deadline fails each probe, and is not called again.
        """
        run = self._run
        if run is None or run.done() or run.get_loop() is not asyncio.get_running_loop():
            self._ends_at = monotonic() + self._timeout_s
            run = self._run = app.spawn(self._call_within_deadline(), name=self._label)
        await asyncio.wait((run,), timeout=max(self._ends_at - monotonic(), 0.0))
        return run.done() and not run.cancelled() and run.exception() is None and run.result()

    async def _call_within_deadline(self) -> bool:
        call = create_task(self._call(), self._label)
        try:
            await asyncio.wait((call,), timeout=self._timeout_s)
            if call.done():
                return self._judge(call)
            self._report(f"it took longer than {self._timeout_s:g} s")
            if self._is_async:
                call.cancel()
            await asyncio.wait((call,))  # a thread can't be cancelled
            if not call.cancelled():
                call.exception()  # it is too late for the log
            return False
        finally:
            call.cancel()

    async def _call(self) -> object:
        function = self._function
        result = function() if self._is_async else await run_in_thread(self._label, function)
        return await result if inspect.isawaitable(result) else result

    def _judge(self, call: asyncio.Task[object]) -> bool:
        error = asyncio.CancelledError() if call.cancelled() else call.exception()
        if error is not None:
            self._report(repr(error), error)
            return False
        if call.result() is False:
            self._report("it returned False")
            return False
        if self._has_failed:
            self._has_failed = False
            _log.warning("%s passes again", self._label)
        return True

    def _report(self, reason: str, error: BaseException | None = None) -> None:
        """Log a failure: the first one, and then one a minute."""
        is_first, self._has_failed = not self._has_failed, True
        if self._failures.permits() or is_first:
            _log.error("%s failed: %.200s", self._label, reason, exc_info=error)
