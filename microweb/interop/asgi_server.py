"""Serve ASGI 3 applications. https://asgi.readthedocs.io/en/latest/specs/main.html"""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeGuard

from ..concurrency.background import Background
from ..concurrency.callables import is_async
from ..endpoints.lifespan import HasState
from ..errors import ConfigurationError, ProtocolError
from ..http.request_head import PlainSection
from ..request import Request
from ..response import Response
from ..server.state import refuse_plainly
from .alone import answer_to, check_scheme, is_answered_here
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

    `outer` is the App in which it is mounted. The state of its scopes has the values of
    `outer.state` when it starts, those of its own lifespan, and those of `request.state`.
    Raises: ConfigurationError if `app` is not an `async def` of scope, receive and send.
    """

    is_debugging = False

    def __init__(self, app: ASGIApplication, outer: HasState | None = None) -> None:
        if not is_asgi(app):
            raise ConfigurationError(
                f"expected an ASGI 3 application, an async def of (scope, receive, send), got "
                f"{app!r:.80}"
            )
        self._app = app
        self._outer = outer
        self._state: dict[str, Any] = {}  # of the lifespan

    async def handle(self, request: Request) -> Response:
        """Return the answer of the application. Raises: each exception before it is decided."""
        is_socket = type(request.section) is not PlainSection and _asks_for_websocket(request)
        try:
            if request.line.authority is not None:
                check_scheme(request)
            if is_socket:
                return await answer_socket(request, self._app, self._state)
            return await HTTPCall(request).answer(self._app, self._state)
        except Exception as error:
            if not is_answered_here(request, error):
                raise
            return answer_to(request, error)

    # --- the rest of an application

    def freeze(self) -> None:
        """Do nothing: the application is complete."""

    async def refuse(self, error: ProtocolError) -> Response:
        """Return the answer to bytes that are not a request."""
        return await refuse_plainly(error)

    def life(self) -> AbstractAsyncContextManager[None]:
        """Return the context manager of the application's lifespan."""
        self._state = {} if self._outer is None else vars(self._outer.state).copy()
        return lifespan(self._app, self._state)

    def attach(self, background: Background) -> None:
        """Do nothing: an ASGI application starts its own tasks."""


def _asks_for_websocket(request: Request) -> bool:
    return request.method == "GET" and "websocket" in request.headers.get("upgrade", "").lower()
