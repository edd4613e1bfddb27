"""Serve ASGI 3 applications. https://asgi.readthedocs.io/en/latest/specs/main.html"""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeGuard

from ..concurrency.background import Background
from ..concurrency.callables import is_async
from ..errorpages import default_answer
from ..errors import ConfigurationError, HTTPError, ProtocolError
from ..http.request_head import PlainSection
from ..request import Request
from ..response import Response
from ..server.state import refuse_plainly
from .asgi_http import HTTPCall
from .asgi_lifespan import lifespan
from .asgi_types import ASGIApplication
from .asgi_websocket import answer_socket


def is_asgi(app: object) -> TypeGuard[ASGIApplication]:
    """Return whether `app` can be called as ASGI 3 asks for: `await app(scope, receive, send)`."""
    if not callable(app) or isinstance(app, type) or not is_async(app):
        return False
    try:
        inspect.signature(app).bind(*("scope", "receive", "send"))
    except (TypeError, ValueError):  # it takes other arguments, or has no signature
        return False
    return True


class ASGI:
    """An ASGI 3 application that microweb serves, alone or mounted in an App.

    Raises: ConfigurationError if `app` is not an `async def` of scope, receive and send.
    """

    is_debugging = False

    def __init__(self, app: ASGIApplication) -> None:
        if not is_asgi(app):
            raise ConfigurationError(
                f"expected an ASGI 3 application, an async def of (scope, receive, send), got "
                f"{app!r:.80}"
            )
        self._app = app
        self._state: dict[str, Any] = {}  # of the lifespan

    async def handle(self, request: Request) -> Response:
        """Return the answer of the application. Raises: each exception before it is decided."""
        if type(request.section) is not PlainSection and "upgrade" in request.headers:
            options = request.headers["upgrade"].lower()
            if request.method == "GET" and "websocket" in options:
                return await self._answered(request, answer_socket(request, self._app, self._state))
        return await self._answered(request, HTTPCall(request, self._app, self._state).answer())

    async def _answered(self, request: Request, answer: Any) -> Response:
        if request.match is not None:  # the App around it answers errors
            response: Response = await answer
            return response
        try:
            response = await answer
        except HTTPError as error:
            return default_answer(error, request.headers.get("accept", ""))
        return response

    # --- the rest of an application

    def freeze(self) -> None:
        """Do nothing: the application is complete."""

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to bytes that are not a request."""
        return await refuse_plainly(error)

    def life(self) -> AbstractAsyncContextManager[None]:
        """Return the context manager of the application's lifespan."""
        self._state = {}
        return lifespan(self._app, self._state)

    def attach(self, background: Background) -> None:
        """Do nothing: an ASGI application starts its own tasks."""
