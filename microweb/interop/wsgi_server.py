"""Serve WSGI applications: PEP 3333.

One thread calls the application, iterates its answer and closes it, because its libraries may keep
values for each thread, such as a database connection. Up to 1 MiB of the body is read before the
thread starts, and up to 1 MiB of the answer is buffered. So a slow client does not occupy a thread
unless it sends or gets more. Beyond that the thread waits, as long as the deadlines of the server
allow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from ..concurrency.background import Background
from ..concurrency.callables import check_parameters, describe
from ..concurrency.threads import running_pools
from ..endpoints.waiting import reserve_wait
from ..errors import ProtocolError
from ..request import Request
from ..response import Response
from ..server.state import refuse_plainly
from .alone import answer_to, check_scheme, is_answered_here
from .wsgi_answer import Answer, WSGIApplication
from .wsgi_environ import make_environ
from .wsgi_input import read_ahead


class WSGI:
    """A WSGI application that microweb serves: `app.mount("/old", WSGI(old_app))`.

    It is also an application of its own: `microweb run` serves it without an App.
    Raises: ConfigurationError if `app` does not take `environ` and `start_response`.
    """

    is_debugging = False

    def __init__(self, app: WSGIApplication) -> None:
        check_parameters(app, "a WSGI application", "environ", "start_response")
        self._app = app
        self._label = f"the WSGI application {describe(app)}"

    async def handle(self, request: Request) -> Response:
        """Return the answer of the application, which a thread calls.

        It returns at the first piece of the answer. The thread may then still make the others.
        Raises: each exception of the application before its first piece, if an App is around it; as
        `request.body()`.
        """
        try:
            if request.line.authority is not None:
                check_scheme(request)
            return await self._answer(request)
        except Exception as error:
            if not is_answered_here(request, error):
                raise
            return answer_to(request, error)

    async def _answer(self, request: Request) -> Response:
        source = await read_ahead(request)
        pool = running_pools().application
        answer = Answer(asyncio.get_running_loop(), request)
        call = partial(answer.run, self._app, make_environ(request, source))
        has_reserved = source.waits_for_peer and await reserve_wait(pool, request)
        job = pool.run(self._label, call, has_reserved=has_reserved)
        job.add_done_callback(answer.end)
        try:
            response = await answer.begin()
            source.check()
        except BaseException as error:
            job.cancel()
            await answer.aclose()
            if isinstance(error, Exception):
                source.check()  # the cause, if the application could not read the body
            raise
        return response

    # --- the rest of an application

    def freeze(self) -> None:
        """Do nothing: the application is complete."""

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to bytes that are not a request."""
        return await refuse_plainly(error)

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Do nothing: a WSGI application has no lifespan."""
        yield

    def attach(self, background: Background) -> None:
        """Do nothing: a WSGI application starts no background tasks."""
